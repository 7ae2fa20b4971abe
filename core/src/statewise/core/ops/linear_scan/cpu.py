"""`linear_scan` for CPUs: numba, one pass over time, each row of channels as a run of vectors.

Memory is the limit, so everything is read once and written once: the carry stays in the nearest cache, the
gradient of a transition that does not depend on time is summed there, and outputs too large to be read from a
cache again are written past it. Arrays are flat. Complex numbers are pairs of reals, and `width` counts
reals.

A work item is one batch row and one tile of at most TILE columns, so that the result does not depend on the
threads.
"""

from __future__ import annotations

import numba as nb
import torch
from torch import Tensor

from statewise.core.ops.buffers import empty_like
from statewise.core.ops.flat import OPTIONS, TILE, far, flat, items, marks, read, reals, write
from statewise.core.ops.pairs import fma_conj_pairs, fma_pairs
from statewise.core.ops.simd import LANES, add, fma, mul, zeros
from statewise.core.ops.threads import over

__all__ = ["backward", "forward"]

BLOCK = 2048
"""Reals of a block: as many steps as fill it are taken for one vector of channels before the next vector."""
NOTHING, STEPS, SUM = 0, 1, 2
"""What to keep of the gradient of a: nothing, every step, or the sum over the steps of a row."""


@nb.njit(**OPTIONS)
def _begins(step, mark, h0, cut):
    """Whether the state before this step counts as zero."""
    return (step == 0 and h0.size == 0) or (cut.size > 0 and cut[mark])


