"""The loop that defines `gated_linear_attention`; autograd differentiates it, any number of times."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gated_linear_attention"]


def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """S_t = exp(g_t) S_{t-1} + k_t v_t^T and o_t = scale S_t^T q_t, one step at a time.

    The carry into t is dropped where cut[:, t]; past the end of a row the state stays and outputs are zero.
    """
    batch, length, heads, keys = q.shape
    state = q.new_zeros(batch, heads, keys, v.shape[-1]) if s0 is None else s0
    decays = _decays(g, q).unbind(1)
    queries, writes = (scale * q).unbind(1), (k.unsqueeze(-1) * v.unsqueeze(-2)).unbind(1)
    outputs = [torch.zeros_like(v[:, 0])] * length
    for t in reversed(range(length)) if reverse else range(length):
        before = state if cut is None else state.masked_fill(cut[:, t].view(-1, 1, 1, 1), 0)
        after = decays[t].unsqueeze(-1) * before + writes[t]
        output = (queries[t].unsqueeze(-1) * after).sum(-2)
        if lengths is not None:
            ended = (t >= lengths).view(-1, 1, 1, 1)
            after, output = torch.where(ended, state, after), output.masked_fill(ended[..., 0], 0)
        state, outputs[t] = after, output
    return torch.stack(outputs, 1) if outputs else v.clone(), state.clone()


def _decays(g: Tensor | None, q: Tensor) -> Tensor:
    """The decays exp(g) with all axes of q: (B, L, H, K or 1)."""
    if g is None:
        return torch.ones_like(q[..., :1])
    return torch.exp(g if g.ndim == 4 else g.unsqueeze(-1)).expand(*q.shape[:3], -1)
