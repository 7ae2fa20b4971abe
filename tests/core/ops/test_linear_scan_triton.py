"""The Triton kernels of `linear_scan`, in the interpreter (TRITON_INTERPRET=1), against the reference."""

from __future__ import annotations

import os

import pytest
import torch

from statewise.core.ops import linear_scan, use_backend

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1", reason="set TRITON_INTERPRET=1 before starting"
    ),
]


def inputs_of(length: int, dtype: torch.dtype, shape: str, reset: bool):
    make = torch.Generator().manual_seed(length)
    batch, width = 2, 20
    sizes = {"full": (batch, length, width), "channels": (width,), "steps": (batch, length, 1)}[shape]

    def draw(*size: int, scale: float = 1.0) -> torch.Tensor:
        return (torch.randn(*size, generator=make, dtype=dtype) * scale).requires_grad_()

    marks = torch.rand(batch, length, generator=make) < 0.3 if reset else None
    return draw(*sizes, scale=0.6), draw(batch, length, width), draw(batch, width), marks


def values_and_gradients(backend: str, a, b, h0, reset, *, reverse: bool):
    with use_backend(backend):
        h, last = linear_scan(a, b, h0, reset=reset, reverse=reverse)
    leaves = [leaf for leaf in (a, b, h0) if leaf is not None]
    weight = torch.linspace(-1, 1, h.numel()).view(h.shape)
    loss = (h * weight).sum() + 2 * last.sum()
    return [h, last, *torch.autograd.grad(loss.real if loss.is_complex() else loss, leaves)]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", ["full", "channels", "steps"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("length", [1, 5, 17, 33])
def test_triton_equals_the_loop(length: int, dtype: torch.dtype, shape: str, reverse: bool):
    a, b, h0, reset = inputs_of(length, dtype, shape, reset=length != 5)
    for start in (h0, None):
        exact = values_and_gradients("reference", a, b, start, reset, reverse=reverse)
        for value, wanted in zip(
            values_and_gradients("gpu", a, b, start, reset, reverse=reverse), exact, strict=True
        ):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


def test_a_real_transition_with_complex_writes():
    a, _, _, reset = inputs_of(5, torch.float32, "full", reset=True)
    _, b, h0, _ = inputs_of(5, torch.complex64, "full", reset=True)
    exact = values_and_gradients("reference", a, b, h0, reset, reverse=False)
    for value, wanted in zip(values_and_gradients("gpu", a, b, h0, reset, reverse=False), exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)
