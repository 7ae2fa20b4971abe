"""Ends and beginnings inside a batch: the one place where `lengths` and `reset` become masks and gathers.

A row of a batch may end early (`lengths`, right-padded) and may hold several sequences one after the other
(`reset` is True at the first step of each). Masks select: nothing is multiplied by zero, so that NaN in the
padding stays there.

Shapes: lengths (B,) integers or None, reset (B, L) bool or None, everything else (B, L, ...) with any
trailing axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_end", "blank", "flip", "flip_reset", "freeze", "live", "segments", "tail", "windows"]


def live(lengths: Tensor, length: int) -> Tensor:
    """(B, L) bool: True before the end of each row."""
    return torch.arange(length, device=lengths.device) < lengths[:, None]


def blank(x: Tensor, lengths: Tensor | None) -> Tensor:
    """`x` with zeros after the end of each row, whatever was there; no gradient passes there."""
    if lengths is None:
        return x
    return torch.where(_like(live(lengths, x.shape[1]), x), x, 0.0)


def freeze(a: Tensor, b: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The recurrence h = a h + b standing still after the end of each row: a := 1, b := 0.

    For scans that return no states to gather from; `at_end` is cheaper where they are there. `a` may be
    time-invariant, (*F); it then becomes (B, L, *F). Where the decay is a logarithm or a step size, `blank`
    does it instead: log decay or dt := 0 and key or beta := 0.
    """
    if lengths is None:
        return a, b
    mask = _like(live(lengths, b.shape[1]), b)
    return torch.where(mask, a, 1.0), torch.where(mask, b, 0.0)


def at_end(states: Tensor, last: Tensor, first: Tensor, lengths: Tensor | None) -> Tensor:
    """The state at the end of each row.

    Args:
        states: (B, L, *F), the state after every step.
        last: (B, *F), the state after step L, which is the answer where nothing is padded.
        first: (B, *F), the state before the first step, for rows of length 0.
        lengths: (B,) or None.
    """
    if lengths is None:
        return last
    picked = _pick(states, (lengths - 1).clamp(min=0)[:, None])[:, 0]
    return torch.where(_like(lengths > 0, picked), picked, first)


def flip(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each row backwards up to its own end, the padding still on the right; twice it changes nothing."""
    if lengths is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    order = torch.where(live(lengths, x.shape[1]), lengths[:, None] - 1 - time, time)
    return _pick(x, order)


def flip_reset(reset: Tensor | None, lengths: Tensor | None) -> Tensor | None:
    """`reset` for the flipped sequence.

    Backwards, a sequence begins at the step that was its last: the cut between t and t + 1 is marked at
    t + 1, and has to be at t before the flip.
    """
    if reset is None:
        return None
    ends = torch.cat([reset[:, 1:], torch.zeros_like(reset[:, :1])], dim=1)
    return flip(ends, lengths)


def segments(reset: Tensor) -> Tensor:
    """(B, L) integers: which of the row's sequences a step belongs to; 0 continues the carried state."""
    return reset.cumsum(1)


def windows(x: Tensor, before: Tensor, reset: Tensor | None) -> Tensor:
    """The W inputs before each step, oldest first, zero where they belong to another sequence.

    Args:
        x: (B, L, D).
        before: (B, W, D), the inputs before x.
        reset: (B, L) bool or None.

    Returns:
        (B, L, W, D); row t holds x_{t-W} .. x_{t-1}.
    """
    width, length = before.shape[1], x.shape[1]
    spans = torch.cat([before, x], dim=1)[:, :-1].unfold(1, width, 1).movedim(-1, 2)
    if reset is None:
        return spans
    here = segments(reset)
    there = torch.cat([here.new_zeros(here.shape[0], width), here], dim=1)[:, :-1].unfold(1, width, 1)
    return torch.where((there == here.view(-1, length, 1))[..., None], spans, 0.0)


def tail(x: Tensor, before: Tensor, reset: Tensor | None, lengths: Tensor | None) -> Tensor:
    """The last W inputs at each row's end: the `before` of the next chunk.

    Entries from before the row's last reset are zero, so that the next chunk need not know about it.

    Args:
        x: (B, L, D).
        before: (B, W, D), the inputs before x.
        reset: (B, L) bool, False after the end of each row, or None.
        lengths: (B,) or None.
    """
    width, length = before.shape[1], x.shape[1]
    joined = torch.cat([before, x], dim=1)
    if reset is not None:
        ids = segments(reset)
        joined_ids = torch.cat([ids.new_zeros(ids.shape[0], width), ids], dim=1)
        # Nothing resets after the end, so the last id is that of the row's last sequence.
        joined = torch.where((joined_ids == ids[:, -1:])[..., None], joined, 0.0)
    if lengths is None:
        return joined[:, length:]
    return _pick(joined, lengths[:, None] + torch.arange(width, device=x.device))


def _pick(x: Tensor, order: Tensor) -> Tensor:
    """(B, K, ...): the steps `order` (B, K) of each row of `x`."""
    # Whole rows of a flat view: the gradient of this adds vectors where that of x[rows, order] adds numbers.
    starts = x.shape[1] * torch.arange(x.shape[0], device=x.device)[:, None]
    return x.flatten(0, 1).index_select(0, (starts + order).flatten()).unflatten(0, order.shape)


def _like(mask: Tensor, x: Tensor) -> Tensor:
    """`mask` with trailing axes of size 1 up to the rank of `x`."""
    return mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
