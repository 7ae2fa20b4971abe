"""Sums of exponentials over time, in logarithms, that restart where a sequence does."""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.layers.masking import flip, live, segments
from statewise.core.ops import linear_scan

__all__ = ["running_log_sum", "total_log_sum"]


def running_log_sum(k: Tensor, first: Tensor, reset: Tensor | None) -> Tensor:
    """z_t = log(exp(z_{t-1}) + exp(k_t)), without z_{t-1} where a sequence begins.

    Args:
        k: (B, L, ...), finite.
        first: (B, ...), the sum before the first step; minus infinity for none.
        reset: (B, L) bool or None.

    Returns:
        (B, L, ...).
    """
    # In units of exp(m_t), m the running maximum, the sum is a scan; any m gives the same z and gradient.
    m = _running_maximum(k.detach(), first.detach(), reset)
    before = torch.cat([first.detach().unsqueeze(1), m[:, :-1]], 1)
    none = torch.isneginf(first)
    known = first.masked_fill(none, 0)
    start = torch.exp(known - known.detach()).masked_fill(none, 0)
    u, _ = linear_scan(torch.exp((before - m).clamp(max=0)), torch.exp(k - m), start, reset=reset)
    return m + torch.log(u)


def total_log_sum(k: Tensor, reset: Tensor | None, lengths: Tensor | None) -> Tensor:
    """The logarithm of the sum of exp(k) over the whole sequence that a step belongs to, (B, L, ...)."""
    none = torch.full_like(k[:, 0], -torch.inf)
    if lengths is not None:
        # the padding of a row is a sequence of its own
        ends = live(lengths, k.shape[1])
        starts = torch.cat([torch.ones_like(ends[:, :1]), ends[:, :-1]], 1) & ~ends
        reset = starts if reset is None else reset | starts
    z = running_log_sum(k, none, reset)
    if reset is None:
        return z[:, -1:].expand_as(z)
    ids = segments(reset)
    time = torch.arange(k.shape[1], device=k.device)
    ends = torch.cat([ids[:, 1:] != ids[:, :-1], torch.ones_like(reset[:, :1])], 1)
    last = flip(flip(torch.where(ends, time, k.shape[1]), None).cummin(1).values, None)
    return z.gather(1, last.view(*last.shape, *[1] * (k.ndim - 2)).expand_as(z))


def _running_maximum(k: Tensor, first: Tensor, reset: Tensor | None) -> Tensor:
    """The greatest value since the sequence began, `first` among them: maxima over 1, 2, 4, ... steps."""
    start = torch.maximum(k[:, 0], first)
    if reset is None:
        return torch.cat([start.unsqueeze(1), k[:, 1:]], 1).cummax(1).values
    marks = reset.view(*reset.shape, *[1] * (k.ndim - 2))
    m = torch.cat([torch.where(marks[:, 0], k[:, 0], start).unsqueeze(1), k[:, 1:]], 1)
    ids, step = marks.cumsum(1), 1
    while step < k.shape[1]:
        same = ids[:, step:] == ids[:, :-step]
        m = torch.cat(
            [m[:, :step], torch.where(same, torch.maximum(m[:, step:], m[:, :-step]), m[:, step:])], 1
        )
        step *= 2
    return m