@nb.njit(**OPTIONS)
def _forward(a, b, h0, cut, h, last, length, width, a_batch, a_time, reverse, pairs, past, lo, hi):
    """Fill h (B, L, width) and last (B, width), which keeps the carry between blocks."""
    tiles = (width + TILE - 1) // TILE
    steps = max(1, BLOCK // width)
    for item in range(lo, hi):
        row, left = item // tiles, item % tiles * TILE
        size = min(TILE, width - left)
        edge = row * width + left
        for d in range(size):
            last[edge + d] = h0[edge + d] if h0.size else 0
        for start in range(0, length, steps):
            for d in range(0, size, LANES):
                count = min(LANES, size - d)
                carry = read(last, edge + d, count)
                for step in range(start, min(start + steps, length)):
                    t = length - 1 - step if reverse else step
                    mark = row * length + t
                    here = mark * width + left + d
                    value = read(b, here, count)
                    if not _begins(step, mark, h0, cut):
                        decay = read(a, row * a_batch + t * a_time + left + d, count)
                        value = fma_pairs(decay, carry, value) if pairs else fma(decay, carry, value)
                    carry = value
                    write(h, here, value, count, past)
                write(last, edge + d, carry, count, False)


@nb.njit(**OPTIONS)
def _backward(
    g,
    g_batch,
    g_time,
    g_last,
    a,
    a_batch,
    a_time,
    h,
    h0,
    cut,
    da,
    db,
    dh0,
    length,
    width,
    reverse,
    keep,
    pairs,
    past,
    lo,
    hi,
):
    """Fill da, db (B, L, width) and dh0 (B, width), which keeps the carry between blocks."""
    tiles = (width + TILE - 1) // TILE
    steps = max(1, BLOCK // width)
    nothing = zeros(h)
    for item in range(lo, hi):
        row, left = item // tiles, item % tiles * TILE
        size = min(TILE, width - left)
        edge = row * width + left
        for d in range(size):
            dh0[edge + d] = g_last[edge + d] if g_last.size else 0
            if keep == SUM:
                da[edge + d] = 0
        for stop in range(length, 0, -steps):
            for d in range(0, size, LANES):
                count = min(LANES, size - d)
                carry = read(dh0, edge + d, count)
                total = read(da, edge + d, count) if keep == SUM else nothing
                for step in range(stop - 1, max(stop - steps, 0) - 1, -1):
                    t = length - 1 - step if reverse else step
                    mark = row * length + t
                    here = mark * width + left + d
                    x = add(read(g, row * g_batch + t * g_time + left + d, count), carry)
                    write(db, here, x, count, past)
                    if _begins(step, mark, h0, cut):
                        carry = nothing
                        if keep == STEPS:
                            write(da, here, nothing, count, past)
                        continue
                    decay = read(a, row * a_batch + t * a_time + left + d, count)
                    carry = fma_conj_pairs(decay, x, nothing) if pairs else mul(decay, x)
                    if keep != NOTHING:
                        if step == 0:
                            before = read(h0, edge + d, count)
                        else:
                            before = read(h, here + width if reverse else here - width, count)
                        total = fma_conj_pairs(before, x, total) if pairs else fma(before, x, total)
                        if keep == STEPS:
                            write(da, here, total, count, past)
                            total = nothing
                write(dh0, edge + d, carry, count, False)
                if keep == SUM:
                    write(da, edge + d, total, count, False)


def forward(
    a: Tensor, b: Tensor, h0: Tensor | None, cut: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """All states (B, L, *F) and the last one (B, *F)."""
    h = empty_like(b)
    last = b.new_empty((b.shape[0], *b.shape[2:]))
    length, width, pairs = h.shape[1], reals(h), h.is_complex()
    a, a_batch, a_time = _transition(a, h)
    arrays = (flat(a), flat(b), flat(h0, h), marks(cut), flat(h), flat(last))
    sizes = (length, width, a_batch, a_time, reverse, pairs, far(h))
    over(items(h), h.numel(), lambda lo, hi: _forward(*arrays, *sizes, lo, hi))
    return h, last


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    a: Tensor,
    h: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    reverse: bool,
    wants_a: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a (empty unless wanted), b and h0 (empty without h0)."""
    length, width, pairs = h.shape[1], reals(h), h.is_complex()
    shape, real = a.shape, not a.is_complex()
    a, a_batch, a_time = _transition(a, h)
    g, g_batch, g_time = (h.new_zeros(h.shape[2:]), 0, 0) if grad is None else (grad, length * width, width)
    db = empty_like(h)
    dh0 = h.new_empty((h.shape[0], *h.shape[2:]))
    nothing = h.new_empty(0)
    keep = NOTHING if not wants_a else STEPS if a_time else SUM
    da = empty_like((nothing, db, dh0)[keep])
    gradients = (flat(g), g_batch, g_time, flat(grad_last, h))
    arrays = (flat(a), a_batch, a_time, flat(h), flat(h0, h), marks(cut), flat(da), flat(db), flat(dh0))
    sizes = (length, width, reverse, keep, pairs, far(h))
    over(items(h), h.numel(), lambda lo, hi: _backward(*gradients, *arrays, *sizes, lo, hi))
    if wants_a:
        da = _reduce(da if keep == STEPS else da.unsqueeze(1), shape, real)
    return da, db, nothing if h0 is None else dh0


def _transition(a: Tensor, h: Tensor) -> tuple[Tensor, int, int]:
    """The transition as h reads it, and how far it moves per batch row and per step: 0 where shared."""
    if a.dtype != h.dtype:
        a = a.to(h.dtype)
    width = reals(h)
    if a.shape == h.shape:
        return a.contiguous(), h.shape[1] * width, width
    a = a.reshape([1] * (h.ndim - a.ndim) + list(a.shape))
    if a.shape[1] == 1:
        return a.expand(a.shape[0], 1, *h.shape[2:]).contiguous(), width if a.shape[0] > 1 else 0, 0
    return a.expand(h.shape).contiguous(), h.shape[1] * width, width


def _reduce(da: Tensor, shape: torch.Size, real: bool) -> Tensor:
    """The sum of da over the axes along which a is shared, in one order whatever the number of threads."""
    if real and da.is_complex():
        da = da.real.contiguous()
    if da.shape == shape:
        return da
    target = [1] * (da.ndim - len(shape)) + list(shape)
    axes = tuple(axis for axis, size in enumerate(target) if size == 1)
    return torch.from_numpy(da.numpy().sum(axes, keepdims=True)).view(shape)
