"""`rnn_scan` for CPUs: the whole loop over time compiled, a few rows of the batch at once.

Rows are (head, batch) pairs and independent of each other, so that the result does not depend on the threads.
A step is the product with R (`cpu_product`; diagonal cells need none) and one fused pass over the gates
(`cpu_rows`). The states kept are those that enter a step, after its reset, so that the product reads them as
they are. The gradient of R is one product after the loop.
"""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.ops.buffers import blank, empty
from statewise.core.ops.kernel import kernel
from statewise.core.ops.rnn_scan.cells import CELLS
from statewise.core.ops.rnn_scan.cpu_product import (
    ROOM,
    STRIP,
    add_outer,
    group,
    packed,
    product,
)
from statewise.core.ops.rnn_scan.cpu_rows import CODES, OPTIONS, copy, copy_rows, fill, fill_rows
from statewise.core.ops.rnn_scan.cpu_rows import backward as row_backward
from statewise.core.ops.rnn_scan.cpu_rows import backward_diagonal as row_backward_diagonal
from statewise.core.ops.rnn_scan.cpu_rows import forward as row_forward
from statewise.core.ops.threads import over

__all__ = ["backward", "forward", "warmup"]


@kernel(**OPTIONS)
def _run(cell, x, tiles, bias, states, final, kept, y, rh, reset, ends, lo, hi):
    """All steps of the rows lo..hi of a dense cell.

    x (B, L, H, G, W), tiles of R' (H, ...), bias (H, G, W), states (L, H, B, S, W), final (H, B, S, W), kept
    (L, H, B, K, W), y (B, L, H, W), rh (H, B, G, W) room for R h.
    """
    length, heads, batch, parts, width = states.shape
    gates, row = x.shape[3] * width, lo
    while row < hi:
        head, first = row // batch, row % batch
        rows = group(min(hi - row, batch - first))
        for t in range(length):
            entering = (t * heads * batch + row) * parts * width
            product(
                rows, states, entering, parts * width, tiles, head * tiles[0].size,
                bias, head * gates, 0, rh, row * gates, gates, width, gates,
            )  # fmt: skip
            for b in range(first, first + rows):
                state = states[t, head, b]
                new = states[t + 1, head, b] if t + 1 < length else final[head, b]
                if t >= ends[b]:
                    copy_rows(state, new)
                    fill(y[b, t, head], 0)
                    continue
                row_forward(cell, x[b, t, head], rh[head, b], state, new, kept[t, head, b])
                copy(new[0], y[b, t, head])
                if t + 1 < length and reset[b, t + 1]:
                    fill_rows(new, 0)
        row += rows


@kernel(**OPTIONS)
def _run_gradient(cell, grad, tiles, states, kept, d, dx, dz, all_dz, reset, ends, lo, hi):
    """All steps backwards: d (H, B, S, W) turns from the gradient of the last state to that of the first.

    grad (B, L, H, W), tiles of R (H, ...), dx (B, L, H, G, W), dz (H, B, G, W) room for the gradient of R h
    at one step; all_dz, as dx, takes that of every step where it differs from dx.
    """
    length, _, batch, parts, width = states.shape
    gates, row = dx.shape[3] * width, lo
    while row < hi:
        head, first = row // batch, row % batch
        rows = group(min(hi - row, batch - first))
        for t in range(length - 1, -1, -1):
            for b in range(first, first + rows):
                mine, at_gates, inputs = d[head, b], dz[head, b], dx[b, t, head]
                if t >= ends[b]:
                    fill_rows(at_gates, 0)
                    fill_rows(inputs, 0)
                else:
                    if t + 1 < length and reset[b, t + 1]:
                        fill_rows(mine, 0)
                    _add(grad[b, t, head], mine[0])
                    row_backward(cell, states[t, head, b], kept[t, head, b], mine, inputs, at_gates)
                if len(all_dz):
                    copy_rows(at_gates, all_dz[b, t, head])
            start = row * parts * width
            product(
                rows, dz, row * gates, gates, tiles, head * tiles[0].size,
                d, start, parts * width, d, start, parts * width, gates, width,
            )  # fmt: skip
        row += rows


