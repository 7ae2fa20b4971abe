"""The Triton kernel of `selective_scan`, in the interpreter (TRITON_INTERPRET=1), against the loop."""

from __future__ import annotations

import importlib
import os

import pytest
import torch

from statewise.core.ops import selective_scan, use_backend

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1", reason="set TRITON_INTERPRET=1 before starting"
    ),
]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Ten channels are then two blocks and a part of another, 17 steps five segments."""
    monkeypatch.setattr(importlib.import_module("statewise.core.ops.selective_scan.gpu"), "BLOCK", 4)
    monkeypatch.setattr(importlib.import_module("statewise.core.ops.selective_scan"), "SEGMENT", 4)


def results(inputs, backend, **options):
    *five, h0 = inputs
    with use_backend(backend):
        outputs = selective_scan(*five, h0=h0, dt_softplus=False, **options)
    cotangents = [torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view(x.shape) for x in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, cotangents)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("length", [1, 5, 17])
def test_triton_equals_the_loop(length: int, groups: int, dtype: torch.dtype):
    make = torch.Generator().manual_seed(length)
    batch, channels, states = 2, 10, 3

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=make, dtype=dtype)

    maps = (batch, length, groups, states)
    inputs = [draw(batch, length, channels), 0.5 * draw(batch, length, channels).abs()]
    inputs += [-draw(channels, states).exp(), draw(*maps), draw(*maps), draw(batch, channels, states)]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    for options in ({}, {"reset": torch.rand(batch, length, generator=make) < 0.3}):
        exact = results(inputs, "reference", **options)
        for value, wanted in zip(results(inputs, "gpu", **options), exact, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)
