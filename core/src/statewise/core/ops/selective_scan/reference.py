"""The loop that defines `selective_scan`; autograd differentiates it, any number of times."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["selective_scan"]


def selective_scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor | None, cut: Tensor | None
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t and y_t = <C_t, h_t>, one step at a time.

    B and C are (B, L, G, N), shared by the channels of a group. The carry into t is dropped where cut[:, t].
    """
    batch, length, channels = u.shape
    state = u.new_zeros(batch, channels, A.shape[1]) if h0 is None else h0
    B, C = (x.repeat_interleave(channels // x.shape[2], 2) for x in (B, C))
    outputs = []
    for t in range(length):
        if cut is not None:
            state = state.masked_fill(cut[:, t].view(-1, 1, 1), 0)
        decay = torch.exp(dt[:, t].unsqueeze(-1) * A)
        state = decay * state + (dt[:, t] * u[:, t]).unsqueeze(-1) * B[:, t]
        outputs.append((state * C[:, t]).sum(-1))
    return torch.stack(outputs, 1) if outputs else u.clone(), state.clone()
