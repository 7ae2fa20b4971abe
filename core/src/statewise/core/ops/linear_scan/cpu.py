"""`linear_scan` for CPUs: numba, one pass over time, each row of channels as a run of vectors.

Memory is the limit, so everything is read once and written once: the carry stays in the nearest cache, the
gradient of a transition that does not depend on time is summed there, and outputs too large to be read from a
cache again are written past it. Arrays are flat. Complex numbers are pairs of reals, and `width` counts
reals.

A work item is one batch row and one tile of at most TILE columns, so that the result does not depend on the
threads.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from statewise.core.ops.buffers import empty_like
from statewise.core.ops.flat import (
    CACHE_LINE,
    FAR,
    KINDS,
    MARK,
    OPTIONS,
    TILE,
    address,
    array_at,
    plain,
    read,
    write,
)
from statewise.core.ops.kernel import kernel
from statewise.core.ops.pairs import fma_conj_pairs, fma_pairs
from statewise.core.ops.simd import LANES, add, fma, mul, zeros
from statewise.core.ops.threads import over

__all__ = ["backward", "forward", "warmup"]

BLOCK = 2048
"""Reals of a block: as many steps as fill it are taken for one vector of channels before the next vector."""
NOTHING, STEPS, SUM = 0, 1, 2
"""What to keep of the gradient of a: nothing, every step, or the sum over the steps of a row."""


@kernel(**OPTIONS)
def _forward(kind, a, b, h0, cut, h, last, length, width, a_batch, a_time, reverse, pairs, past, lo, hi):
    """Fill h (B, L, width) and last (B, width), which keeps the carry between blocks."""
    a_, b_, h0_, cut_ = array_at(a, kind), array_at(b, kind), array_at(h0, kind), array_at(cut, MARK)
    h_, last_ = array_at(h, kind), array_at(last, kind)
    tiles = (width + TILE - 1) // TILE
    steps = max(1, BLOCK // width)
    for item in range(lo, hi):
        row, left = item // tiles, item % tiles * TILE
        right = min(left + TILE, width)
        for start in range(0, max(length, 1), steps):
            for d in range(left, right, LANES):
                count = min(LANES, right - d)
                carry = zeros(kind)
                if start > 0:
                    carry = read(last_, row * width + d, count)
                elif h0:
                    carry = read(h0_, row * width + d, count)
                for step in range(start, min(start + steps, length)):
                    t = length - 1 - step if reverse else step
                    here = (row * length + t) * width + d
                    value = read(b_, here, count)
                    if not (cut and cut_[row * length + t]) and (step > 0 or h0):
                        decay = read(a_, row * a_batch + t * a_time + d, count)
                        value = fma_pairs(decay, carry, value) if pairs else fma(decay, carry, value)
                    carry = value
                    write(h_, here, value, count, past)
                write(last_, row * width + d, carry, count, False)


@kernel(**OPTIONS)
def _backward(
    kind,
    g,
    g_last,
    a,
    h,
    h0,
    cut,
    da,
    db,
    dh0,
    length,
    width,
    a_batch,
    a_time,
    reverse,
    pairs,
    keep,
    past,
    lo,
    hi,
):
    """Fill da, db (B, L, width) and dh0 (B, width), which keeps the carry between blocks."""
    g_, g_last_, a_ = array_at(g, kind), array_at(g_last, kind), array_at(a, kind)
    h_, h0_, cut_ = array_at(h, kind), array_at(h0, kind), array_at(cut, MARK)
    da_, db_, dh0_ = array_at(da, kind), array_at(db, kind), array_at(dh0, kind)
    tiles = (width + TILE - 1) // TILE
    steps = max(1, BLOCK // width)
    blocks = max(1, (length + steps - 1) // steps)
    nothing = zeros(kind)
    for item in range(lo, hi):
        row, left = item // tiles, item % tiles * TILE
        right = min(left + TILE, width)
        for block in range(blocks - 1, -1, -1):
            for d in range(left, right, LANES):
                count = min(LANES, right - d)
                carry = total = nothing
                if block < blocks - 1:
                    carry = read(dh0_, row * width + d, count)
                    if keep == SUM:
                        total = read(da_, row * width + d, count)
                elif g_last:
                    carry = read(g_last_, row * width + d, count)
                for step in range(min((block + 1) * steps, length) - 1, block * steps - 1, -1):
                    t = length - 1 - step if reverse else step
                    here = (row * length + t) * width + d
                    x = add(read(g_, here, count), carry) if g else carry
                    write(db_, here, x, count, past)
                    if (cut and cut_[row * length + t]) or not (step > 0 or h0):
                        carry = nothing
                        if keep == STEPS:
                            write(da_, here, nothing, count, past)
                        continue
                    decay = read(a_, row * a_batch + t * a_time + d, count)
                    carry = fma_conj_pairs(decay, x, nothing) if pairs else mul(decay, x)
                    if keep != NOTHING:
                        if step == 0:
                            before = read(h0_, row * width + d, count)
                        else:
                            before = read(h_, here + width if reverse else here - width, count)
                        total = fma_conj_pairs(before, x, total) if pairs else fma(before, x, total)
                        if keep == STEPS:
                            write(da_, here, total, count, past)
                            total = nothing
                write(dh0_, row * width + d, carry, count, False)
                if keep == SUM:
                    write(da_, row * width + d, total, count, False)


class Plan(NamedTuple):
    """What follows from shapes and dtype alone; working it out would cost as much as a short scan."""

    kind: np.ndarray  # as in KINDS
    state: tuple[int, ...]  # the shape of a state, (B, *F)
    sizes: tuple[int, int, int, int]  # length, width, and how far a moves per row and per step
    lined: bool  # large enough to be written past the caches, in whole cache lines
    items: int
    elements: int


@lru_cache(maxsize=256)
def _plan(a_shape: tuple[int, ...], shape: tuple[int, ...], dtype: torch.dtype) -> Plan:
    """The plan for a transition of `a_shape` and writes of `shape`."""
    width = math.prod(shape[2:]) * (2 if dtype.is_complex else 1)
    steps = _in_steps(a_shape, shape)
    shared = len(a_shape) < len(shape) or a_shape[0] == 1
    a_row = shape[1] * width if steps else 0 if shared else width
    elements = math.prod(shape)
    return Plan(
        kind=KINDS[dtype],
        state=(shape[0], *shape[2:]),
        sizes=(shape[1], width, a_row, width if steps else 0),
        lined=elements * dtype.itemsize >= FAR and width * KINDS[dtype].itemsize % CACHE_LINE == 0,
        items=shape[0] * -(-width // TILE),
        elements=elements,
    )


def _in_steps(a_shape: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether the transition is read step by step: it changes with time, or is there for every step."""
    if a_shape == shape:
        return True
    return len(a_shape) >= len(shape) - 1 and a_shape[1 - len(shape)] != 1