@kernel(**OPTIONS)
def _weight_gradient(dz, tiles, d_weight, room, lo, hi):
    """d_weight (H, G*W, W) += sum of dz h' over batch and time, for the rows lo..hi in strips, head by head.

    dz (B, L, H, G, W), tiles of the states h (H, ...), room (strips, ROOM).
    """
    batch, length, heads, _, width = dz.shape
    gates, item = d_weight.shape[1], lo
    strips = (gates + STRIP - 1) // STRIP
    while item < hi:
        head, first = item // strips, item % strips
        last = min(first + hi - item, strips)
        add_outer(
            dz, head * gates, heads * gates, tiles, head * tiles[0].size,
            d_weight, head * gates * width, gates, batch * length, width,
            room, lo * room.shape[1], first, last,
        )  # fmt: skip
        item += last - first


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _add(source, target):
    for k in range(len(target)):
        target[k] += source[k]


@kernel(**OPTIONS)
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
                copy_rows(state, new)
                fill(y[b, t], 0)
                continue
            row_forward(cell, x[b, t], a, state, new, kept[t, b])
            copy(new[0], y[b, t])
            if t + 1 < length and reset[b, t + 1]:
                fill_rows(new, 0)


@kernel(**OPTIONS)
def _run_diagonal_gradient(cell, grad, a, states, kept, d, dx, da, reset, ends, lo, hi):
    """All steps backwards; da (B, G, D) is summed over the batch by the caller."""
    length = grad.shape[1]
    for b in range(lo, hi):
        mine = d[b]
        for t in range(length - 1, -1, -1):
            if t >= ends[b]:
                fill_rows(dx[b, t], 0)
                continue
            if t + 1 < length and reset[b, t + 1]:
                fill_rows(mine, 0)
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
    """Outputs (B, L, D), final state (S, B, D), and what the gradient needs: states and gates, by time."""
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
        over(batch, x.numel(), _run_diagonal, CODES[cell], *arrays)
    else:
        bias = x.new_zeros(kind.gates * channels) if bias is None else bias.detach()
        by_head = bias.view(kind.gates, heads, width).transpose(0, 1).contiguous()
        room = x.new_empty(heads, batch, kind.gates, width)
        tensors = (per_head, packed(weight.transpose(1, 2)), by_head, states, final, kept, y, room, cut, ends)
        arrays = [tensor.detach().numpy() for tensor in tensors]
        over(heads * batch, x.numel(), _run, CODES[cell], *arrays)
    # in the shapes of every backend, though not in their order: only `backward` below reads them
    states, kept = states.view(length, kind.states, batch, channels), kept.view(length, batch, -1)
    return y.view(batch, length, channels), _by_batch(final), states, kept


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
        over(batch, dx.numel(), _run_diagonal_gradient, CODES[cell], *arrays)
        d_weight = da.sum(0)
    else:
        per_head, room = grad.unflatten(2, (heads, width)), weight.new_empty(heads, batch, kind.gates, width)
        all_dz = empty(dx.shape, dx.dtype) if cell == "gru" else dx[:0]
        tensors = (per_head, packed(weight), states, kept, d, dx, room, all_dz, cut, ends)
        arrays = [tensor.detach().numpy() for tensor in tensors]
        over(heads * batch, dx.numel(), _run_gradient, CODES[cell], *arrays)
        dz = all_dz if cell == "gru" else dx
        hidden = states[:, :, :, 0].permute(1, 2, 0, 3).reshape(heads, batch * length, width)
        d_weight = blank(weight.shape, weight.dtype)
        strips = heads * -(-weight.shape[1] // STRIP)
        room = weight.new_empty(strips, ROOM)
        arrays = [tensor.detach().numpy() for tensor in (dz, packed(hidden), d_weight, room)]
        over(strips, dx.numel(), _weight_gradient, *arrays)
        if bias is not None:
            d_bias = dz.sum((0, 1)).transpose(0, 1).flatten()
    if reset is not None:
        d.masked_fill_(reset[None, :, 0, None, None], 0)
    return dx.transpose(2, 3).reshape(batch, length, -1), d_weight, d_bias, _by_batch(d)


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
