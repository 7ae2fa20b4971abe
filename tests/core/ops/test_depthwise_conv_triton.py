"""The Triton kernel of `depthwise_conv`, in the interpreter (TRITON_INTERPRET=1), against the reference."""

from __future__ import annotations

import os

import pytest
import torch

from statewise.core.ops import depthwise_conv, use_backend

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="set TRITON_INTERPRET=1 first"),
]


def values_and_gradients(backend: str, leaves: list[torch.Tensor], **settings: torch.Tensor | None):
    x, weight, bias, tail = leaves
    with use_backend(backend):
        y, after = depthwise_conv(x, weight, bias, tail, **settings)
    loss = (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum() + 3 * after.sum()
    return [y, after, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)]


@pytest.mark.parametrize("taps", [1, 4])
@pytest.mark.parametrize("length", [1, 5, 17, 33])
def test_triton_equals_the_loop(length: int, taps: int):
    make = torch.Generator().manual_seed(length)
    sizes = ((2, length, 20), (taps, 20), (20,), (2, taps - 1, 20))
    leaves = [torch.randn(*size, generator=make).requires_grad_() for size in sizes]
    reset = torch.rand(2, length, generator=make) < 0.3
    lengths = torch.tensor([length, max(1, length // 2)])
    for settings in ({}, {"reset": reset}, {"reset": reset, "lengths": lengths}):
        exact = values_and_gradients("reference", leaves, **settings)
        for value, wanted in zip(values_and_gradients("gpu", leaves, **settings), exact, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)
