"""Recurrences whose gates depend on the previous output: Elman, LSTM, GRU, sLSTM and the diagonal cells of
ParaRNN.

    state_t = cell(x_t, R h_{t-1} + b, state_{t-1}),        h_t = state_t[0]

`cells` gives each cell as equations. They cannot be computed in parallel over time, but everything that does
not depend on the previous output can be taken out of the loop: the caller multiplies the inputs by W in one
product, and the gradient of R is one product after the loop. What stays is one small product and one fused
pass per step.

Gradient: with dz_t the gradient of what enters the gates, dh_{t-1} = R' dz_t plus what flows through the cell
itself, dx_t = dz_t, dR = sum_t dz_t h_{t-1}', db = sum_t dz_t.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.errors import UnknownNameError
from statewise.core.ops.arguments import argument_error, check_mask, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.rnn_scan import reference
from statewise.core.ops.rnn_scan.cells import CELLS, Cell

__all__ = ["CELLS", "rnn_scan", "rnn_step"]

OP = Op("rnn_scan", __name__, backends=("reference", "portable", "cpu"))


def rnn_scan(
    cell: str,
    x: Tensor,
    weight: Tensor,
    state: tuple[Tensor, ...] | None = None,
    *,
    bias: Tensor | None = None,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a recurrent cell over the second axis.

    Args:
        cell: elman, lstm, gru, slstm, diag-gru or diag-lstm.
        x: what the inputs contribute to the gates, W x + b, (B, L, G*D): first all of gate one.
        weight: R, block-diagonal over heads, (H, G*D/H, D/H) gates in the same order in each head;
            one head has the layout of `torch.nn.LSTM.weight_hh_l0`. Diagonal cells: (G, D).
        state: the cell's state, (B, D) tensors beginning with h; None is zeros.
        bias: added to R h, (G*D,); only the GRU needs it apart from x. Not for diagonal cells.
        reset: (B, L) bool: the state counts as zero before the steps where it is True.
        lengths: (B,) int: after its length a row's state is frozen and its outputs are zero.

    Returns:
        The outputs h (B, L, D) and the final state, both differentiable; the sLSTM's m is not.

    Raises:
        UserError: a shape or dtype does not fit, or there is no such cell.
    """
    if cell not in CELLS:
        raise UnknownNameError("recurrent cell", cell, CELLS)
    kind = CELLS[cell]
    channels = _check(kind, x, weight, bias)
    dtype = state_dtype("rnn_scan", ("x", x), ("weight", weight), ("bias", bias))
    batch, length = x.shape[:2]
    state = _checked_state(kind, state, x, channels)
    dtype = state_dtype("rnn_scan", ("x", x), *(("state", part) for part in state), ("weight", weight))
    ends = torch.full((batch,), length, device=x.device) if lengths is None else lengths.to(torch.int64)
    check_shape("rnn_scan", "lengths", ends, (batch,), "(B,)", x)
    if reset is not None:
        check_mask("rnn_scan", reset, x)
        reset = reset & (torch.arange(length, device=x.device) < ends[:, None])
    x, weight, *rest = (tensor.to(dtype) for tensor in (x, weight, *state))
    bias = None if bias is None else bias.to(dtype)
    backend = OP.choose(x)
    if backend == "reference":
        return reference.rnn_scan(cell, x, weight, bias, tuple(rest), reset, ends)
    y, final, *_ = _scan(x, weight, bias, torch.stack(rest), reset, ends, cell, backend)
    parts = final.unbind(0)
    return y, (*parts[:3], parts[3].detach()) if cell == "slstm" else parts


