"""The product R h of one step for a few rows of the batch at once, and the gradient of R over all steps.

A library's product of eight rows with a matrix reaches a fraction of the machine's speed: it lays the matrix
out anew for every call. Here R is laid out once per sequence, in tiles of LANES columns, (inner, LANES) each,
and a tile is swept with the sums of up to eight rows in registers.

Each sum runs over the inner axis from first to last, one fused operation at a time, whatever the number of
rows: a row's result does not depend, to the bit, on the rows beside it, nor on the threads.

For use inside numba kernels; arrays are contiguous and indexed flat.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import torch
from torch import Tensor

from statewise.core.ops.buffers import empty
from statewise.core.ops.flat import read, write
from statewise.core.ops.simd import LANES, fma, load, load_part, prefetch, splat_at, store_part
from statewise.core.ops.tiles import INNER

__all__ = ["ROOM", "STRIP", "add_outer", "group", "packed", "product"]

EIGHT, FOUR = 8, 4
DEPTH = 256
"""Terms of a sum over time that are taken at once: what is read again then stays in the nearest caches."""
STRIP = 16
"""Rows of the gradient of R that are taken at once: a cache line of the gates' gradients."""
AHEAD = 8
ROOM = DEPTH * STRIP + LANES
"""Numbers to work in; the last part of a vector may be stored with what follows it, hence one vector more."""


