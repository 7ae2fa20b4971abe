"""`path_weights` for CPUs: numba, one head of one grid at a time.

A unit source reaches only what lies ahead of it, so that the edges of a line hold nothing of the lines after
it. The loops over sources run over whole lines all the same: what is not reached is zero there, and long
loops over neighbours in memory are worth more than the products they save. Edges of the x kind are kept for
one line, of the y kind for one node; the way back stores them for all nodes of one orientation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from statewise.core.ops.buffers import empty, empty_like
from statewise.core.ops.kernel import kernel
from statewise.core.ops.threads import over

__all__ = ["backward", "forward", "warmup"]

OPTIONS = {"nogil": True, "fastmath": {"contract", "reassoc", "arcp"}}
XX, XY, YX, YY = range(4)


@kernel(**OPTIONS)
def _forward(t, s, m, weights, lo, hi):
    """Weights of the heads lo..hi, counted through the batch; t, s and m are (B, I, J, 4 or 2, O, G)."""
    _, rows, columns, _, _, heads = t.shape
    nodes = rows * columns
    x_edge = np.empty((columns, nodes), t.dtype)
    y_edge = np.empty(nodes, t.dtype)
    for item in range(lo, hi):
        b, g = item // heads, item % heads
        out = weights[b, g]
        out[:] = 0
        for o in range(4):
            up, back = o % 2 == 1, o >= 2
            x_edge[:] = 0
            for line in range(rows):
                i = rows - 1 - line if up else line
                first, last = (i * columns, nodes) if up else (0, (i + 1) * columns)
                y_edge[:] = 0
                for place in range(columns):
                    j = columns - 1 - place if back else place
                    n = i * columns + j
                    xx, xy = t[b, i, j, XX, o, g], t[b, i, j, XY, o, g]
                    yx, yy = t[b, i, j, YX, o, g], t[b, i, j, YY, o, g]
                    m_x, m_y = m[b, i, j, 0, o, g], m[b, i, j, 1, o, g]
                    row, x_in = out[n, first:last], x_edge[j, first:last]
                    y_in = y_edge[first:last]
                    for k in range(last - first):
                        x, y = x_in[k], y_in[k]
                        row[k] += m_x * x + m_y * y
                        x_in[k] = xx * x + yx * y
                        y_in[k] = xy * x + yy * y
                    x_edge[j, n] += s[b, i, j, 0, o, g]
                    y_edge[n] += s[b, i, j, 1, o, g]


@kernel(**OPTIONS)
def _backward(grad, t, s, m, dt, ds, dm, lo, hi):
    """Gradients of the gates of the heads lo..hi."""
    _, rows, columns, _, _, heads = t.shape
    nodes = rows * columns
    x_edge, y_edge = np.empty((nodes, nodes), t.dtype), np.empty((nodes, nodes), t.dtype)
    d_x, d_y = np.empty((columns, nodes), t.dtype), np.empty(nodes, t.dtype)
    nothing = np.zeros(nodes, t.dtype)
    for item in range(lo, hi):
        b, g = item // heads, item % heads
        for o in range(4):
            up, back = o % 2 == 1, o >= 2
            x_edge[:] = 0
            y_edge[:] = 0
            above, beside = columns if up else -columns, 1 if back else -1
            for line in range(rows):
                i = rows - 1 - line if up else line
                first, last = (i * columns, nodes) if up else (0, (i + 1) * columns)
                for place in range(columns):
                    j = columns - 1 - place if back else place
                    n = i * columns + j
                    xx, xy = t[b, i, j, XX, o, g], t[b, i, j, XY, o, g]
                    yx, yy = t[b, i, j, YX, o, g], t[b, i, j, YY, o, g]
                    x_in = x_edge[n + above, first:last] if line else nothing[first:last]
                    y_in = y_edge[n + beside, first:last] if place else nothing[first:last]
                    x_out, y_out = x_edge[n, first:last], y_edge[n, first:last]
                    for k in range(last - first):
                        x, y = x_in[k], y_in[k]
                        x_out[k] = xx * x + yx * y
                        y_out[k] = xy * x + yy * y
                    x_edge[n, n] += s[b, i, j, 0, o, g]
                    y_edge[n, n] += s[b, i, j, 1, o, g]
            d_x[:] = 0
            for line in range(rows - 1, -1, -1):
                i = rows - 1 - line if up else line
                first, last = (i * columns, nodes) if up else (0, (i + 1) * columns)
                d_y[:] = 0
                for place in range(columns - 1, -1, -1):
                    j = columns - 1 - place if back else place
                    n = i * columns + j
                    xx, xy = t[b, i, j, XX, o, g], t[b, i, j, XY, o, g]
                    yx, yy = t[b, i, j, YX, o, g], t[b, i, j, YY, o, g]
                    m_x, m_y = m[b, i, j, 0, o, g], m[b, i, j, 1, o, g]
                    ds[b, i, j, 0, o, g] = d_x[j, n]
                    ds[b, i, j, 1, o, g] = d_y[n]
                    x_in = x_edge[n + above, first:last] if line else nothing[first:last]
                    y_in = y_edge[n + beside, first:last] if place else nothing[first:last]
                    read, to_x, to_y = grad[b, g, n, first:last], d_x[j, first:last], d_y[first:last]
                    zero = xx * 0
                    d_xx, d_xy, d_yx, d_yy, d_mx, d_my = zero, zero, zero, zero, zero, zero
                    for k in range(last - first):
                        x, y, a, c, r = x_in[k], y_in[k], to_x[k], to_y[k], read[k]
                        d_xx += a * x
                        d_xy += c * x
                        d_yx += a * y
                        d_yy += c * y
                        d_mx += r * x
                        d_my += r * y
                        to_x[k] = xx * a + xy * c + m_x * r
                        to_y[k] = yx * a + yy * c + m_y * r
                    dt[b, i, j, XX, o, g], dt[b, i, j, XY, o, g] = d_xx, d_xy
                    dt[b, i, j, YX, o, g], dt[b, i, j, YY, o, g] = d_yx, d_yy
                    dm[b, i, j, 0, o, g], dm[b, i, j, 1, o, g] = d_mx, d_my


def forward(t: Tensor, s: Tensor, m: Tensor) -> Tensor:
    """What each node reads of each node: (B, G, I J, I J)."""
    batch, rows, columns, _, _, heads = t.shape
    weights = empty((batch, heads, rows * columns, rows * columns), t.dtype)
    arrays = [tensor.numpy() for tensor in (t, s, m, weights)]
    over(batch * heads, weights.numel(), lambda lo, hi: _forward(*arrays, lo, hi))
    return weights


def backward(grad: Tensor, t: Tensor, s: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of t, s and m; the edges are worked out anew."""
    dt, ds, dm = (empty_like(tensor) for tensor in (t, s, m))
    arrays = [tensor.numpy() for tensor in (grad, t, s, m, dt, ds, dm)]
    over(t.shape[0] * t.shape[-1], grad.numel(), lambda lo, hi: _backward(*arrays, lo, hi))
    return dt, ds, dm


def warmup() -> None:
    """Compile the kernels for both floating types, on a grid of one node."""
    for dtype in (torch.float32, torch.float64):
        t, s = torch.zeros(1, 1, 1, 4, 4, 1, dtype=dtype), torch.zeros(1, 1, 1, 2, 4, 1, dtype=dtype)
        backward(forward(t, s, s), t, s, s)
