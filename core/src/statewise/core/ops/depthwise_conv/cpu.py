"""`depthwise_conv` for CPUs: numba, all taps in one pass over the sequence.

Plain torch reads and writes the whole output once per tap; here a sum over the taps stays in a register and
its inputs in the nearest cache. Arrays are flat. Complex numbers are pairs of reals, and `width` counts
reals. Inputs are numbered s = -(K - 1), ..., L - 1, the negative ones being the tail.

The episodes come as four arrays. start (B, L): the first step of the episode of t, far below zero before the
first reset. follows (B, L + 1): the first reset from t on, or the end of the row. end (B,): the length of the
row. kept (B,): the first input that the returned tail may hold. Without resets, start, follows and kept are
empty.

A work item is one batch row and one tile of at most TILE columns, so that the result does not depend on the
threads.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from statewise.core.ops.buffers import empty_like
from statewise.core.ops.depthwise_conv.portable import starts
from statewise.core.ops.flat import (
    KINDS,
    OPTIONS,
    TILE,
    address,
    array_at,
    far,
    items,
    plain,
    read,
    reals,
    write,
)
from statewise.core.ops.kernel import kernel
from statewise.core.ops.pairs import fma_conj_pairs, fma_pairs
from statewise.core.ops.simd import LANES, add, fma, zeros
from statewise.core.ops.threads import over

__all__ = ["backward", "forward", "warmup"]

BLOCK = 8192
"""Reals of a block of steps, small enough that its taps are read from the cache."""
NEVER = torch.iinfo(torch.int64).min // 2
_NOWHERE = np.empty(0, np.int64)


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _input(x, tail, row, s, length, width, taps, place, count):
    """The input of the step s, from the tail before the first."""
    if s < 0:
        return read(tail, (row * (taps - 1) + taps - 1 + s) * width + place, count)
    return read(x, (row * length + s) * width + place, count)


@kernel(**OPTIONS)
def _forward(kind, x, w, bias, tail, y, out, start, end, kept, length, width, taps, pairs, past, lo, hi):
    """Fill y (B, L, width) and the returned tail (B, K - 1, width) for the items lo..hi."""
    x_, w_, tail_, y_, out_ = (
        array_at(x, kind), array_at(w, kind), array_at(tail, kind), array_at(y, kind), array_at(out, kind)
    )  # fmt: skip
    bias_ = array_at(bias, kind)
    tiles = (width + TILE - 1) // TILE
    nothing = zeros(kind)
    for item in range(lo, hi):
        row, left = item // tiles, item % tiles * TILE
        size = min(TILE, width - left)
        steps = max(1, BLOCK // size)
        for begin in range(0, length, steps):
            for d in range(left, left + size, LANES):
                count = min(LANES, left + size - d)
                for t in range(begin, min(begin + steps, length)):
                    total = nothing
                    if t < end[row]:
                        first = t - taps + 1
                        if bias:
                            total = read(bias_, d, count)
                        for s in range(max(first, start[row * length + t]) if start.size else first, t + 1):
                            value = _input(x_, tail_, row, s, length, width, taps, d, count)
                            weight = read(w_, (s - first) * width + d, count)
                            total = fma_pairs(weight, value, total) if pairs else fma(weight, value, total)
                    write(y_, (row * length + t) * width + d, total, count, past)
        for place in range(taps - 1):
            s = end[row] - (taps - 1) + place
            for d in range(left, left + size, LANES):
                count = min(LANES, left + size - d)
                value = nothing
                if kept.size == 0 or s >= kept[row]:
                    value = _input(x_, tail_, row, s, length, width, taps, d, count)
                write(out_, (row * (taps - 1) + place) * width + d, value, count, False)


@kernel(**OPTIONS)
def _backward_inputs(
    kind, g, g_out, w, dx, dtail, follows, end, kept, length, width, taps, pairs, past, lo, hi
):
    """Fill dx (B, L, width) and dtail (B, K - 1, width) for the items lo..hi."""
    g_, g_out_, w_ = array_at(g, kind), array_at(g_out, kind), array_at(w, kind)
    dx_, dtail_ = array_at(dx, kind), array_at(dtail, kind)
    tiles = (width + TILE - 1) // TILE
    nothing = zeros(kind)
    for item in range(lo, hi):
        row, left = item // tiles, item % tiles * TILE
        size = min(TILE, width - left)
        steps = max(1, BLOCK // size)
        for begin in range(1 - taps, length, steps):
            for d in range(left, left + size, LANES):
                count = min(LANES, left + size - d)
                for s in range(begin, min(begin + steps, length)):
                    total = nothing
                    place = s + taps - 1 - end[row]
                    if g_out and 0 <= place < taps - 1 and (kept.size == 0 or s >= kept[row]):
                        total = read(g_out_, (row * (taps - 1) + place) * width + d, count)
                    until = follows[row * (length + 1) + max(s + 1, 0)] if follows.size else end[row]
                    for t in range(max(s, 0), min(until, s + taps) if g else 0):
                        weight = read(w_, (taps - 1 + s - t) * width + d, count)
                        value = read(g_, (row * length + t) * width + d, count)
                        total = fma_conj_pairs(weight, value, total) if pairs else fma(weight, value, total)
                    if s < 0:
                        write(dtail_, (row * (taps - 1) + taps - 1 + s) * width + d, total, count, False)
                    else:
                        write(dx_, (row * length + s) * width + d, total, count, past)


@kernel(**OPTIONS)
def _backward_taps(kind, g, x, tail, dw, dbias, start, end, length, width, taps, pairs, lo, hi):
    """Add the items lo..hi to dw (B, K, width) and dbias (B, width): one row of sums per row of the batch."""
    g_, x_, tail_ = array_at(g, kind), array_at(x, kind), array_at(tail, kind)
    dw_, dbias_ = array_at(dw, kind), array_at(dbias, kind)
    tiles = (width + TILE - 1) // TILE
    for item in range(lo, hi):
        row, left = item // tiles, item % tiles * TILE
        size = min(TILE, width - left)
        steps = max(1, BLOCK // size)
        for begin in range(0, end[row], steps):
            stop = min(begin + steps, end[row])
            for d in range(left, left + size, LANES):
                count = min(LANES, left + size - d)
                total = read(dbias_, row * width + d, count)
                for t in range(begin, stop):
                    total = add(total, read(g_, (row * length + t) * width + d, count))
                write(dbias_, row * width + d, total, count, False)
                for k in range(taps):
                    total = read(dw_, (row * taps + k) * width + d, count)
                    for t in range(begin, stop):
                        s = t - taps + 1 + k
                        if start.size == 0 or s >= start[row * length + t]:
                            value = _input(x_, tail_, row, s, length, width, taps, d, count)
                            given = read(g_, (row * length + t) * width + d, count)
                            total = fma_conj_pairs(value, given, total) if pairs else fma(value, given, total)
                    write(dw_, (row * taps + k) * width + d, total, count, False)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, tail: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The output (B, L, D) and the tail (B, K - 1, D) that continues it."""
    y, out = empty_like(x), torch.empty_like(tail, memory_format=torch.contiguous_format)
    inputs = [None if tensor is None else plain(tensor) for tensor in (x, weight, bias, tail)]
    places = [address(tensor) for tensor in (*inputs, y, out)]
    start, _, end, kept = _episodes(reset, lengths, *x.shape[:2])
    length, width, taps, pairs = _sizes(x, weight)
    sizes = (length, width, taps, pairs, far(y, width))
    kind = KINDS[x.dtype]

    def run(lo: int, hi: int) -> None:
        _forward(kind, *places, start, end, kept, *sizes, lo, hi)

    over(items(x, width), x.numel(), run)
    return y, out


