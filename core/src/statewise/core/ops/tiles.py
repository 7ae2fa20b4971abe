"""Rows of tokens in blocks of four, and matrices in tiles, for numba kernels whose state is a matrix.

A block holds the rows of up to four tokens in scratch, each padded to whole vectors; missing tokens are
zeros. A state (rows, columns) lies in tiles of LANES columns, each tile (rows, LANES), so that a sweep over
its rows keeps what it collects per column in registers: each element is loaded once for four tokens.

All functions here are for use inside `@njit` functions.
"""

from __future__ import annotations

from typing import Any

import numba as nb

from statewise.core.ops.simd import (
    LANES,
    fma,
    load,
    load_part,
    mul,
    prefetch,
    splat_at,
    store,
    store_part,
    total,
    zeros,
)

__all__ = [
    "INNER",
    "TOKENS",
    "clear",
    "copy",
    "dots",
    "find_blocks",
    "gather",
    "padded",
    "read",
    "scatter",
    "tile",
    "transpose",
    "untile",
    "write",
]

INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
"""Options of a function that only other kernels call, and that neither makes nor returns an array.

Without `_nrt` each call would count references to every array it is handed: half the time of a small block.
"""

TOKENS = 4
LINE = 16
"""Numbers of four bytes in a cache line."""


@nb.njit(**INNER)
def padded(width):  # noqa: ANN001, ANN201
    """`width` rounded up to whole vectors."""
    return (width + LANES - 1) // LANES * LANES


@nb.njit(**INNER)
def find_blocks(cut, starts):  # noqa: ANN001, ANN201
    """Fill `starts` with the first step of each block and the end; a cut begins one. Returns their number."""
    count, size = 0, TOKENS
    for t in range(len(cut)):
        if size == TOKENS or cut[t]:
            starts[count] = t
            count += 1
            size = 0
        size += 1
    starts[count] = len(cut)
    return count


@nb.njit(**INNER)
def gather(rows, first, stride, count, factor, target, ahead):  # noqa: ANN001, ANN201
    """Copy `count` rows, times `factor`, to the four of `target`; fetch those that lie `ahead` of them."""
    width, size = rows.shape[1], len(target) // TOKENS
    for j in range(TOKENS):
        source = (first + j * stride) * width
        for i in range(0, size, LANES):
            live = width - i if j < count else 0
            store(target, j * size + i, mul(factor, load_part(rows, source + i, live)))
            for line in range(i, i + LANES, LINE):
                prefetch(rows, source + ahead * width + line)


@nb.njit(**INNER)
def scatter(source, rows, first, stride, count):  # noqa: ANN001, ANN201
    """Copy the rows of a block to the tokens they belong to."""
    width, size = rows.shape[1], len(source) // TOKENS
    for j in range(count):
        for i in range(0, size, LANES):
            store_part(rows, (first + j * stride) * width + i, width - i, load(source, j * size + i))


@nb.njit(**INNER)
def clear(array):  # noqa: ANN001, ANN201
    """Zero an array of whole vectors; an assignment to a slice takes numba seconds to compile."""
    for i in range(0, len(array), LANES):
        store(array, i, zeros(array))


@nb.njit(**INNER)
def copy(source, target):  # noqa: ANN001, ANN201
    """Copy an array of whole vectors."""
    for i in range(0, len(source), LANES):
        store(target, i, load(source, i))


@nb.njit(**INNER)
def dots(a, b, out):  # noqa: ANN001, ANN201
    """out[4 i + j] = <a_i, b_j> for j <= i, of two blocks of rows."""
    size = len(a) // TOKENS
    for i in range(TOKENS):
        for j in range(i + 1):
            acc = zeros(a)
            for c in range(0, size, LANES):
                acc = fma(load(a, i * size + c), load(b, j * size + c), acc)
            out[TOKENS * i + j] = total(acc)


@nb.njit(**INNER)
def read(state, factors, out, rows):  # noqa: ANN001, ANN201
    """out_j = S^T factors_j for the four rows of a block."""
    columns, step = len(out) // TOKENS, len(factors) // TOKENS
    for c in range(0, columns, LANES):
        o0, o1, o2, o3 = zeros(state), zeros(state), zeros(state), zeros(state)
        for r in range(rows):
            s = load(state, c * rows + r * LANES)
            o0, o1 = fma(splat_at(factors, r), s, o0), fma(splat_at(factors, step + r), s, o1)
            o2, o3 = fma(splat_at(factors, 2 * step + r), s, o2), fma(splat_at(factors, 3 * step + r), s, o3)
        store(out, c, o0)
        store(out, columns + c, o1)
        store(out, 2 * columns + c, o2)
        store(out, 3 * columns + c, o3)


@nb.njit(**INNER)
def write(source, target, decay, factors, vectors, rows):  # noqa: ANN001, ANN201
    """Set target = decay source + sum_j factors_j vectors_j^T for the four rows of a block."""
    columns, step = len(vectors) // TOKENS, len(factors) // TOKENS
    for c in range(0, columns, LANES):
        w0, w1 = load(vectors, c), load(vectors, columns + c)
        w2, w3 = load(vectors, 2 * columns + c), load(vectors, 3 * columns + c)
        for r in range(rows):
            s = mul(decay, load(source, c * rows + r * LANES))
            s = fma(splat_at(factors, step + r), w1, fma(splat_at(factors, r), w0, s))
            s = fma(splat_at(factors, 3 * step + r), w3, fma(splat_at(factors, 2 * step + r), w2, s))
            store(target, c * rows + r * LANES, s)


@nb.njit(**INNER)
def tile(matrix, state):  # noqa: ANN001, ANN201
    """Lay a matrix out in tiles; the padding stays as it is."""
    rows, columns = matrix.shape
    for r in range(rows):
        for c in range(columns):
            state[c // LANES * LANES * rows + r * LANES + c % LANES] = matrix[r, c]


@nb.njit(**INNER)
def untile(state, matrix):  # noqa: ANN001, ANN201
    """The inverse of `tile`."""
    rows, columns = matrix.shape
    for r in range(rows):
        for c in range(columns):
            matrix[r, c] = state[c // LANES * LANES * rows + r * LANES + c % LANES]


@nb.njit(**INNER)
def transpose(source, target, rows, columns):  # noqa: ANN001, ANN201
    """The tiles of the transpose of a (rows, columns) matrix in tiles; the padding stays as it is."""
    for r in range(rows):
        row = r // LANES * LANES * columns + r % LANES
        for c in range(columns):
            target[row + c * LANES] = source[c // LANES * LANES * rows + r * LANES + c % LANES]
