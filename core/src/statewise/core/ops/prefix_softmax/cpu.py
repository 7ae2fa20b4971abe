"""`prefix_softmax` for CPUs: numba, one pass over time per head, w in the nearest cache.

Of exp(m_{t-1} - m_t) and exp(s_t - m_t) one is 1, so that a step takes one exponential. A work item is one
head of one batch row.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np
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
    store,
    store_part,
    total,
    zeros,
)
from statewise.core.ops.threads import over
from statewise.core.ops.tiles import INNER, clear, padded

__all__ = ["backward", "forward", "warmup"]

OPTIONS = {"nogil": True}


class Inputs(NamedTuple):
    """The arguments as arrays: rows (batch, time, head) or (batch, head)."""

    s: np.ndarray  # (B L H)
    v: np.ndarray  # (B L H, V)
    m: np.ndarray  # (B H)
    u: np.ndarray  # (B H)
    w: np.ndarray  # (B H, V)
    cut: np.ndarray  # (B, L) bool
    lengths: np.ndarray  # (B)


class Results(NamedTuple):
    """The results, or the gradients of the first four."""

    o: np.ndarray
    m: np.ndarray
    u: np.ndarray
    w: np.ndarray
    kept: np.ndarray  # (B L H), what a step keeps of the mean before it
    share: np.ndarray  # (B L H), what it adds of its own value


@nb.njit(**INNER)
def _place(inputs, item):
    """Batch row of a work item, the row of its first step and the stride to the next."""
    heads, length = len(inputs.m) // len(inputs.cut), inputs.cut.shape[1]
    b = item // heads
    return b, b * length * heads + item % heads, heads


@nb.njit(**INNER)
def _dot(a, rows, row):
    """The product of a padded vector with one of some rows."""
    width, acc = rows.shape[1], zeros(a)
    for i in range(0, width, LANES):
        acc = fma(load(a, i), load_part(rows, row * width + i, width - i), acc)
    return total(acc)


@kernel(**OPTIONS)
def _forward(inputs, results, lo, hi):
    """Outputs and last states of the work items lo..hi."""
    width = inputs.v.shape[1]
    w = scratch(padded(width), inputs.v)
    for item in range(lo, hi):
        b, first, stride = _place(inputs, item)
        m, u = inputs.m[item], inputs.u[item]
        for i in range(0, width, LANES):
            store(w, i, load_part(inputs.w, item * width + i, width - i))
        for t in range(inputs.lengths[b]):
            row = first + t * stride
            s = inputs.s[row]
            if inputs.cut[b, t]:
                u = inputs.u.dtype.type(0)
            old, new = inputs.u.dtype.type(1), inputs.u.dtype.type(1)
            if u == 0:
                clear(w)
                m = s
            elif s > m:
                old, m = math.exp(m - s), s
            else:
                new = math.exp(s - m)
            before = old * u
            u = before + new
            results.kept[row], results.share[row] = before / u, new / u
            for i in range(0, width, LANES):
                v = load_part(inputs.v, row * width + i, width - i)
                mean = fma(old, load(w, i), mul(new, v))
                store(w, i, mean)
                store_part(results.o, row * width + i, width - i, mul(1 / u, mean))
        results.m[item], results.u[item] = m, u
        for i in range(0, width, LANES):
            store_part(results.w, item * width + i, width - i, load(w, i))


@nb.njit(**INNER)
def _difference(inputs, results, item, row, before, r):
    """<r, v - o before it>, where a negative row before means the first state."""
    width, acc = inputs.v.shape[1], zeros(r)
    for i in range(0, width, LANES):
        live = width - i
        if before < 0:
            mean = mul(1 / inputs.u[item], load_part(inputs.w, item * width + i, live))
        else:
            mean = load_part(results.o, before * width + i, live)
        acc = fma(load(r, i), fma(-1.0, mean, load_part(inputs.v, row * width + i, live)), acc)
    return total(acc)


@nb.njit(**INNER)
def _unwind(inputs, results, grads, ds, dv, item, r):
    """Gradients of the steps of one item; r and q for the state before them, and the rest of that of m."""
    b, first, stride = _place(inputs, item)
    width, count, nothing = inputs.v.shape[1], inputs.lengths[b], inputs.u.dtype.type(0)
    q = results.u[item] * grads.u[item]
    for i in range(width):
        q += results.w[item, i] * grads.w[item, i]
    rest = grads.m[item] - q
    for t in range(count - 1, -1, -1):
        row = first + t * stride
        kept, share = results.kept[row], results.share[row]
        for i in range(0, width, LANES):
            store(r, i, add(load(r, i), load_part(grads.o, row * width + i, width - i)))
            store_part(dv, row * width + i, width - i, mul(share, load(r, i)))
        ds[row] = share * q
        if inputs.s[row] == results.m[item]:
            ds[row] += rest
            rest = nothing
        if kept > 0:
            moved = _difference(inputs, results, item, row, row - stride if t > 0 else -1, r)
            ds[row] += share * kept * moved
            q = kept * (q - share * moved)
            for i in range(0, width, LANES):
                store(r, i, mul(kept, load(r, i)))
        else:
            q = nothing
            clear(r)
        if inputs.cut[b, t]:
            rest = nothing
    return q, rest


@kernel(**OPTIONS)
def _backward(inputs, results, grads, ds, dv, dm, du, dw, lo, hi):
    """Gradients of the work items lo..hi."""
    width = inputs.v.shape[1]
    r = scratch(padded(width), inputs.v)
    for item in range(lo, hi):
        b, _, _ = _place(inputs, item)
        for i in range(0, width, LANES):
            store(r, i, load_part(grads.w, item * width + i, width - i))
        dm[item], du[item], u = grads.m[item], grads.u[item], inputs.u[item]
        if inputs.lengths[b] > 0:
            for i in range(0, width, LANES):
                store(r, i, mul(results.u[item], load(r, i)))
            q, rest = _unwind(inputs, results, grads, ds, dv, item, r)
            dm[item], du[item] = 0, 0
            if u > 0:
                for i in range(0, width, LANES):
                    store(r, i, mul(1 / u, load(r, i)))
                dm[item] = q + rest
                du[item] = (q - _dot(r, inputs.w, item)) / u
        for i in range(0, width, LANES):
            store_part(dw, item * width + i, width - i, load(r, i))


def _inputs(
    s: Tensor, v: Tensor, m: Tensor, u: Tensor, w: Tensor, cut: Tensor | None, lengths: Tensor | None
) -> Inputs:
    """The arguments as the kernels read them; nothing that is contiguous already is copied."""
    batch, length, _ = s.shape
    values = v.shape[-1]
    cut = torch.zeros(batch, length, dtype=torch.bool) if cut is None else cut
    lengths = torch.full((batch,), length) if lengths is None else lengths.long()
    rows = (s.reshape(-1), v.reshape(-1, values), m.reshape(-1), u.reshape(-1), w.reshape(-1, values))
    return Inputs(*(x.contiguous().numpy(force=True) for x in (*rows, cut, lengths)))


def forward(
    s: Tensor, v: Tensor, m: Tensor, u: Tensor, w: Tensor, cut: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Outputs, the last m, u and w, and what each step keeps of the mean and adds to it, (B, L, H)."""
    inputs = _inputs(s, v, m, u, w, cut, lengths)
    tensors = (_room(v, lengths), *(_room(x, None) for x in (m, u, w)))
    tensors = (*tensors, _room(s, lengths), _room(s, lengths))
    results = _results(*tensors)
    over(m.numel(), v.numel(), lambda lo, hi: _forward(inputs, results, lo, hi))
    return tensors


