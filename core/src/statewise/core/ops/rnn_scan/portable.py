"""`rnn_scan` in plain torch: the loop over time; for the gradient each step once more, differentiated."""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.ops.rnn_scan.cells import CELLS
from statewise.core.ops.rnn_scan.reference import advance

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
    kind = CELLS[cell]
    batch, length, channels = grad.shape
    width = kind.gates * channels
    x = gates.view(length, batch, -1)[:, :, :width]
    states = states.view(length, kind.states, batch, channels)
    dx, d_state = torch.empty_like(x), grad_final
    d_weight = torch.zeros_like(weight)
    d_bias = weight.new_zeros(0 if bias is None else len(bias))
    parameters = [weight] if bias is None else [weight, bias]
    for t in range(length - 1, -1, -1):
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (x[t], *states[t], *parameters)]
            inner_bias = None if bias is None else leaves[-1]
            current = tuple(leaves[1 : 1 + kind.states])
            out, new = advance(
                kind, leaves[0], leaves[1 + kind.states], inner_bias, current, _at(reset, t), t < ends
            )
            pairs = [(out, grad[:, t]), *zip(new, d_state, strict=True)]
            outputs, cotangents = zip(*(pair for pair in pairs if pair[0].requires_grad), strict=True)
            found = torch.autograd.grad(
                outputs, leaves, cotangents, allow_unused=True, materialize_grads=True
            )
        dx[t] = found[0]
        d_state = torch.stack(found[1 : 1 + kind.states])
        d_weight += found[1 + kind.states]
        if bias is not None:
            d_bias += found[-1]
    return dx.transpose(0, 1).contiguous(), d_weight, d_bias, d_state


def _at(reset: Tensor | None, t: int) -> Tensor | None:
    return None if reset is None else reset[:, t]
