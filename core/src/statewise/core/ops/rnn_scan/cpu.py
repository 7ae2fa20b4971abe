"""`rnn_scan` for CPUs: per step one BLAS product for all heads and one fused numba pass over the gates.

Diagonal cells need no product: their whole loop is compiled. Rows are (head, batch) pairs. The states kept
are those that enter a step, after its reset, so that the product reads them as they are.
"""

from __future__ import annotations

from functools import partial

import numba as nb
import torch
from torch import Tensor

from statewise.core.ops.buffers import empty
from statewise.core.ops.rnn_scan.cells import CELLS
from statewise.core.ops.rnn_scan.cpu_rows import CODES, OPTIONS
from statewise.core.ops.rnn_scan.cpu_rows import backward as row_backward
from statewise.core.ops.rnn_scan.cpu_rows import backward_diagonal as row_backward_diagonal
from statewise.core.ops.rnn_scan.cpu_rows import forward as row_forward
from statewise.core.ops.threads import over

__all__ = ["backward", "forward", "warmup"]


@nb.njit(**OPTIONS)
def _step(cell, t, x, rh, bias, entering, leaving, kept, y, reset, ends, lo, hi):
    """Rows lo..hi of step t.

    x (B, L, H, G, W), rh (H, B, G, W), bias (H, G, W), entering and leaving (H, B, S, W), kept (H, B, K, W).
    """
    batch, length = x.shape[0], x.shape[1]
    for row in range(lo, hi):
        head, b = row // batch, row % batch
        state, new = entering[head, b], leaving[head, b]
        if t >= ends[b]:
            new[:] = state
            y[b, t, head] = 0
            continue
        mine, constant = rh[head, b], bias[head]
        for g in range(len(mine)):
            for k in range(mine.shape[1]):
                mine[g, k] += constant[g, k]
        row_forward(cell, x[b, t, head], mine, state, new, kept[head, b])
        y[b, t, head] = new[0]
        if t + 1 < length and reset[b, t + 1]:
            new[:] = 0


@nb.njit(**OPTIONS)
def _step_gradient(cell, t, grad, states, kept, d, dx, dz, reset, ends, lo, hi):
    """Rows lo..hi of step t, backwards: d (H, B, S, W) turns from leaving to entering, all but R' dz."""
    batch, length = grad.shape[0], grad.shape[1]
    for row in range(lo, hi):
        head, b = row // batch, row % batch
        mine = d[head, b]
        if t >= ends[b]:
            dz[head, b] = 0
            dx[b, t, head] = 0
            continue
        if t + 1 < length and reset[b, t + 1]:
            mine[:] = 0
        _add(grad[b, t, head], mine[0])
        row_backward(cell, states[head, b], kept[head, b], mine, dx[b, t, head], dz[head, b])


@nb.njit(no_cpython_wrapper=True, **OPTIONS)
def _add(source, target):
    for k in range(len(target)):
        target[k] += source[k]


@nb.njit(**OPTIONS)
def _run_diagonal(cell, x, a, states, final, kept, y, reset, ends, lo, hi):
    """All steps of the batch rows lo..hi of a diagonal cell.

    x (B, L, G, D), states (L, B, S, D), kept (L, B, K, D).
    """
    length = x.shape[1]
    for b in range(lo, hi):
        for t in range(length):
            state = states[t, b]
            new = states[t + 1, b] if t + 1 < length else final[b]
            if t >= ends[b]:
                new[:] = state
                y[b, t] = 0
                continue
            row_forward(cell, x[b, t], a, state, new, kept[t, b])
            y[b, t] = new[0]
            if t + 1 < length and reset[b, t + 1]:
                new[:] = 0