def forward(
    a: Tensor, b: Tensor, h0: Tensor | None, cut: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """All states (B, L, *F) and the last one (B, *F)."""
    kind, state, sizes, lined, count, elements = _plan(a.shape, b.shape, b.dtype)
    h, last = empty_like(b), torch.empty(state, dtype=b.dtype)
    a, b = _transition(a, h), plain(b)
    h0, cut = h0 if h0 is None else plain(h0), cut if cut is None else cut.contiguous()
    out = h.data_ptr()
    places = (a.data_ptr(), b.data_ptr(), address(h0), address(cut), out, last.data_ptr())
    options = (reverse, h.is_complex(), lined and out % CACHE_LINE == 0)
    over(count, elements, _forward, kind, *places, *sizes, *options)
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
    """Gradients of a (empty unless wanted), b and h0."""
    shape, real = a.shape, not a.is_complex()
    kind, state, sizes, lined, count, elements = _plan(shape, h.shape, h.dtype)
    db, dh0 = empty_like(h), torch.empty(state, dtype=h.dtype)
    keep = NOTHING if not wants_a else STEPS if sizes[3] else SUM
    da = empty_like(db if keep == STEPS else dh0) if wants_a else h.new_empty(0)
    a, h = _transition(a, h), plain(h)
    grad, grad_last, h0 = (None if given is None else plain(given) for given in (grad, grad_last, h0))
    cut = cut if cut is None else cut.contiguous()
    out = db.data_ptr()
    inputs = (address(grad), address(grad_last), a.data_ptr(), h.data_ptr(), address(h0), address(cut))
    places = (*inputs, da.data_ptr(), out, dh0.data_ptr())
    options = (reverse, h.is_complex(), keep, lined and out % CACHE_LINE == 0)
    over(count, elements, _backward, kind, *places, *sizes, *options)
    if wants_a:
        da = _reduce(da if keep == STEPS else da.unsqueeze(1), shape, real)
    return da, db, dh0


def _transition(a: Tensor, h: Tensor) -> Tensor:
    """The transition as h reads it: of its dtype, for all features, and for every step or for one."""
    if a.dtype != h.dtype:
        a = a.to(h.dtype)
    if a.shape == h.shape:
        return plain(a)
    a = a.reshape([1] * (h.ndim - a.ndim) + list(a.shape))
    if a.shape[1] == 1:
        return plain(a.expand(a.shape[0], 1, *h.shape[2:]))
    return plain(a.expand(h.shape))


def _reduce(da: Tensor, shape: torch.Size, real: bool) -> Tensor:
    """The sum of da over the axes along which a is shared, in one order whatever the number of threads."""
    if real and da.is_complex():
        da = da.real.contiguous()
    if da.shape == shape:
        return da
    target = [1] * (da.ndim - len(shape)) + list(shape)
    axes = tuple(axis for axis, size in enumerate(target) if size == 1)
    return torch.from_numpy(da.numpy().sum(axes, keepdims=True)).view(shape)


def warmup() -> None:
    """Compile the kernels for both floating types, on one step of one channel."""
    for dtype in (torch.float32, torch.float64):
        x, h0 = torch.zeros(1, 1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
        h, last = forward(x, x, h0, None, False)
        backward(h, last, x, h, h0, None, False, True)
