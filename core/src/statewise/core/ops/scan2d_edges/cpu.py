"""`scan2d_edges` for CPUs: numba, one pass over the grid in each direction."""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.ops.buffers import empty_like
from statewise.core.ops.kernel import kernel
from statewise.core.ops.threads import over

__all__ = ["backward", "forward", "warmup"]

OPTIONS = {"nogil": True, "fastmath": {"contract", "reassoc", "arcp"}}


@kernel(**OPTIONS)
def _forward(t, s, top, left, edges, lo, hi):
    """Edges of the batch rows lo..hi; the last axis is contiguous and has one gate per element."""
    _, rows, columns, _, width = s.shape
    for b in range(lo, hi):
        for i in range(rows):
            for j in range(columns):
                x_in = top[b, j] if i == 0 else edges[b, i - 1, j, 0]
                y_in = left[b, i] if j == 0 else edges[b, i, j - 1, 1]
                gate, source, out = t[b, i, j], s[b, i, j], edges[b, i, j]
                for f in range(width):
                    out[0, f] = gate[0, f] * x_in[f] + gate[2, f] * y_in[f] + source[0, f]
                    out[1, f] = gate[1, f] * x_in[f] + gate[3, f] * y_in[f] + source[1, f]


@kernel(**OPTIONS)
def _forward_shared(t, s, top, left, edges, lo, hi):
    """As `_forward`, with each gate shared by the last axis."""
    _, rows, columns, _, gates, size = s.shape
    for b in range(lo, hi):
        for i in range(rows):
            for j in range(columns):
                for g in range(gates):
                    x_in = top[b, j, g] if i == 0 else edges[b, i - 1, j, 0, g]
                    y_in = left[b, i, g] if j == 0 else edges[b, i, j - 1, 1, g]
                    xx, xy = t[b, i, j, 0, g], t[b, i, j, 1, g]
                    yx, yy = t[b, i, j, 2, g], t[b, i, j, 3, g]
                    source_x, source_y = s[b, i, j, 0, g], s[b, i, j, 1, g]
                    out_x, out_y = edges[b, i, j, 0, g], edges[b, i, j, 1, g]
                    for m in range(size):
                        out_x[m] = xx * x_in[m] + yx * y_in[m] + source_x[m]
                        out_y[m] = xy * x_in[m] + yy * y_in[m] + source_y[m]


@kernel(**OPTIONS)
def _backward(grad, t, edges, top, left, dt, ds, d_top, d_left, lo, hi):
    """Gradients of the batch rows lo..hi, one gate per element."""
    _, rows, columns, _, width = edges.shape
    for b in range(lo, hi):
        for i in range(rows - 1, -1, -1):
            for j in range(columns - 1, -1, -1):
                d, g = ds[b, i, j], grad[b, i, j]
                for f in range(width):
                    d[0, f] = g[0, f]
                    d[1, f] = g[1, f]
                if i < rows - 1:
                    gate, below = t[b, i + 1, j], ds[b, i + 1, j]
                    for f in range(width):
                        d[0, f] += gate[0, f] * below[0, f] + gate[1, f] * below[1, f]
                if j < columns - 1:
                    gate, beside = t[b, i, j + 1], ds[b, i, j + 1]
                    for f in range(width):
                        d[1, f] += gate[2, f] * beside[0, f] + gate[3, f] * beside[1, f]
                x_in = top[b, j] if i == 0 else edges[b, i - 1, j, 0]
                y_in = left[b, i] if j == 0 else edges[b, i, j - 1, 1]
                out = dt[b, i, j]
                for f in range(width):
                    out[0, f] = d[0, f] * x_in[f]
                    out[1, f] = d[1, f] * x_in[f]
                    out[2, f] = d[0, f] * y_in[f]
                    out[3, f] = d[1, f] * y_in[f]
            gate, first = t[b, i, 0], ds[b, i, 0]
            for f in range(width):
                d_left[b, i, f] = gate[2, f] * first[0, f] + gate[3, f] * first[1, f]
        for j in range(columns):
            gate, first = t[b, 0, j], ds[b, 0, j]
            for f in range(width):
                d_top[b, j, f] = gate[0, f] * first[0, f] + gate[1, f] * first[1, f]


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _mix(first, second, a, b, out):
    """Adds to out: a * first + b * second, with scalar a and b."""
    for m in range(len(out)):
        out[m] += a * first[m] + b * second[m]


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _dot(a, b):
    total = a[0] * b[0]
    for m in range(1, len(a)):
        total += a[m] * b[m]
    return total