def backward(
    grad: Tensor | None,
    grad_tail: Tensor | None,
    x: Tensor,
    weight: Tensor,
    tail: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias and tail."""
    dx, dtail = empty_like(x), torch.empty_like(tail, memory_format=torch.contiguous_format)
    dw, dbias = (x.new_zeros((x.shape[0], *size)) for size in (weight.shape, weight.shape[1:]))
    inputs = [None if tensor is None else plain(tensor) for tensor in (grad, grad_tail, x, weight, tail)]
    g, g_tail, x_at, w_at, tail_at = (address(tensor) for tensor in inputs)
    start, follows, end, kept = _episodes(reset, lengths, *x.shape[:2])
    sizes, kind = _sizes(x, weight), KINDS[x.dtype]
    to_inputs = (kind, g, g_tail, w_at, address(dx), address(dtail), follows, end, kept, *sizes)
    to_taps = (kind, g, x_at, tail_at, address(dw), address(dbias), start, end, *sizes)
    past = far(dx, sizes[1])

    def run(lo: int, hi: int) -> None:
        _backward_inputs(*to_inputs, past, lo, hi)
        if g:
            _backward_taps(*to_taps, lo, hi)

    over(items(x, sizes[1]), x.numel(), run)
    dweight, dshift = (torch.from_numpy(part.numpy().sum(0)) for part in (dw, dbias))
    return dx, dweight, dshift, dtail


def _sizes(x: Tensor, weight: Tensor) -> tuple[int, int, int, bool]:
    """Length, reals per step, taps, and whether reals come in pairs."""
    return x.shape[1], reals(x), weight.shape[0], x.is_complex()


def _episodes(
    reset: Tensor | None, lengths: Tensor | None, batch: int, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """start, follows, end and kept, as in the docstring of this module."""
    end = np.full(batch, length) if lengths is None else lengths.numpy().astype(np.int64)
    if reset is None:
        return _NOWHERE, _NOWHERE, end, _NOWHERE
    start = starts(reset).numpy()
    later = np.where(reset.numpy(), np.arange(length), length)
    follows = np.concatenate([later, np.full((batch, 1), length)], 1)
    follows = np.minimum(np.minimum.accumulate(follows[:, ::-1], 1)[:, ::-1], end[:, None])
    before = np.concatenate([np.full((batch, 1), NEVER), start], 1)
    return start.ravel(), follows.ravel(), end, before[np.arange(batch), end]


def warmup() -> None:
    """Compile the kernels for both floating types, on one step of one channel."""
    for dtype in (torch.float32, torch.float64):
        x, weight = torch.zeros(1, 1, 1, dtype=dtype), torch.zeros(2, 1, dtype=dtype)
        y, tail = forward(x, weight, None, x, None, None)
        backward(y, tail, x, weight, x, None, None)