def rnn_step(
    cell: str,
    x_t: Tensor,
    weight: Tensor,
    state: tuple[Tensor, ...],
    *,
    bias: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """One step of `rnn_scan` in plain torch, for streams and exporters.

    Args:
        cell: a name of `CELLS`.
        x_t: what the input contributes to the gates, (B, G*D).
        weight: R, as in `rnn_scan`.
        state: the cell's state, (B, D) tensors beginning with h; at least float32.
        bias: added to R h, (G*D,); not for diagonal cells.

    Returns:
        The next state, whose first tensor is the output.
    """
    kind, dtype = CELLS[cell], state[0].dtype
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    recurrent = weight if kind.diagonal else reference.project(weight, bias, state[0], kind.gates)
    return kind.step(x_t.to(dtype).unflatten(1, (kind.gates, -1)), recurrent, state)


def _check(kind: Cell, x: Tensor, weight: Tensor, bias: Tensor | None) -> int:
    """Check x, weight and bias; return the number of channels D."""
    if x.ndim != 3 or x.shape[2] % kind.gates:
        raise argument_error("rnn_scan", "x", x, f"(B, L, {kind.gates} * D)")
    channels = x.shape[2] // kind.gates
    if kind.diagonal:
        check_shape("rnn_scan", "weight", weight, (kind.gates, channels), "(G, D)", x)
        if bias is not None:
            raise argument_error(
                "rnn_scan", "bias", bias, "None for a diagonal cell: put it into x", "is not used"
            )
        return channels
    heads = weight.shape[0]
    if weight.ndim != 3 or channels % heads:
        raise argument_error(
            "rnn_scan", "weight", weight, f"(H, {kind.gates} * D / H, D / H) with D = {channels}"
        )
    width = channels // heads
    check_shape("rnn_scan", "weight", weight, (heads, kind.gates * width, width), "(H, G*D/H, D/H)", x)
    if bias is not None:
        check_shape("rnn_scan", "bias", bias, (kind.gates * channels,), "(G*D,)", x)
    return channels


def _checked_state(
    kind: Cell, state: tuple[Tensor, ...] | None, x: Tensor, channels: int
) -> tuple[Tensor, ...]:
    shape = (x.shape[0], channels)
    if state is None:
        return tuple(x.new_zeros(shape) for _ in range(kind.states))
    if len(state) != kind.states:
        raise argument_error("rnn_scan", "state", f"{len(state)} tensors", f"{kind.states} tensors")
    for part in state:
        check_shape("rnn_scan", "state", part, shape, "(B, D)", x)
    return tuple(state)


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor,
    reset: Tensor | None,
    ends: Tensor,
    cell: str,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return OP.load(backend, x).forward(x, weight, bias, state, reset, ends, cell)


def _forward_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor,
    reset: Tensor | None,
    ends: Tensor,
    cell: str,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kind = CELLS[cell]
    batch, length = x.shape[:2]
    channels = x.shape[2] // kind.gates
    saved = (
        x.new_empty(length, kind.states, batch, channels),
        x.new_empty(length, batch, kind.saved * channels),
    )
    return x.new_empty(batch, length, channels), torch.empty_like(state), *saved


def _backward(
    grad: Tensor,
    grad_final: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    reset: Tensor | None,
    ends: Tensor,
    states: Tensor,
    gates: Tensor,
    cell: str,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    arguments = (grad.contiguous(), grad_final.contiguous(), weight, bias, reset, ends, states, gates, cell)
    return OP.load(backend, grad).backward(*arguments)


def _backward_fake(
    grad: Tensor,
    grad_final: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    reset: Tensor | None,
    ends: Tensor,
    states: Tensor,
    gates: Tensor,
    cell: str,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, length, channels = grad.shape
    dx = grad.new_empty(batch, length, CELLS[cell].gates * channels)
    d_bias = weight.new_empty(0 if bias is None else len(bias))
    return dx, torch.empty_like(weight), d_bias, torch.empty_like(grad_final)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    _, weight, bias, _, reset, ends, ctx.cell, ctx.backend = inputs
    ctx.set_materialize_grads(False)  # what is kept for the gradient is large, and has none itself
    ctx.save_for_backward(weight, bias, reset, ends, output[2], output[3])


def _gradient(
    ctx: Any, grad: Tensor | None, grad_final: Tensor | None, *_: Tensor | None
) -> tuple[Tensor | None, ...]:
    weight, bias, *saved = ctx.saved_tensors
    length, parts, batch, channels = saved[2].shape  # the states
    grad = weight.new_zeros(batch, length, channels) if grad is None else grad
    grad_final = weight.new_zeros(parts, batch, channels) if grad_final is None else grad_final
    dx, d_weight, d_bias, d_state = _scan_backward(
        grad, grad_final, weight, bias, *saved, ctx.cell, ctx.backend
    )
    return dx, d_weight, None if bias is None else d_bias, d_state, None, None, None, None


_scan_backward = OP.node("rnn_scan_backward", _backward, fake=_backward_fake)
_scan = OP.node("rnn_scan", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
