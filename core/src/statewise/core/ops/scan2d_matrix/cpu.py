"""`scan2d_matrix` for CPUs: numba, one block of the states of one head at a time.

Forwards a vector runs along the values, so that what a query reads is a sum of vectors. The states of the x
edges are kept for one line, those of the y edges for one node.

Backwards it runs along the keys: what queries and keys get are sums of vectors then, and only what values get
is a sum inside of one. The x states that enter every few lines are kept on the way there; on the way back the
states of one such strip are worked out anew.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from statewise.core.ops.buffers import empty_like
from statewise.core.ops.kernel import kernel
from statewise.core.ops.simd import (
    LANES,
    add,
    fma,
    load,
    load_part,
    mul,
    scratch,
    splat,
    splat_at,
    store,
    store_part,
    total,
    zeros,
)
from statewise.core.ops.threads import over

__all__ = ["backward", "forward", "warmup"]

OPTIONS = {"nogil": True, "fastmath": {"contract"}}
XX, XY, YX, YY = range(4)
CACHED = 1 << 17
"""Bytes of the states of a line, of which a few are in use at once, that stay in a cache."""
LEAST_BLOCK = 8
"""Values of a block below which the work between the blocks takes over."""


@kernel(**OPTIONS)
def _forward(q, k, v, t, s, m, out, lo, hi):
    """What the nodes read, for the blocks of values lo..hi, counted through heads and batch."""
    _, rows, columns, heads, width = q.shape
    size = v.shape[4]
    blocks = (size + LANES - 1) // LANES
    x_edge, y_edge = scratch(columns * width * LANES, q), scratch(width * LANES, q)
    for item in range(lo, hi):
        first, g, b = item % blocks * LANES, item // blocks % heads, item // blocks // heads
        count = size - first
        for o in range(4):
            up, back = o % 2 == 1, o >= 2
            x_edge[:] = 0
            for line in range(rows):
                i = rows - 1 - line if up else line
                y_edge[:] = 0
                for place in range(columns):
                    j = columns - 1 - place if back else place
                    n = ((b * rows + i) * columns + j) * heads + g
                    xx, xy = splat(t[b, i, j, XX, o, g]), splat(t[b, i, j, XY, o, g])
                    yx, yy = splat(t[b, i, j, YX, o, g]), splat(t[b, i, j, YY, o, g])
                    value = load_part(v, n * size + first, count)
                    to_x, to_y = mul(value, s[b, i, j, 0, o, g]), mul(value, s[b, i, j, 1, o, g])
                    read_x, read_y = zeros(q), zeros(q)
                    for f in range(width):
                        at_x, at_y = (j * width + f) * LANES, f * LANES
                        x, y = load(x_edge, at_x), load(y_edge, at_y)
                        query, key = splat_at(q, n * width + f), splat_at(k, n * width + f)
                        read_x, read_y = fma(query, x, read_x), fma(query, y, read_y)
                        store(x_edge, at_x, fma(key, to_x, fma(xx, x, mul(yx, y))))
                        store(y_edge, at_y, fma(key, to_y, fma(xy, x, mul(yy, y))))
                    read = fma(m[b, i, j, 0, o, g], read_x, mul(read_y, m[b, i, j, 1, o, g]))
                    if o > 0:
                        read = add(read, load_part(out, n * size + first, count))
                    store_part(out, n * size + first, count, read)


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _advance(key, v, t, s, node, span, x_in, at_x, x_out, to, y_edge, at_y, onto):
    """The states that leave a node, from those that enter it, for the values of a span."""
    (b, i, j, o, g), (low, size) = node, span
    n = _place(v, b, i, j, g) + low
    xx, xy = splat(t[b, i, j, XX, o, g]), splat(t[b, i, j, XY, o, g])
    yx, yy = splat(t[b, i, j, YX, o, g]), splat(t[b, i, j, YY, o, g])
    to_x, to_y = mul(key, s[b, i, j, 0, o, g]), mul(key, s[b, i, j, 1, o, g])
    for f in range(size):
        x, y, value = load(x_in, at_x + f * LANES), load(y_edge, at_y + f * LANES), splat_at(v, n + f)
        store(x_out, to + f * LANES, fma(value, to_x, fma(xx, x, mul(yx, y))))
        store(y_edge, onto + f * LANES, fma(value, to_y, fma(xy, x, mul(yy, y))))


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _retreat(query, key, v, grad, gates, node, span, x_in, at_x, y_in, at_y, d_x, at, d_y, gradients):
    """One node of the way back: adds to the gradients of values and gates, returns those of query and key.

    `d_x` and `d_y` are those of the states that leave the node before, and of those that enter it after.
    """
    (t, s, m), (b, i, j, o, g), (low, size), (dv, dt, ds, dm) = gates, node, span, gradients
    n = _place(v, b, i, j, g) + low
    xx, xy = splat(t[b, i, j, XX, o, g]), splat(t[b, i, j, XY, o, g])
    yx, yy = splat(t[b, i, j, YX, o, g]), splat(t[b, i, j, YY, o, g])
    s_x, s_y, m_x, m_y = s[b, i, j, 0, o, g], s[b, i, j, 1, o, g], m[b, i, j, 0, o, g], m[b, i, j, 1, o, g]
    from_x, from_y = mul(key, s_x), mul(key, s_y)
    to_x, to_y = mul(query, m_x), mul(query, m_y)
    none = zeros(v)
    d_xx, d_xy, d_yx, d_yy = none, none, none, none
    read_x, read_y, wrote_x, wrote_y = none, none, none, none
    for f in range(size):
        x, y = load(x_in, at_x + f * LANES), load(y_in, at_y + f * LANES)
        a, c = load(d_x, at + f * LANES), load(d_y, f * LANES)
        wanted, value = splat_at(grad, n + f), splat_at(v, n + f)
        d_xx, d_xy, d_yx, d_yy = fma(a, x, d_xx), fma(c, x, d_xy), fma(a, y, d_yx), fma(c, y, d_yy)
        read_x, read_y = fma(wanted, x, read_x), fma(wanted, y, read_y)
        wrote_x, wrote_y = fma(value, a, wrote_x), fma(value, c, wrote_y)
        dv[b, i, j, g, low + f] += total(fma(from_x, a, mul(from_y, c)))
        store(d_x, at + f * LANES, fma(wanted, to_x, fma(xx, a, mul(xy, c))))
        store(d_y, f * LANES, fma(wanted, to_y, fma(yx, a, mul(yy, c))))
    dt[b, i, j, XX, o, g] += total(d_xx)
    dt[b, i, j, XY, o, g] += total(d_xy)
    dt[b, i, j, YX, o, g] += total(d_yx)
    dt[b, i, j, YY, o, g] += total(d_yy)
    dm[b, i, j, 0, o, g] += total(mul(query, read_x))
    dm[b, i, j, 1, o, g] += total(mul(query, read_y))
    ds[b, i, j, 0, o, g] += total(mul(key, wrote_x))
    ds[b, i, j, 1, o, g] += total(mul(key, wrote_y))
    return fma(m_x, read_x, mul(read_y, m_y)), fma(s_x, wrote_x, mul(wrote_y, s_y))


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _place(array, b, i, j, g):
    """Where the features of a head of a node begin, in (B, I, J, G, F)."""
    _, rows, columns, heads, width = array.shape
    return (((b * rows + i) * columns + j) * heads + g) * width


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _line(k, v, t, s, line, block, span, x_in, at_x, x_out, to, y_edge, at_y, y_step):
    """The states that leave the nodes of one line; those of the y edges go y_step on from node to node."""
    (b, g, o, first), columns, width = block, k.shape[2], k.shape[4]
    i, state = k.shape[1] - 1 - line if o % 2 == 1 else line, span[1] * LANES
    y_edge[at_y : at_y + state] = 0
    for place in range(columns):
        j = columns - 1 - place if o >= 2 else place
        key = load_part(k, _place(k, b, i, j, g) + first, width - first)
        x, y = j * state, at_y + place * y_step
        _advance(key, v, t, s, (b, i, j, o, g), span, x_in, at_x + x, x_out, to + x, y_edge, y, y + y_step)


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _line_back(grad, q, k, v, gates, line, block, span, x_in, at_x, y_in, at_y, d_x, d_y, dq, dk, gradients):
    """The gradients of the nodes of one line."""
    (b, g, o, first), columns, count = block, q.shape[2], q.shape[4] - block[3]
    i, state = q.shape[1] - 1 - line if o % 2 == 1 else line, span[1] * LANES
    d_y[:state] = 0
    for place in range(columns - 1, -1, -1):
        j = columns - 1 - place if o >= 2 else place
        here, x = _place(q, b, i, j, g) + first, j * state
        query, key = load_part(q, here, count), load_part(k, here, count)
        d_query, d_key = _retreat(
            query, key, v, grad, gates, (b, i, j, o, g), span, x_in, at_x + x, y_in, at_y + place * state,
            d_x, x, d_y, gradients,
        )  # fmt: skip
        store_part(dq, here, count, add(load_part(dq, here, count), d_query))
        store_part(dk, here, count, add(load_part(dk, here, count), d_key))


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _block(grad, q, k, v, gates, block, span, strip, room, dq, dk, gradients):
    """What one block of the states adds: LANES keys by a span of values of one head in one orientation."""
    _, rows, columns, _, _ = q.shape
    kept, spare, x_in, y_in, y_edge, d_x, d_y = room
    t, s, _ = gates
    x_size, y_size = columns * span[1] * LANES, (columns + 1) * span[1] * LANES
    parts = (rows + strip - 1) // strip
    kept[:x_size] = 0
    for line in range((parts - 1) * strip):
        after = line + 1
        source, at = (spare, 0) if line % strip else (kept, line // strip * x_size)
        target, to = (spare, 0) if after % strip else (kept, after // strip * x_size)
        _line(k, v, t, s, line, block, span, source, at, target, to, y_edge, 0, 0)
    d_x[:x_size] = 0
    for part in range(parts - 1, -1, -1):
        begin, end = part * strip, min((part + 1) * strip, rows)
        for line in range(begin, end):
            offset = line - begin
            source, at = (x_in, offset * x_size) if offset else (kept, part * x_size)
            target, to = (x_in, (offset + 1) * x_size) if line + 1 < end else (spare, 0)
            _line(
                k, v, t, s, line, block, span, source, at, target, to, y_in, offset * y_size, span[1] * LANES
            )
        for line in range(end - 1, begin - 1, -1):
            offset = line - begin
            source, at = (x_in, offset * x_size) if offset else (kept, part * x_size)
            _line_back(
                grad, q, k, v, gates, line, block, span, source, at, y_in, offset * y_size, d_x, d_y, dq, dk,
                gradients,
            )  # fmt: skip


@kernel(**OPTIONS)
def _backward(grad, q, k, v, t, s, m, dq, dk, dv, dt, ds, dm, strip, most, lo, hi):
    """Gradients of the heads lo..hi, counted through the batch, by blocks of at most so many values."""
    _, rows, columns, heads, width = q.shape
    state = most * LANES
    x_size, y_size = columns * state, (columns + 1) * state
    kept, spare = scratch((rows + strip - 1) // strip * x_size, q), scratch(x_size, q)
    x_in, y_in, y_edge = scratch(strip * x_size, q), scratch(strip * y_size, q), scratch(state, q)
    room = kept, spare, x_in, y_in, y_edge, scratch(x_size, q), scratch(state, q)
    for item in range(lo, hi):
        b, g = item // heads, item % heads
        for gradient in (dq, dk, dv):
            gradient[b, :, :, g] = 0
        for gradient in (dt, ds, dm):
            gradient[b, :, :, :, :, g] = 0
        for o in range(4):
            for first in range(0, width, LANES):
                for low in range(0, v.shape[4], most):
                    block, span = (b, g, o, first), (low, min(most, v.shape[4] - low))
                    _block(grad, q, k, v, (t, s, m), block, span, strip, room, dq, dk, (dv, dt, ds, dm))


def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor) -> Tensor:
    """What each node reads, (B, I, J, G, V)."""
    out = empty_like(v)
    arrays = [tensor.numpy() for tensor in (q, k, v, t, s, m, out)]
    items = q.shape[0] * q.shape[3] * -(-v.shape[4] // LANES)
    over(items, q.numel() * v.shape[4], _forward, *arrays)
    return out


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of all six."""
    d_q, d_k, d_v, d_t, d_s, d_m = (empty_like(tensor) for tensor in (q, k, v, t, s, m))
    tensors = (grad, q, k, v, t, s, m, d_q, d_k, d_v, d_t, d_s, d_m)
    arrays = [tensor.numpy() for tensor in tensors]
    columns, size = v.shape[2], v.shape[4]
    strip = max(1, math.isqrt(v.shape[1] // 4))
    most = max(LEAST_BLOCK, CACHED // (columns * LANES * v.element_size()))
    most = -(-size // -(-size // most))  # as many blocks, of about one size
    over(v.shape[0] * v.shape[3], q.numel() * size, _backward, *arrays, strip, most)
    return d_q, d_k, d_v, d_t, d_s, d_m


def warmup() -> None:
    """Compile the kernels for both floating types, on a grid of one node."""
    for dtype in (torch.float32, torch.float64):
        q = torch.zeros(1, 1, 1, 1, 1, dtype=dtype)
        t, s = torch.zeros(1, 1, 1, 4, 4, 1, dtype=dtype), torch.zeros(1, 1, 1, 2, 4, 1, dtype=dtype)
        backward(forward(q, q, q, t, s, s), q, q, q, t, s, s)
