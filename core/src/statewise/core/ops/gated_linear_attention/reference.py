"""The step and the loop that define `gated_linear_attention`; autograd differentiates them at will."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gated_linear_attention", "gated_linear_attention_step"]


def gated_linear_attention_step(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, state: Tensor, *, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """One step in plain torch, for streams and exporters.

    Args:
        q: the query, (B, H, K).
        k: the key, (B, H, K).
        v: the value, (B, H, V).
        g: the log decay: None, (H,), (B, H) or (B, H, K).
        state: the state before, (B, H, K, V).
        scale: factor of the output; None is K^-1/2.

    Returns:
        o (B, H, V) and the state after the step, in the dtype of the state.
    """
    q, k, v = (x.to(state.dtype) for x in (q, k, v))
    if g is not None:
        decay = torch.exp(g.to(state.dtype))
        state = (decay if g.ndim == 3 else decay.unsqueeze(-1)).unsqueeze(-1) * state
    state = state + k.unsqueeze(-1) * v.unsqueeze(-2)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    return factor * (q.unsqueeze(-1) * state).sum(-2), state


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
    decays = (g,) * length if g is None or g.ndim == 1 else g.unbind(1)
    queries, keyed, values = q.unbind(1), k.unbind(1), v.unbind(1)
    outputs = [torch.zeros_like(v[:, 0])] * length
    for t in reversed(range(length)) if reverse else range(length):
        before = state if cut is None else state.masked_fill(cut[:, t].view(-1, 1, 1, 1), 0)
        output, after = gated_linear_attention_step(
            queries[t], keyed[t], values[t], decays[t], before, scale=scale
        )
        if lengths is not None:
            ended = (t >= lengths).view(-1, 1, 1, 1)
            after, output = torch.where(ended, state, after), output.masked_fill(ended[..., 0], 0)
        state, outputs[t] = after, output
    return torch.stack(outputs, 1) if outputs else v.clone(), state.clone()