@nb.njit(**OPTIONS)
def _run_diagonal_gradient(cell, grad, a, states, kept, d, dx, da, reset, ends, lo, hi):
    """All steps backwards; da (B, G, D) is summed over the batch by the caller."""
    length = grad.shape[1]
    for b in range(lo, hi):
        mine = d[b]
        for t in range(length - 1, -1, -1):
            if t >= ends[b]:
                dx[b, t] = 0
                continue
            if t + 1 < length and reset[b, t + 1]:
                mine[:] = 0
            _add(grad[b, t], mine[0])
            row_backward_diagonal(cell, states[t, b], kept[t, b], mine, dx[b, t], a, da[b])


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor,
    reset: Tensor | None,
    ends: Tensor,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs (B, L, D), final state (S, B, D), and what the gradient needs: states and gates, L first."""
    kind = CELLS[cell]
    batch, length = x.shape[:2]
    channels = x.shape[2] // kind.gates
    heads = 1 if kind.diagonal else weight.shape[0]
    width = channels // heads
    states = empty((length, heads, batch, kind.states, width), x.dtype)
    kept = empty((length, heads, batch, kind.saved, width), x.dtype)
    y, final = empty((batch, length, heads, width), x.dtype), torch.empty_like(states[0])
    states[0] = _by_row(state, heads)
    if reset is not None:
        states[0].masked_fill_(reset[None, :, 0, None, None], 0)
    per_head = x.unflatten(2, (kind.gates, heads, width)).transpose(2, 3).contiguous()
    cut = _marks(reset, batch, length)
    if kind.diagonal:
        tensors = (per_head[:, :, 0], weight, states[:, 0], final[0], kept[:, 0], y[:, :, 0], cut, ends)
        arrays = [tensor.detach().numpy() for tensor in tensors]
        over(batch, x.numel(), partial(_run_diagonal, CODES[cell], *arrays))
    else:
        bias = x.new_zeros(kind.gates * channels) if bias is None else bias.detach()
        by_head = bias.view(kind.gates, heads, width).transpose(0, 1).contiguous()
        _sweep(CODES[cell], per_head, weight, by_head, states, final, kept, y, cut, ends)
    return y.view(batch, length, channels), _by_batch(final), states.flatten(1), kept.flatten(1)


def _sweep(
    code: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    states: Tensor,
    final: Tensor,
    kept: Tensor,
    y: Tensor,
    cut: Tensor,
    ends: Tensor,
) -> None:
    """The loop over time: fills states, final, kept and y."""
    heads, batch = final.shape[:2]
    rh = x.new_empty(heads, batch, weight.shape[1])
    # the product reads R by columns; a copy laid out that way makes every step a third faster
    transposed = weight.detach().transpose(1, 2).contiguous()
    x_array, bias_array, y_array, marks, lasts = (
        tensor.detach().numpy() for tensor in (x, bias, y, cut, ends)
    )
    rh_array = rh.view(heads, batch, -1, x.shape[-1]).numpy()
    entering, leaving, kept_arrays = states.numpy(), [*states.numpy()[1:], final.numpy()], kept.numpy()
    for t, hidden in enumerate(states[:, :, :, 0].unbind(0)):
        torch.bmm(hidden, transposed, out=rh)
        arrays = (
            x_array,
            rh_array,
            bias_array,
            entering[t],
            leaving[t],
            kept_arrays[t],
            y_array,
            marks,
            lasts,
        )
        over(heads * batch, rh.numel(), partial(_step, code, t, *arrays))


def backward(
    grad: Tensor,
    grad_final: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    reset: Tensor | None,
    ends: Tensor,
    states: Tensor,
    kept: Tensor,
    cell: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, the weight, the bias and the initial state (S, B, D)."""
    kind = CELLS[cell]
    batch, length, channels = grad.shape
    heads = 1 if kind.diagonal else weight.shape[0]
    width = channels // heads
    states = states.view(length, heads, batch, kind.states, width)
    kept = kept.view(length, heads, batch, kind.saved, width)
    d = _by_row(grad_final, heads)
    dx = empty((batch, length, heads, kind.gates, width), grad.dtype)
    cut, d_bias = _marks(reset, batch, length), weight.new_empty(0)
    if kind.diagonal:
        da = weight.new_zeros(batch, kind.gates, width)
        tensors = (grad, weight, states[:, 0], kept[:, 0], d[0], dx[:, :, 0], da, cut, ends)
        arrays = [tensor.detach().numpy() for tensor in tensors]
        over(batch, dx.numel(), partial(_run_diagonal_gradient, CODES[cell], *arrays))
        d_weight = da.sum(0)
    else:
        dz = empty((length, heads, batch, kind.gates * width), grad.dtype)
        _sweep_back(
            CODES[cell], grad.unflatten(2, (heads, width)), weight, states, kept, d, dx, dz, cut, ends
        )
        stacked = dz.transpose(0, 1).reshape(heads, length * batch, kind.gates * width)
        hidden = states[:, :, :, 0].transpose(0, 1).reshape(heads, length * batch, width)
        d_weight = stacked.transpose(1, 2) @ hidden
        if bias is not None:
            d_bias = stacked.sum(1).view(heads, kind.gates, width).transpose(0, 1).flatten()
    if reset is not None:
        d.masked_fill_(reset[None, :, 0, None, None], 0)
    return dx.transpose(2, 3).reshape(batch, length, -1), d_weight, d_bias, _by_batch(d)


