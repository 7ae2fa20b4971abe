"""The step and the loop that define `prefix_softmax`; autograd differentiates them any number of times."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PrefixState", "prefix_softmax", "prefix_softmax_step"]


class PrefixState(NamedTuple):
    """What has been seen of an episode; zeros before the first step. Two of them can be merged."""

    m: Tensor
    """(B, H), the greatest score."""
    u: Tensor
    """(B, H), the sum of exp(s - m)."""
    w: Tensor
    """(B, H, V), the sum of exp(s - m) v."""


def prefix_softmax_step(s: Tensor, v: Tensor, state: PrefixState) -> tuple[Tensor, PrefixState]:
    """One step in plain torch, for streams and exporters.

    Args:
        s: the score, (B, H).
        v: the value, (B, H, V).
        state: the state before. Where its u is 0 nothing has been seen, and its m does not count.

    Returns:
        o (B, H, V) and the state after the step.
    """
    m, u, w = state
    fresh = u == 0
    top = torch.where(fresh, s, torch.maximum(m, s))
    old, new = torch.exp(torch.where(fresh, top, m) - top).masked_fill(fresh, 0), torch.exp(s - top)
    u, w = old * u + new, old.unsqueeze(-1) * w + new.unsqueeze(-1) * v
    return w / u.unsqueeze(-1), PrefixState(top, u, w)


def prefix_softmax(
    s: Tensor, v: Tensor, m: Tensor, u: Tensor, w: Tensor, cut: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step after the other; nothing is carried into t where cut[:, t]."""
    state, outputs = PrefixState(m, u, w), []
    for t in range(s.shape[1]):
        before = state
        if cut is not None:
            dropped = cut[:, t].unsqueeze(-1)
            u, w = state.u.masked_fill(dropped, 0), state.w.masked_fill(dropped.unsqueeze(-1), 0)
            state = PrefixState(state.m, u, w)
        output, state = prefix_softmax_step(s[:, t], v[:, t], state)
        if lengths is not None:
            ended = (t >= lengths).unsqueeze(-1)
            output = output.masked_fill(ended.unsqueeze(-1), 0)
            ends = (ended, ended, ended.unsqueeze(-1))
            state = PrefixState(*(torch.where(*x) for x in zip(ends, before, state, strict=True)))
        outputs.append(output)
    return torch.stack(outputs, 1), state.m.clone(), state.u.clone(), state.w.clone()
