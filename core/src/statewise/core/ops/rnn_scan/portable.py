"""`rnn_scan` in plain torch: the loop over time; the gradient evaluates each step once more."""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.ops.rnn_scan.cell_gradients import GRADIENTS
from statewise.core.ops.rnn_scan.cells import CELLS
from statewise.core.ops.rnn_scan.reference import advance, project

__all__ = ["backward", "forward"]


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor,
    reset: Tensor | None,
    ends: Tensor,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs (B, L, D), final state (S, B, D), the states entering each step (L, S, B, D), and x by time."""
    kind = CELLS[cell]
    batch, length = x.shape[:2]
    channels = x.shape[2] // kind.gates
    gates = x.new_zeros(length, batch, kind.saved * channels)
    gates[:, :, : x.shape[2]] = x.transpose(0, 1)
    states = x.new_empty(length, *state.shape)
    y = x.new_empty(length, batch, channels)
    current = tuple(state)
    for t, x_t in enumerate(x.unbind(1)):
        states[t] = torch.stack(current)
        out, current = advance(kind, x_t, weight, bias, current, _at(reset, t), t < ends)
        y[t] = out
    return y.transpose(0, 1).contiguous(), torch.stack(current), states, gates


def backward(
    grad: Tensor,
    grad_final: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    reset: Tensor | None,
    ends: Tensor,
    states: Tensor,
    gates: Tensor,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, the weight, the bias and the initial state (S, B, D)."""
    kind, gradient = CELLS[cell], GRADIENTS[cell]
    batch, length, channels = grad.shape
    x = gates.view(length, batch, -1)[:, :, : kind.gates * channels].unflatten(2, (kind.gates, channels))
    states = states.view(length, kind.states, batch, channels)
    dx, d_recurrent, d_state = torch.empty_like(x), torch.empty_like(x), grad_final
    hidden = torch.empty_like(states[:, 0])
    for t in range(length - 1, -1, -1):
        starts, alive = _at(reset, t), (t < ends)[:, None]
        entering = states[t] if starts is None else torch.where(starts[:, None], 0.0, states[t])
        hidden[t] = entering[0]
        recurrent = weight if kind.diagonal else project(weight, bias, entering[0], kind.gates)
        leaving = (d_state[0] + grad[:, t], *d_state[1:])
        d_x, d_r, before = gradient(x[t], recurrent, tuple(entering), leaving)
        dx[t] = torch.where(alive[:, None], d_x, 0.0)
        d_recurrent[t] = torch.where(alive[:, None], d_r, 0.0)
        if not kind.diagonal:
            before = (before[0] + _project_back(weight, d_r), *before[1:])
        d_state = torch.where(alive, torch.stack(before), d_state)
        if starts is not None:
            d_state = torch.where(starts[:, None], 0.0, d_state)
    dx = dx.flatten(2).transpose(0, 1).contiguous()
    if kind.diagonal:
        return dx, d_recurrent.sum((0, 1)), weight.new_empty(0), d_state
    d_weight = torch.einsum(
        "tbhj,tbhk->hjk", _by_head(weight, d_recurrent), hidden.unflatten(2, (len(weight), -1))
    )
    d_bias = weight.new_empty(0) if bias is None else d_recurrent.sum((0, 1)).flatten()
    return dx, d_weight, d_bias, d_state


def _project_back(weight: Tensor, d: Tensor) -> Tensor:
    """R' d: the gradient of h from that of R h, (B, G, D) to (B, D)."""
    return torch.einsum("bhj,hjk->bhk", _by_head(weight, d), weight).flatten(1)


def _by_head(weight: Tensor, d: Tensor) -> Tensor:
    """(..., G, H*W) to (..., H, G*W), the order of the rows of R."""
    return d.unflatten(-1, (len(weight), -1)).transpose(-3, -2).flatten(-2)


def _at(reset: Tensor | None, t: int) -> Tensor | None:
    return None if reset is None else reset[:, t]
