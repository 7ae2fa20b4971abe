"""`rnn_scan` as the loop that defines it."""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.ops.rnn_scan.cells import CELLS, Cell, State

__all__ = ["advance", "project", "rnn_scan"]


def rnn_scan(
    cell: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: State,
    reset: Tensor | None,
    ends: Tensor,
) -> tuple[Tensor, State]:
    """See `statewise.core.ops.rnn_scan`; here every argument is checked and every state given."""
    outputs = []
    for t, x_t in enumerate(x.unbind(1)):
        starts = None if reset is None else reset[:, t]
        out, state = advance(CELLS[cell], x_t, weight, bias, state, starts, t < ends)
        outputs.append(out)
    return torch.stack(outputs, 1), state


def advance(
    kind: Cell,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: State,
    starts: Tensor | None,
    alive: Tensor,
) -> tuple[Tensor, State]:
    """One step: x (B, G*D), starts and alive (B,) bool. Returns the output (B, D) and the new state."""
    if starts is not None:
        state = tuple(torch.where(starts[:, None], torch.zeros_like(part), part) for part in state)
    gates = x.unflatten(1, (kind.gates, -1))
    recurrent = weight if kind.diagonal else project(weight, bias, state[0], kind.gates)
    new = kind.step(gates, recurrent, state)
    kept = tuple(torch.where(alive[:, None], after, before) for after, before in zip(new, state, strict=True))
    return torch.where(alive[:, None], new[0], torch.zeros_like(new[0])), kept


def project(weight: Tensor, bias: Tensor | None, h: Tensor, gates: int) -> Tensor:
    """R h + bias with R block-diagonal over heads: weight (H, G*W, W), h (B, H*W) -> (B, G, H*W)."""
    heads, _, width = weight.shape
    per_head = torch.einsum("bhk,hjk->bhj", h.unflatten(1, (heads, width)), weight)
    gated = per_head.unflatten(2, (gates, width)).transpose(1, 2).flatten(2)
    return gated if bias is None else gated + bias.view(gates, heads * width)