@kernel(**OPTIONS)
def _backward_shared(grad, t, edges, top, left, dt, ds, d_top, d_left, lo, hi):
    """As `_backward`, with each gate shared by the last axis, over which its gradient is summed."""
    _, rows, columns, _, gates, _ = edges.shape
    for b in range(lo, hi):
        for i in range(rows - 1, -1, -1):
            for j in range(columns - 1, -1, -1):
                for g in range(gates):
                    dx, dy = ds[b, i, j, 0, g], ds[b, i, j, 1, g]
                    dx[:] = grad[b, i, j, 0, g]
                    dy[:] = grad[b, i, j, 1, g]
                    if i < rows - 1:
                        gate, below = t[b, i + 1, j], ds[b, i + 1, j]
                        _mix(below[0, g], below[1, g], gate[0, g], gate[1, g], dx)
                    if j < columns - 1:
                        gate, beside = t[b, i, j + 1], ds[b, i, j + 1]
                        _mix(beside[0, g], beside[1, g], gate[2, g], gate[3, g], dy)
                    x_in = top[b, j, g] if i == 0 else edges[b, i - 1, j, 0, g]
                    y_in = left[b, i, g] if j == 0 else edges[b, i, j - 1, 1, g]
                    dt[b, i, j, 0, g] = _dot(dx, x_in)
                    dt[b, i, j, 1, g] = _dot(dy, x_in)
                    dt[b, i, j, 2, g] = _dot(dx, y_in)
                    dt[b, i, j, 3, g] = _dot(dy, y_in)
            for g in range(gates):
                d_left[b, i, g] = 0
                _mix(
                    ds[b, i, 0, 0, g], ds[b, i, 0, 1, g], t[b, i, 0, 2, g], t[b, i, 0, 3, g], d_left[b, i, g]
                )
        for j in range(columns):
            for g in range(gates):
                d_top[b, j, g] = 0
                _mix(ds[b, 0, j, 0, g], ds[b, 0, j, 1, g], t[b, 0, j, 0, g], t[b, 0, j, 1, g], d_top[b, j, g])


def forward(t: Tensor, s: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """The edges that leave each node, (B, I, J, 2, G, M)."""
    edges = empty_like(s)
    single = s.shape[-1] == 1
    tensors = [tensor.squeeze(-1) if single else tensor for tensor in (s, top, left, edges)]
    arrays = [t.numpy(), *(tensor.numpy() for tensor in tensors)]
    kernel = _forward if single else _forward_shared
    over(len(s), s.numel(), lambda lo, hi: kernel(*arrays, lo, hi))
    return edges


def backward(
    grad: Tensor, t: Tensor, edges: Tensor, top: Tensor, left: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of t, s, top and left."""
    dt, ds, d_top, d_left = (empty_like(tensor) for tensor in (t, edges, top, left))
    single = edges.shape[-1] == 1

    def array(tensor: Tensor):
        return (tensor.squeeze(-1) if single else tensor).numpy()

    arrays = [array(grad), t.numpy(), array(edges), array(top), array(left)]
    arrays += [dt.numpy(), array(ds), array(d_top), array(d_left)]
    kernel = _backward if single else _backward_shared
    over(len(edges), edges.numel(), lambda lo, hi: kernel(*arrays, lo, hi))
    return dt, ds, d_top, d_left


def warmup() -> None:
    """Compile the kernels for both floating types, on a grid of one node, with gates shared and not."""
    for dtype in (torch.float32, torch.float64):
        for sharing in (1, 2):
            t = torch.zeros(1, 1, 1, 4, 1, dtype=dtype)
            s = torch.zeros(1, 1, 1, 2, 1, sharing, dtype=dtype)
            side = torch.zeros(1, 1, 1, sharing, dtype=dtype)
            backward(s, t, forward(t, s, side, side), side, side)
