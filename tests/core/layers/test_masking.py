"""Masks, gathers and flips against loops over rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from statewise.core.layers.masking import (
    at_end,
    blank,
    flip,
    flip_reset,
    freeze,
    live,
    segments,
    tail,
    windows,
)
from statewise.core.ops import linear_scan, use_backend


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, int]:
    """x (B, L, 2), resets before each end, lengths, and a window."""
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    lengths = torch.tensor(draw(st.lists(st.integers(0, length), min_size=rows, max_size=rows)))
    marks = draw(st.lists(st.booleans(), min_size=rows * length, max_size=rows * length))
    x = torch.arange(1.0, rows * length * 2 + 1).view(rows, length, 2)
    return x, torch.tensor(marks).view(rows, length) & live(lengths, length), lengths, draw(st.integers(1, 4))


def history(x: Tensor, before: Tensor, reset: Tensor, row: int, steps: int) -> Tensor:
    """The last W inputs of one row after `steps` steps, kept as a stream keeps them."""
    kept = before[row].clone()
    for t in range(steps):
        if reset[row, t]:
            kept = torch.zeros_like(kept)
        kept = torch.cat([kept[1:], x[row, t : t + 1]])
    return kept


@settings(deadline=None, max_examples=60)
@given(batches())
def test_windows_and_tail_are_what_a_stream_keeps(batch: tuple[Tensor, Tensor, Tensor, int]) -> None:
    x, reset, lengths, width = batch
    before = -torch.arange(1.0, x.shape[0] * width * 2 + 1).view(x.shape[0], width, 2)
    spans, end = windows(x, before, reset), tail(x, before, reset, lengths)
    for row in range(x.shape[0]):
        for t in range(x.shape[1]):
            seen = history(x, before, reset, row, t)
            assert torch.equal(spans[row, t], torch.zeros_like(seen) if reset[row, t] else seen)
        assert torch.equal(end[row], history(x, before, reset, row, int(lengths[row])))
    none = torch.zeros_like(reset)
    assert torch.equal(windows(x, before, None), windows(x, before, none))
    assert torch.equal(
        tail(x, before, None, None), tail(x, before, none, torch.full_like(lengths, x.shape[1]))
    )


@settings(deadline=None, max_examples=60)
@given(batches())
def test_flip_turns_rows_and_moves_resets(batch: tuple[Tensor, Tensor, Tensor, int]) -> None:
    x, reset, lengths, _ = batch
    flipped, marks = flip(x, lengths), flip_reset(reset, lengths)
    assert marks is not None
    assert torch.equal(flip(flipped, lengths), x)
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(flipped[row, :length], x[row, :length].flip(0))
        assert torch.equal(flipped[row, length:], x[row, length:])
        ids, back = segments(reset)[row, :length], segments(marks)[row, :length]
        same = ids[:, None] == ids[None, :]
        assert torch.equal((back[:, None] == back[None, :]).flip(0, 1), same), (
            "the same steps belong together"
        )


@settings(deadline=None, max_examples=20)
@given(batches())
def test_freezing_equals_gathering_at_the_end(batch: tuple[Tensor, Tensor, Tensor, int]) -> None:
    b, reset, lengths, _ = batch
    first = torch.full((b.shape[0], 2), 100.0)
    for a in (torch.tensor([0.5, -0.9]), torch.linspace(-1, 1, b.numel()).view_as(b)):
        with use_backend("portable"):
            states, last = linear_scan(a, b, first, reset=reset)
            _, frozen = linear_scan(*freeze(a, b, lengths), first, reset=reset)
        gathered = at_end(states, last, first, lengths)
        torch.testing.assert_close(gathered, frozen)
    assert at_end(states, last, first, None) is last


def test_blank_stops_values_and_gradients() -> None:
    x = torch.tensor([[[1.0], [float("nan")]], [[float("inf")], [float("nan")]]], requires_grad=True)
    y = blank(x, torch.tensor([1, 0]))
    assert y.tolist() == [[[1.0], [0.0]], [[0.0], [0.0]]]
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert grad.tolist() == [[[1.0], [0.0]], [[0.0], [0.0]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_masks_keep_dtypes(dtype: torch.dtype) -> None:
    x, lengths = torch.ones(2, 3, 2, dtype=dtype), torch.tensor([2, 3])
    assert blank(x, lengths).dtype == dtype
    assert {part.dtype for part in freeze(x[0, 0], x, lengths)} == {dtype}
    assert at_end(x, x[:, -1], x[:, 0], lengths).dtype == dtype