def packed(matrix: Tensor) -> Tensor:
    """(H, inner, columns) in tiles: (H, tiles, inner, LANES), the last tile filled up with zeros."""
    heads, inner, columns = matrix.shape
    if columns % LANES:
        matrix = torch.nn.functional.pad(matrix, (0, -columns % LANES))
    tiles = empty((heads, -(-columns // LANES), inner, LANES), matrix.dtype)
    # by numpy: a copy by torch may wake its second thread, which then spins on the core that a kernel wants
    np.copyto(tiles.numpy(), matrix.detach().unflatten(2, (-1, LANES)).transpose(1, 2).numpy())
    return tiles


@nb.njit(**INNER)
def group(rows):
    """How many of that many rows to take at once."""
    return EIGHT if rows >= EIGHT else FOUR if rows >= FOUR else 1


@nb.njit(**INNER)
def product(rows, factors, f, f_step, tiles, first, start, s, s_step, out, o, o_step, inner, columns):
    """out_i = start_i + factors_i M for a `group` of rows i.

    Row i of `factors` begins at f + i f_step, and likewise in `start` and `out`; M in tiles begins at
    `first`. `start` and `out` may be the same rows.
    """
    for c in range(0, columns, LANES):
        tile, count = first + c * inner, columns - c
        if rows == EIGHT:
            _eight(factors, f, f_step, tiles, tile, start, s + c, s_step, out, o + c, o_step, inner, count)
        elif rows == FOUR:
            _four(factors, f, f_step, tiles, tile, start, s + c, s_step, out, o + c, o_step, inner, count)
        else:
            total = read(start, s + c, count)
            for k in range(inner):
                total = fma(splat_at(factors, f + k), load(tiles, tile + k * LANES), total)
            write(out, o + c, total, count, False)


@nb.njit(**INNER)
def _four(factors, f, f_step, tiles, tile, start, s, s_step, out, o, o_step, inner, count):
    f1, f2, f3 = f + f_step, f + 2 * f_step, f + 3 * f_step
    t0, t1 = read(start, s, count), read(start, s + s_step, count)
    t2, t3 = read(start, s + 2 * s_step, count), read(start, s + 3 * s_step, count)
    for k in range(inner):
        m = load(tiles, tile + k * LANES)
        t0, t1 = fma(splat_at(factors, f + k), m, t0), fma(splat_at(factors, f1 + k), m, t1)
        t2, t3 = fma(splat_at(factors, f2 + k), m, t2), fma(splat_at(factors, f3 + k), m, t3)
    write(out, o, t0, count, False)
    write(out, o + o_step, t1, count, False)
    write(out, o + 2 * o_step, t2, count, False)
    write(out, o + 3 * o_step, t3, count, False)


@nb.njit(**INNER)
def _eight(factors, f, f_step, tiles, tile, start, s, s_step, out, o, o_step, inner, count):
    f1, f2, f3 = f + f_step, f + 2 * f_step, f + 3 * f_step
    f4, f5, f6, f7 = f + 4 * f_step, f + 5 * f_step, f + 6 * f_step, f + 7 * f_step
    t0, t1 = read(start, s, count), read(start, s + s_step, count)
    t2, t3 = read(start, s + 2 * s_step, count), read(start, s + 3 * s_step, count)
    t4, t5 = read(start, s + 4 * s_step, count), read(start, s + 5 * s_step, count)
    t6, t7 = read(start, s + 6 * s_step, count), read(start, s + 7 * s_step, count)
    for k in range(inner):
        m = load(tiles, tile + k * LANES)
        t0, t1 = fma(splat_at(factors, f + k), m, t0), fma(splat_at(factors, f1 + k), m, t1)
        t2, t3 = fma(splat_at(factors, f2 + k), m, t2), fma(splat_at(factors, f3 + k), m, t3)
        t4, t5 = fma(splat_at(factors, f4 + k), m, t4), fma(splat_at(factors, f5 + k), m, t5)
        t6, t7 = fma(splat_at(factors, f6 + k), m, t6), fma(splat_at(factors, f7 + k), m, t7)
    write(out, o, t0, count, False)
    write(out, o + o_step, t1, count, False)
    write(out, o + 2 * o_step, t2, count, False)
    write(out, o + 3 * o_step, t3, count, False)
    write(out, o + 4 * o_step, t4, count, False)
    write(out, o + 5 * o_step, t5, count, False)
    write(out, o + 6 * o_step, t6, count, False)
    write(out, o + 7 * o_step, t7, count, False)


@nb.njit(**INNER)
def add_outer(left, l, l_step, tiles, first, out, o, count, depth, columns, room, r, lo, hi):
    """out_j += sum_k left_kj M_k for rows lo..hi, in strips, of an `out` of `count` rows that begins at o.

    Row k of `left` begins at l + k l_step; M, (depth, columns), in tiles begins at `first`. ROOM
    numbers of `room` from r on are there to work in: the rows of `left` lie too far apart to be read twice.
    """
    for begin in range(0, depth, DEPTH):
        size = min(DEPTH, depth - begin)
        for row in range(STRIP * lo, min(STRIP * hi, count), STRIP):
            for k in range(size):
                source = l + (begin + k) * l_step + row
                prefetch(left, source + AHEAD * l_step)
                for i in range(0, STRIP, EIGHT):
                    eight = load_part(left, source + i, min(EIGHT, count - row - i))
                    store_part(room, r + STRIP * k + i, EIGHT, eight)
            for c in range(0, columns, LANES):
                tile, part = first + c * depth + begin * LANES, columns - c
                for i in range(0, min(STRIP, count - row), EIGHT):
                    target, live = o + (row + i) * columns + c, count - row - i
                    _outer_eight(room, r + i, tiles, tile, out, target, columns, size, part, live)


@nb.njit(**INNER)
def _outer_eight(left, l, tiles, tile, out, o, step, size, count, live):
    """Of eight rows only the first `live` are read and written."""
    c1, c2 = count if live > 1 else 0, count if live > 2 else 0
    c3, c4 = count if live > 3 else 0, count if live > 4 else 0
    c5, c6, c7 = count if live > 5 else 0, count if live > 6 else 0, count if live > 7 else 0
    t0, t1 = read(out, o, count), read(out, o + step, c1)
    t2, t3 = read(out, o + 2 * step, c2), read(out, o + 3 * step, c3)
    t4, t5 = read(out, o + 4 * step, c4), read(out, o + 5 * step, c5)
    t6, t7 = read(out, o + 6 * step, c6), read(out, o + 7 * step, c7)
    for k in range(size):
        m, f = load(tiles, tile + k * LANES), l + STRIP * k
        t0, t1 = fma(splat_at(left, f), m, t0), fma(splat_at(left, f + 1), m, t1)
        t2, t3 = fma(splat_at(left, f + 2), m, t2), fma(splat_at(left, f + 3), m, t3)
        t4, t5 = fma(splat_at(left, f + 4), m, t4), fma(splat_at(left, f + 5), m, t5)
        t6, t7 = fma(splat_at(left, f + 6), m, t6), fma(splat_at(left, f + 7), m, t7)
    write(out, o, t0, count, False)
    write(out, o + step, t1, c1, False)
    write(out, o + 2 * step, t2, c2, False)
    write(out, o + 3 * step, t3, c3, False)
    write(out, o + 4 * step, t4, c4, False)
    write(out, o + 5 * step, t5, c5, False)
    write(out, o + 6 * step, t6, c6, False)
    write(out, o + 7 * step, t7, c7, False)
