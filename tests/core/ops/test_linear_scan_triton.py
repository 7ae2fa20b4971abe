"""The Triton kernels of `linear_scan`, in the interpreter (TRITON_INTERPRET=1), against the reference."""

from __future__ import annotations

import importlib
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


@pytest.fixture(autouse=True)
def _two_blocks_of_channels(monkeypatch):
    """20 channels are then one block and a part of another."""
    monkeypatch.setattr(importlib.import_module("statewise.core.ops.linear_scan.gpu"), "BLOCK", 16)


@pytest.mark.parametrize(
    ("length", "shape"),
    [(1, "full"), (5, "full"), (17, "full"), (33, "full"), (1, "channels"), (5, "channels"), (5, "steps")],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_triton_equals_the_loop(length: int, shape: str, dtype: torch.dtype):
    a, b, h0, reset = inputs_of(length, dtype, shape, reset=length != 5)
    for start, reverse in ((h0, length == 17), (None, length != 17)):
        exact = values_and_gradients("reference", a, b, start, reset, reverse=reverse)
        found = values_and_gradients("gpu", a, b, start, reset, reverse=reverse)
        for value, wanted in zip(found, exact, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


def test_infinity_does_not_cross_a_reset():
    a, b, h0, _ = inputs_of(5, torch.float32, "full", reset=False)
    reset = torch.tensor([[False, False, True, False, False]] * 2)
    spoilt = b.detach().clone()
    spoilt[:, :2] = float("inf")
    with use_backend("gpu"):
        h, last = linear_scan(a, spoilt, h0.detach() * float("nan"), reset=reset)
    with use_backend("reference"):
        clean, wanted = linear_scan(a[:, 2:], b[:, 2:])
    torch.testing.assert_close(h[:, 2:], clean)
    torch.testing.assert_close(last, wanted)


def test_any_memory_layout_gives_the_same():
    a, b, h0, _ = inputs_of(5, torch.complex64, "full", reset=False)
    exact = values_and_gradients("gpu", a, b, h0, None, reverse=False)
    strided = [item.detach().mT.contiguous().mT.requires_grad_() for item in (a, b, h0)]
    conjugated = [item.detach().conj().resolve_conj().conj().requires_grad_() for item in (a, b, h0)]
    for inputs in (strided, conjugated):
        found = values_and_gradients("gpu", *inputs, None, reverse=False)
        for value, wanted in zip(found, exact, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-6)


def test_a_real_transition_with_complex_writes():
    a, _, _, reset = inputs_of(5, torch.float32, "full", reset=True)
    _, b, h0, _ = inputs_of(5, torch.complex64, "full", reset=True)
    exact = values_and_gradients("reference", a, b, h0, reset, reverse=False)
    for value, wanted in zip(values_and_gradients("gpu", a, b, h0, reset, reverse=False), exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)
