"""The loop that defines `linear_scan`; autograd differentiates it, any number of times."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["linear_scan"]


def linear_scan(
    a: Tensor, b: Tensor, h0: Tensor | None, cut: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """h_t = a_t h_{t-1} + b_t, one step at a time; the carry into t is dropped where cut[:, t].

    Both factors of the product are masked: a state or a transition that is not finite does not cross a reset.
    """
    state = b.new_zeros((b.shape[0], *b.shape[2:])) if h0 is None else h0
    transitions, writes = a.expand(b.shape).unbind(1), b.unbind(1)
    states = list(writes)
    for t in reversed(range(b.shape[1])) if reverse else range(b.shape[1]):
        transition = transitions[t]
        if cut is not None:
            dropped = cut[:, t].view(-1, *[1] * (b.ndim - 2))
            state, transition = state.masked_fill(dropped, 0), transition.masked_fill(dropped, 0)
        state = transition * state + writes[t]
        states[t] = state
    return torch.stack(states, 1) if states else b.clone(), state.clone()