def _sweep_back(
    code: int,
    grad: Tensor,
    weight: Tensor,
    states: Tensor,
    kept: Tensor,
    d: Tensor,
    dx: Tensor,
    dz: Tensor,
    cut: Tensor,
    ends: Tensor,
) -> None:
    """The loop back over time: fills dx and dz, and turns d into the gradient of the initial state."""
    length, heads, batch, _ = dz.shape
    weight, hidden, product = weight.detach(), d[:, :, 0], torch.empty_like(d[:, :, 0])
    grad_array, d_array, dx_array, marks, lasts = (tensor.numpy() for tensor in (grad, d, dx, cut, ends))
    states_arrays, kept_arrays = states.numpy(), kept.numpy()
    dz_arrays = dz.view(length, heads, batch, -1, d.shape[-1]).numpy()
    for t, dz_t in reversed(list(enumerate(dz.unbind(0)))):
        arrays = (grad_array, states_arrays[t], kept_arrays[t], d_array, dx_array, dz_arrays[t], marks, lasts)
        over(
            heads * batch,
            dz_t.numel(),
            lambda lo, hi, t=t, arrays=arrays: _step_gradient(code, t, *arrays, lo, hi),
        )
        hidden.add_(torch.bmm(dz_t, weight, out=product))


def warmup() -> None:
    """Compile the kernels for both floating types: one step of a cell with a product and of one without."""
    for dtype in (torch.float32, torch.float64):
        ends = torch.ones(1, dtype=torch.int64)
        for cell, shape in (("lstm", (1, 4, 1)), ("diag-gru", (3, 1))):
            kind, weight = CELLS[cell], torch.zeros(shape, dtype=dtype)
            x, state = torch.zeros(1, 1, kind.gates, dtype=dtype), torch.zeros(kind.states, 1, 1, dtype=dtype)
            y, final, *saved = forward(x, weight, None, state, None, ends, cell)
            backward(y, final, weight, None, None, ends, *saved, cell)


def _by_row(state: Tensor, heads: int) -> Tensor:
    """(S, B, H*W) -> (H, B, S, W): what a row works on lies together."""
    return state.detach().unflatten(2, (heads, -1)).permute(2, 1, 0, 3).contiguous()


def _by_batch(state: Tensor) -> Tensor:
    """(H, B, S, W) -> (S, B, H*W)."""
    return state.permute(2, 1, 0, 3).flatten(2).contiguous()


def _marks(reset: Tensor | None, batch: int, length: int) -> Tensor:
    return torch.zeros(batch, length, dtype=torch.bool) if reset is None else reset.contiguous()
