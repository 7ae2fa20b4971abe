"""The Triton kernels of `gated_linear_attention` in the interpreter (TRITON_INTERPRET=1)."""

from __future__ import annotations

import importlib
import os

import pytest
import torch

from statewise.core.ops import gated_linear_attention, use_backend

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1", reason="set TRITON_INTERPRET=1 before starting"
    ),
]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Nine values are then two blocks and a part of another, eleven steps three segments."""
    kernels = importlib.import_module("statewise.core.ops.gated_linear_attention.gpu")
    monkeypatch.setattr(kernels, "BLOCK", 4)
    monkeypatch.setattr(kernels, "SEGMENT", 4)


def results(inputs, backend, **options):
    q, k, v, s0, *g = inputs
    with use_backend(backend):
        outputs = gated_linear_attention(q, k, v, *g, s0=s0, scale=0.7, **options)
    cotangents = [torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view(x.shape) for x in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, cotangents)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("decay", ["none", "constant", "token", "key"])
@pytest.mark.parametrize("length", [1, 11])
def test_triton_equals_the_loop(length: int, decay: str, dtype: torch.dtype):
    make = torch.Generator().manual_seed(length)
    batch, heads, keys, values = 2, 1, 3, 9
    shape = {"constant": (heads,), "token": (batch, length, heads), "key": (batch, length, heads, keys)}
    sizes = [(batch, length, heads, keys)] * 2 + [
        (batch, length, heads, values),
        (batch, heads, keys, values),
    ]
    inputs = [torch.randn(size, generator=make, dtype=dtype).requires_grad_() for size in sizes]
    if decay != "none":
        g = torch.rand(shape[decay], generator=make, dtype=dtype)
        inputs.append((-g * torch.tensor([1e-4, 1.0, 50.0])[-g.shape[-1] :]).requires_grad_())
    reset = torch.rand(batch, length, generator=make) < 0.3
    for options in (
        {"reset": reset, "reverse": length == 1},
        {"lengths": torch.tensor([length, length // 2]), "reset": reset, "reverse": length > 1},
    ):
        exact = results(inputs, "reference", **options)
        for value, wanted in zip(results(inputs, "gpu", **options), exact, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)