def backward(
    grad: Tensor,
    grad_m: Tensor,
    grad_u: Tensor,
    grad_w: Tensor,
    s: Tensor,
    v: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    cut: Tensor | None,
    lengths: Tensor | None,
    o: Tensor,
    last_m: Tensor,
    last_u: Tensor,
    last_w: Tensor,
    kept: Tensor,
    share: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of s, v, m, u and w."""
    inputs, results = _inputs(s, v, m, u, w, cut, lengths), _results(o, last_m, last_u, last_w, kept, share)
    grads = _results(grad, grad_m, grad_u, grad_w, kept, share)
    tensors = (_room(s, lengths), _room(v, lengths), *(_room(x, None) for x in (m, u, w)))
    ds, dv, dm, du, dw = (x.numpy() for x in tensors)
    arrays = (ds.reshape(-1), dv, dm.reshape(-1), du.reshape(-1), dw)
    over(m.numel(), v.numel(), lambda lo, hi: _backward(inputs, results, grads, *arrays, lo, hi))
    return tensors


def _results(o: Tensor, m: Tensor, u: Tensor, w: Tensor, kept: Tensor, share: Tensor) -> Results:
    """The results, or their gradients, as rows."""
    values = o.shape[-1]
    rows = (o.reshape(-1, values), m.reshape(-1), u.reshape(-1), w.reshape(-1, values))
    rows = (*rows, kept.reshape(-1), share.reshape(-1))
    return Results(*(x.contiguous().numpy(force=True) for x in rows))


def _room(like: Tensor, lengths: Tensor | None) -> Tensor:
    """A tensor for results beside `like`; zero where steps past the end are not written."""
    return empty_like(like) if lengths is None else empty_like(like).zero_()


def warmup() -> None:
    """Compile the kernels for both floating types, on a single step."""
    for dtype in (torch.float32, torch.float64):
        s, v = torch.zeros(1, 1, 1, dtype=dtype), torch.zeros(1, 1, 1, 1, dtype=dtype)
        inputs = (s, v, s[:, 0], s[:, 0], v[:, 0], None, None)
        results = forward(*inputs)
        backward(v, s[:, 0], s[:, 0], v[:, 0], *inputs, *results)
