"""The Triton kernel of `gated_delta_rule`, in the interpreter (TRITON_INTERPRET=1), against the reference."""

from __future__ import annotations

import importlib
import os

import pytest
import torch

from statewise.core.ops import gated_delta_rule, use_backend

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1", reason="set TRITON_INTERPRET=1 before starting"
    ),
]
BATCH, HEADS, KEYS, VALUES = 2, 2, 5, 20


def inputs_of(length: int, n: int) -> list[torch.Tensor]:
    """q, k, v, beta, g and s0."""
    make = torch.Generator().manual_seed(length)
    sizes = [(length, KEYS), (length * n, KEYS), (length * n, VALUES)]
    rows = [torch.randn(BATCH, steps, HEADS, width, generator=make) for steps, width in sizes]
    beta = 2 * torch.rand(BATCH, length * n, HEADS, generator=make)
    g = -torch.rand(BATCH, length, HEADS, generator=make)
    s0 = torch.randn(BATCH, HEADS, KEYS, VALUES, generator=make)
    return [tensor.requires_grad_() for tensor in (*rows, beta, g, s0)]


@pytest.fixture(autouse=True)
def _two_blocks_of_values(monkeypatch):
    """20 values are then one block and a part of another."""
    monkeypatch.setattr(importlib.import_module("statewise.core.ops.gated_delta_rule.gpu"), "BLOCK", 16)


@pytest.mark.parametrize(("length", "n"), [(1, 1), (5, 1), (17, 1), (6, 3)])
def test_triton_equals_the_loop(length: int, n: int):
    *rows, g, s0 = inputs_of(length, n)
    reset = torch.rand(BATCH, length, generator=torch.Generator().manual_seed(7)) < 0.3
    for decay, state, marks in ((g, s0, reset), (None, None, None)):
        results = []
        for backend in ("reference", "gpu"):
            with use_backend(backend):
                o, last = gated_delta_rule(*rows, decay, householders=n, s0=state, reset=marks)
            leaves = [leaf for leaf in (*rows, decay, state) if leaf is not None]
            weight = torch.linspace(-1, 1, o.numel()).view(o.shape)
            results.append([o, last, *torch.autograd.grad((o * weight).sum() + 2 * last.sum(), leaves)])
        for wanted, value in zip(*results, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)
