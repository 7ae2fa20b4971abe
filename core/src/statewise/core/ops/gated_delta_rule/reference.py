"""`gated_delta_rule` as the loop that defines it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gated_delta_rule"]


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """S <- a S; e = v - S^T k; S <- S + k (beta e)^T; o = scale S^T q, step by step.

    `cut` (B, L) zeroes S before a step.
    """
    batch, length, heads, keys = q.shape
    state = q.new_zeros(batch, heads, keys, v.shape[-1]) if s0 is None else s0
    # unbind once: the gradient of an index into a whole sequence is as large as the sequence
    queries, writes, values, strengths = q.unbind(1), k.unbind(1), v.unbind(1), beta.unbind(1)
    decays = None if g is None else g.exp().unbind(1)
    outputs = []
    for t in range(length):
        if cut is not None:
            state = torch.where(cut[:, t, None, None, None], torch.zeros_like(state), state)
        if decays is not None:
            state = decays[t][..., None, None] * state
        error = values[t] - torch.einsum("bhkv,bhk->bhv", state, writes[t])
        update = strengths[t][..., None] * error
        state = state + writes[t][..., :, None] * update[..., None, :]
        outputs.append(scale * torch.einsum("bhkv,bhk->bhv", state, queries[t]))
    return torch.stack(outputs, 1), state
