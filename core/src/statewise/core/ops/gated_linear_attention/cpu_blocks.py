"""Kernels on a block: up to four consecutive tokens of one head, none of them cut from the one before.

With a_t the decays of the block, S the state before it, and everything per key,

    reader_i = scale q_i a_1 ... a_i    writer_j = k_j a_{j+1} ... a_4    span = a_1 a_2 a_3 a_4
    score_ij = scale <q_i, k_j a_{j+1} ... a_i>
    o_i = S^T reader_i + sum_{j <= i} score_ij v_j           S <- span S + sum_j writer_j v_j^T

Products of decays are formed as products, the span from the sum of the block's own logarithms: no difference
of sums is taken, hence no cancellation and no overflow. (The product of numbers just below one is rounded the
same way every time, which thousands of blocks add up in the state.) Each element of the state is loaded once
for nine fused operations.

A state of R rows and C columns lies in tiles of LANES columns, each (R, LANES). Rows of a block are padded to
whole vectors with zeros; missing tokens are zeros that decay nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from statewise.core.ops.simd import (
    LANES,
    add,
    exp2,
    fma,
    load,
    mul,
    scratch,
    splat,
    splat_at,
    store,
    total,
    zeros,
)
from statewise.core.ops.tiles import INNER, TOKENS, clear, gather, scatter

__all__ = [
    "Block",
    "advance",
    "gather_decays",
    "grad_keys",
    "grad_queries",
    "mix",
    "new_block",
    "overlap",
    "prepare",
    "prepare_writers",
    "scatter_decays",
    "write",
]

MAKES_ARRAYS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
LOG2E = 1.0 / math.log(2.0)


class Block(NamedTuple):
    """Scratch of one block: (4, K) and (4, V) arrays, flat."""

    query: np.ndarray  # scale q
    key: np.ndarray
    decay: np.ndarray
    reader: np.ndarray
    writer: np.ndarray
    span: np.ndarray  # (K)
    value: np.ndarray
    scores: np.ndarray  # (4, 4)
    sums: np.ndarray  # (4, 4, LANES)
    out: np.ndarray
    grad: np.ndarray  # gradient of the outputs
    pairs: np.ndarray  # <do_i, v_j>, (4, 4)
    through: np.ndarray  # span times the state before and the gradient of the state after, summed over V
    d_query: np.ndarray
    d_key: np.ndarray
    d_decay: np.ndarray  # gradient of the log decay


@nb.njit(**MAKES_ARRAYS)
def new_block(like, keys, values):
    """An empty block for padded sizes K and V."""
    k, v, pairs = TOKENS * keys, TOKENS * values, TOKENS * TOKENS
    room = scratch(7 * k + 3 * v + 2 * keys + 2 * LANES + pairs * LANES, like)
    ks, vs = room[: 7 * k], room[7 * k : 7 * k + 3 * v]
    rest = room[7 * k + 3 * v :]
    return Block(
        query=ks[:k],
        key=ks[k : 2 * k],
        decay=ks[2 * k : 3 * k],
        reader=ks[3 * k : 4 * k],
        writer=ks[4 * k : 5 * k],
        d_query=ks[5 * k : 6 * k],
        d_key=ks[6 * k :],
        value=vs[:v],
        out=vs[v : 2 * v],
        grad=vs[2 * v :],
        span=rest[:keys],
        through=rest[keys : 2 * keys],
        sums=rest[2 * keys : 2 * keys + pairs * LANES],
        scores=scratch(pairs, like),
        pairs=scratch(pairs, like),
        d_decay=scratch(k, like),
    )


@nb.njit(**INNER)
def gather_decays(g, first, stride, count, decay, span):
    """The decays of a block and their span from logarithms; a row of width one is shared by all keys."""
    size = len(decay) // TOKENS
    if g.shape[1] > 1:
        gather(g, first, stride, count, LOG2E, decay, TOKENS * stride)
    else:
        for j in range(TOKENS):
            shared = mul(LOG2E, splat(g[first + j * stride, 0])) if j < count else zeros(decay)
            for i in range(0, size, LANES):
                store(decay, j * size + i, shared)
    for c in range(0, size, LANES):
        sum_of_logs = zeros(decay)
        for here in range(c, len(decay), size):
            log = load(decay, here)
            sum_of_logs = add(sum_of_logs, log)
            store(decay, here, exp2(log))
        store(span, c, exp2(sum_of_logs))


@nb.njit(**INNER)
def scatter_decays(source, g, first, stride, count):
    """Bring the gradients of the decays to their places; keys that share a decay are summed and added."""
    size = len(source) // TOKENS
    if g.shape[1] > 1:
        scatter(source, g, first, stride, count)
    else:
        for j in range(count):
            acc = zeros(source)
            for i in range(0, size, LANES):
                acc = add(acc, load(source, j * size + i))
            g[first + j * stride, 0] += total(acc)


@nb.njit(**INNER)
def prepare_writers(block):
    """Writers from keys and decays."""
    size = len(block.span)
    for c in range(0, size, LANES):
        span = splat(block.span.dtype.type(1))
        for j in range(TOKENS - 1, -1, -1):
            store(block.writer, j * size + c, mul(load(block.key, j * size + c), span))
            span = mul(span, load(block.decay, j * size + c))


@nb.njit(**INNER)
def prepare(block):
    """Readers, writers and scores from queries, keys and decays."""
    size = len(block.span)
    clear(block.sums)
    for c in range(0, size, LANES):
        span = splat(block.span.dtype.type(1))
        for i in range(TOKENS):
            here = i * size + c
            query, key, decay = load(block.query, here), load(block.key, here), load(block.decay, here)
            span = mul(span, decay)
            store(block.reader, here, mul(query, span))
            store(block.writer, here, key)
            for j in range(i + 1):
                writer, pair = load(block.writer, j * size + c), (TOKENS * i + j) * LANES
                if j < i:
                    writer = mul(writer, decay)
                    store(block.writer, j * size + c, writer)
                store(block.sums, pair, fma(query, writer, load(block.sums, pair)))
    for pair in range(TOKENS * TOKENS):
        block.scores[pair] = total(load(block.sums, pair * LANES))


@nb.njit(**INNER)
def advance(source, target, span, write_rows, write_columns, read_rows, out, rows, key_rows):
    """out_j = read_rows_j S, then S <- span S + sum_j write_rows_j write_columns_j^T, for the four tokens.

    S is read from `source` and written to `target`. The decay belongs to its rows (`key_rows`) or its
    columns.
    """
    columns, step = len(write_columns) // TOKENS, len(read_rows) // TOKENS
    for c in range(0, columns, LANES):
        w0, w1 = load(write_columns, c), load(write_columns, columns + c)
        w2, w3 = load(write_columns, 2 * columns + c), load(write_columns, 3 * columns + c)
        o0, o1, o2, o3 = zeros(source), zeros(source), zeros(source), zeros(source)
        for r in range(rows):
            s = load(source, c * rows + r * LANES)
            o0, o1 = fma(splat_at(read_rows, r), s, o0), fma(splat_at(read_rows, step + r), s, o1)
            o2, o3 = (
                fma(splat_at(read_rows, 2 * step + r), s, o2),
                fma(splat_at(read_rows, 3 * step + r), s, o3),
            )
            s = mul(splat_at(span, r), s) if key_rows else mul(load(span, c), s)
            s = fma(splat_at(write_rows, step + r), w1, fma(splat_at(write_rows, r), w0, s))
            s = fma(splat_at(write_rows, 3 * step + r), w3, fma(splat_at(write_rows, 2 * step + r), w2, s))
            store(target, c * rows + r * LANES, s)
        store(out, c, o0)
        store(out, columns + c, o1)
        store(out, 2 * columns + c, o2)
        store(out, 3 * columns + c, o3)


@nb.njit(**INNER)
def write(state, span, write_rows, write_columns, rows):
    """The second half of `advance` alone, with the decay along the columns."""
    columns, step = len(write_columns) // TOKENS, len(write_rows) // TOKENS
    for c in range(0, columns, LANES):
        w0, w1 = load(write_columns, c), load(write_columns, columns + c)
        w2, w3 = load(write_columns, 2 * columns + c), load(write_columns, 3 * columns + c)
        decay = load(span, c)
        for r in range(rows):
            s = mul(decay, load(state, c * rows + r * LANES))
            s = fma(splat_at(write_rows, step + r), w1, fma(splat_at(write_rows, r), w0, s))
            s = fma(splat_at(write_rows, 3 * step + r), w3, fma(splat_at(write_rows, 2 * step + r), w2, s))
            store(state, c * rows + r * LANES, s)


@nb.njit(**INNER)
def overlap(a, b, span, rows, out):
    """Per column, span times the sum over the rows of a b, of two states."""
    for c in range(0, len(span), LANES):
        acc = zeros(a)
        for r in range(rows):
            here = c * rows + r * LANES
            acc = fma(load(a, here), load(b, here), acc)
        store(out, c, mul(load(span, c), acc))


@nb.njit(**INNER)
def mix(scores, rows, out, backwards):
    """out_i += sum_{j <= i} score_ij rows_j; backwards: out_j += sum_{i >= j} score_ij rows_i."""
    size = len(rows) // TOKENS
    for c in range(0, size, LANES):
        for i in range(TOKENS):
            for j in range(i + 1):
                source, target = (i, j) if backwards else (j, i)
                here, row = target * size + c, load(rows, source * size + c)
                store(out, here, fma(scores[TOKENS * i + j], row, load(out, here)))


@nb.njit(**INNER)
def grad_queries(block, scale, reads):
    """dq_i = scale (a_1..a_i S do_i + sum_{j <= i} pair_ij k_j a_{j+1}..a_i), with reads = S do.

    The products of both sums with q_i are the paths that end in q_i; each is added to the decays it lies on.
    """
    size, dg, writer = len(block.span), block.d_decay, block.writer
    for c in range(0, size, LANES):
        span = splat(block.span.dtype.type(scale))
        for i in range(TOKENS):
            here = i * size + c
            decay, query, read = load(block.decay, here), load(block.query, here), load(reads, here)
            span = mul(span, decay)
            grad, path = mul(span, read), mul(load(block.reader, here), read)
            for t in range(i + 1):
                store(dg, t * size + c, add(load(dg, t * size + c), path))
            store(writer, here, load(block.key, here))
            for j in range(i + 1):
                aged = load(writer, j * size + c)
                if j < i:
                    aged = mul(aged, decay)
                    store(writer, j * size + c, aged)
                weighted = mul(block.pairs[TOKENS * i + j], aged)
                grad, path = fma(scale, weighted, grad), mul(weighted, query)
                for t in range(j + 1, i + 1):
                    store(dg, t * size + c, add(load(dg, t * size + c), path))
            store(block.d_query, here, grad)


@nb.njit(**INNER)
def grad_keys(block):
    """dk_j = a_{j+1}..a_4 Z v_j + sum_{i >= j} pair_ij scale q_i a_{j+1}..a_i; d_key holds Z v at first.

    The products of the first term with k_j are the paths that leave the block; each is added to its decays.
    """
    size, dg, reader = len(block.span), block.d_decay, block.reader
    for c in range(0, size, LANES):
        span = splat(block.span.dtype.type(1))
        for j in range(TOKENS - 1, -1, -1):
            here = j * size + c
            read, decay = load(block.d_key, here), load(block.decay, here)
            path = mul(load(block.writer, here), read)
            for t in range(j + 1, TOKENS):
                store(dg, t * size + c, add(load(dg, t * size + c), path))
            grad, span = mul(span, read), mul(span, decay)
            store(reader, here, load(block.query, here))
            for i in range(j, TOKENS):
                aged = load(reader, i * size + c)
                grad = fma(block.pairs[TOKENS * i + j], aged, grad)
                store(reader, i * size + c, mul(aged, decay))
            store(block.d_key, here, grad)
