"""The backward pass of `gated_delta_rule` on CPUs, one head at a time.

The head is run forwards once more, for its errors e and a checkpoint of the state every few blocks. Then,
from the last checkpoint to the first, the state before every block of the segment is made again, this time
transposed, and the segment is unwound. Z, the gradient of the state, is held both ways round, because it is
multiplied from both sides. In the letters of `cpu_block`, with y_i = beta_i du_i the gradient of v_i,

    du_j = d_4j Z^T k_j + sum_{i >= j} d_ij <q_i, k_j> do_i - sum_{i > j} d_ij <k_i, k_j> y_i
    Z   <- c_4 Z + sum_i c_i (q_i do_i^T - k_i y_i^T)

The gradient of each decay is the sum over the paths that cross it: no difference of large sums.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from statewise.core.ops.gated_delta_rule.cpu_block import (
    ALLOCATING,
    correct,
    enter,
    new_block,
    overlap,
    place,
    repeat,
)
from statewise.core.ops.kernel import kernel
from statewise.core.ops.simd import LANES, add, fma, load, mul, scratch, splat_at, store, total, zeros
from statewise.core.ops.tiles import (
    INNER,
    TOKENS,
    clear,
    copy,
    dots,
    find_blocks,
    gather,
    padded,
    read,
    scatter,
    tile,
    transpose,
    untile,
    write,
)

__all__ = ["OPTIONS", "Gradients", "backward_heads"]

OPTIONS = {"nogil": True}
SEGMENT = 16
"""Least number of blocks between two checkpoints."""


class Gradients(NamedTuple):
    """Gradients of the results, and the arrays for those of the arguments."""

    o: np.ndarray
    s_last: np.ndarray
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    beta: np.ndarray
    g: np.ndarray
    s0: np.ndarray


class Work(NamedTuple):
    """Scratch of the backward pass for one block."""

    reads: np.ndarray  # c_i S do_i, then dq, (4, K)
    recalls: np.ndarray  # -c_i S y_i, then dk, (4, K)
    writes: np.ndarray  # Z d_4j u_j, (4, K)
    sums: np.ndarray  # (4, LANES)
    through_o: np.ndarray  # <do_i, u_j>, (4, 4)
    through_e: np.ndarray  # <y_i, u_j>, (4, 4)
    ends: np.ndarray  # per step, the paths that are read there, (4)
    starts: np.ndarray  # per step, the paths that begin there and leave the block, (4)


@nb.njit(**ALLOCATING)
def _new_work(like, keys):
    k, pairs = TOKENS * keys, TOKENS * TOKENS
    return Work(
        scratch(k, like), scratch(k, like), scratch(k, like), scratch(TOKENS * LANES, like),
        scratch(pairs, like), scratch(pairs, like), scratch(TOKENS, like), scratch(TOKENS, like),
    )  # fmt: skip


@nb.njit(**INNER)
def _checkpoint(inputs, item, starts, blocks, segment, block, state, errors, saved):
    """Run forwards over one head; keep all errors, and the transposed state before every `segment` blocks."""
    keys, values = inputs.k.shape[1], inputs.v.shape[1]
    clear(state)
    tile(inputs.s0[item], state)
    for i in range(blocks):
        t, count = starts[i], starts[i + 1] - starts[i]
        b, first, stride = place(inputs, item, t)
        if inputs.cut[b, t]:
            clear(state)
        if i % segment == 0:
            transpose(state, saved[i // segment], keys, values)
        enter(inputs, item, t, count, block, True)
        gather(inputs.v, first, stride, count, 1.0, block.value, TOKENS * stride)
        overlap(block.key, block, block.overlaps)
        read(state, block.key, block.recall, keys)
        correct(block, errors[i], False)
        write(state, state, block.entering[TOKENS - 1], block.key, block.update, keys)


@nb.njit(**INNER)
def _replay(inputs, item, starts, lo, hi, block, errors, states):
    """Run over the blocks lo..hi from states[0]: the transposed state before each of them."""
    for i in range(lo, hi):
        t = starts[i]
        if inputs.cut[place(inputs, item, t)[0], t]:
            clear(states[i - lo])
        if i < hi - 1:
            enter(inputs, item, t, starts[i + 1] - t, block, True)
            repeat(block, errors[i])
            decay = block.entering[TOKENS - 1]
            write(states[i - lo], states[i - lo + 1], decay, block.update, block.key, inputs.v.shape[1])


@nb.njit(**INNER)
def _uncorrect(block, errors, sums):
    """The gradient y of the values from Z^T k and do, last step first; `sums` collects <du_j, e_j>."""
    size, last = len(block.value) // TOKENS, TOKENS * (TOKENS - 1)
    clear(sums)
    for c in range(0, size, LANES):
        for j in range(TOKENS - 1, -1, -1):
            here = j * size + c
            du = mul(block.within[last + j], load(block.recall, here))
            for i in range(j, TOKENS):
                du = fma(block.scores[TOKENS * i + j], load(block.grad, i * size + c), du)
                if i > j:
                    du = fma(-block.overlaps[TOKENS * i + j], load(block.value, i * size + c), du)
            store(block.value, here, mul(block.beta[j], du))
            store(sums, j * LANES, fma(du, load(errors, here), load(sums, j * LANES)))


@nb.njit(**INNER)
def _through(block, errors, work):
    """<do_i, u_j> and <y_i, u_j>; then do and y become c do and -c y."""
    dots(block.grad, errors, work.through_o)
    dots(block.value, errors, work.through_e)
    for i in range(TOKENS):
        for j in range(TOKENS):
            work.through_o[TOKENS * i + j] *= block.beta[j]
            work.through_e[TOKENS * i + j] *= block.beta[j]
    size = len(block.value) // TOKENS
    for i in range(TOKENS):
        for c in range(i * size, (i + 1) * size, LANES):
            store(block.grad, c, mul(block.entering[i], load(block.grad, c)))
            store(block.value, c, mul(-block.entering[i], load(block.value, c)))


@nb.njit(**INNER)
def _look_back(state, zt, grads, ys, reads, recalls, rows):
    """reads_i = S grads_i, recalls_i = S ys_i; returns <Z, S>. Both states transposed."""
    columns, step = len(reads) // TOKENS, len(grads) // TOKENS
    shared = zeros(state)
    for c in range(0, columns, LANES):
        o0, o1, o2, o3 = zeros(state), zeros(state), zeros(state), zeros(state)
        y0, y1, y2, y3 = zeros(state), zeros(state), zeros(state), zeros(state)
        for r in range(rows):
            s = load(state, c * rows + r * LANES)
            shared = fma(s, load(zt, c * rows + r * LANES), shared)
            o0, o1 = fma(splat_at(grads, r), s, o0), fma(splat_at(grads, step + r), s, o1)
            o2, o3 = fma(splat_at(grads, 2 * step + r), s, o2), fma(splat_at(grads, 3 * step + r), s, o3)
            y0, y1 = fma(splat_at(ys, r), s, y0), fma(splat_at(ys, step + r), s, y1)
            y2, y3 = fma(splat_at(ys, 2 * step + r), s, y2), fma(splat_at(ys, 3 * step + r), s, y3)
        for j, acc in enumerate((o0, o1, o2, o3)):
            store(reads, j * columns + c, acc)
        for j, acc in enumerate((y0, y1, y2, y3)):
            store(recalls, j * columns + c, acc)
    return total(shared)


@nb.njit(**INNER)
def _turn(z, decay, a, b, p, q, rows):
    """Z <- decay Z + sum_j (a_j p_j^T + b_j q_j^T) for the four rows of each block."""
    columns, step = len(p) // TOKENS, len(a) // TOKENS
    for c in range(0, columns, LANES):
        p0, p1 = load(p, c), load(p, columns + c)
        p2, p3 = load(p, 2 * columns + c), load(p, 3 * columns + c)
        q0, q1 = load(q, c), load(q, columns + c)
        q2, q3 = load(q, 2 * columns + c), load(q, 3 * columns + c)
        for r in range(rows):
            s = mul(decay, load(z, c * rows + r * LANES))
            s = fma(splat_at(a, step + r), p1, fma(splat_at(a, r), p0, s))
            s = fma(splat_at(a, 3 * step + r), p3, fma(splat_at(a, 2 * step + r), p2, s))
            s = fma(splat_at(b, step + r), q1, fma(splat_at(b, r), q0, s))
            s = fma(splat_at(b, 3 * step + r), q3, fma(splat_at(b, 2 * step + r), q2, s))
            store(z, c * rows + r * LANES, s)


@nb.njit(**INNER)
def _grad_decays(block, work, shared):
    """The gradients of the log decays of a block, left in `decay`; dq and dk overwrite what they need."""
    size = len(block.key) // TOKENS
    for i in range(TOKENS):
        ends, starts = zeros(block.key), zeros(block.key)
        for c in range(i * size, (i + 1) * size, LANES):
            key = load(block.key, c)
            ends = fma(load(block.query, c), load(work.reads, c), ends)
            ends = fma(key, load(work.recalls, c), ends)
            starts = fma(key, load(work.writes, c), starts)
        work.ends[i], work.starts[i] = total(ends), total(starts)
    for t in range(TOKENS):
        dg = block.entering[TOKENS - 1] * shared
        for j in range(t):
            dg += work.starts[j]
        for i in range(t, TOKENS):
            dg += work.ends[i]
            for j in range(t):
                pair = TOKENS * i + j
                dg += block.scores[pair] * work.through_o[pair] - block.overlaps[pair] * work.through_e[pair]
        block.decay[t] = dg


@nb.njit(**INNER)
def _grad_rows(block, work, scale):
    """The gradients of q and k of a block, left in `reads` and `recalls`."""
    size = len(block.key) // TOKENS
    for pair in range(TOKENS * TOKENS):
        work.through_o[pair] *= block.within[pair]
        work.through_e[pair] *= block.within[pair]
    for c in range(0, size, LANES):
        for i in range(TOKENS):
            here = i * size + c
            dq, dk = load(work.reads, here), add(load(work.recalls, here), load(work.writes, here))
            for j in range(i + 1):
                key = load(block.key, j * size + c)
                dq = fma(work.through_o[TOKENS * i + j], key, dq)
                if j < i:
                    dk = fma(-work.through_e[TOKENS * i + j], key, dk)
            for j in range(i, TOKENS):
                dk = fma(work.through_o[TOKENS * j + i], load(block.query, j * size + c), dk)
                if j > i:
                    dk = fma(-work.through_e[TOKENS * j + i], load(block.key, j * size + c), dk)
            store(work.reads, here, mul(scale, dq))
            store(work.recalls, here, dk)


@nb.njit(**INNER)
def _unwind(inputs, grads, item, t, count, block, errors, state, z, zt, work):
    """Gradients of one block from the state before it and Z after it; leaves Z before it."""
    keys, values = inputs.k.shape[1], inputs.v.shape[1]
    b, first, stride = place(inputs, item, t)
    enter(inputs, item, t, count, block, False)
    gather(inputs.q, first, stride, count, inputs.scale, block.query, -TOKENS * stride)
    gather(grads.o, first, stride, count, 1.0, block.grad, -TOKENS * stride)
    overlap(block.key, block, block.overlaps)
    overlap(block.query, block, block.scores)
    repeat(block, errors)
    read(z, block.key, block.recall, keys)
    _uncorrect(block, errors, work.sums)
    scatter(block.value, grads.v, first, stride, count)
    for j in range(count):
        grads.beta[first + j * stride] = total(load(work.sums, j * LANES))
    _through(block, errors, work)
    decay = block.entering[TOKENS - 1]
    shared = _look_back(state, zt, block.grad, block.value, work.reads, work.recalls, values)
    read(zt, block.update, work.writes, values)
    _turn(zt, decay, block.grad, block.value, block.query, block.key, values)
    _turn(z, decay, block.query, block.key, block.grad, block.value, keys)
    if len(inputs.g):
        _grad_decays(block, work, shared)
        for j in range(count):
            grads.g[first + j * stride] = block.decay[j]
    _grad_rows(block, work, inputs.scale)
    scatter(work.reads, grads.q, first, stride, count)
    scatter(work.recalls, grads.k, first, stride, count)
    if inputs.cut[b, t]:
        clear(z)
        clear(zt)


@nb.njit(**INNER)
def _backward_head(inputs, grads, item, starts, blocks, segment, block, work, errors, states, saved, z, zt):
    """Gradients of one head."""
    keys, values = inputs.k.shape[1], inputs.v.shape[1]
    _checkpoint(inputs, item, starts, blocks, segment, block, z, errors, saved)
    clear(z)
    clear(zt)
    tile(grads.s_last[item], z)
    transpose(z, zt, keys, values)
    for part in range((blocks - 1) // segment, -1, -1):
        first, end = part * segment, min(blocks, (part + 1) * segment)
        copy(saved[part], states[0])
        _replay(inputs, item, starts, first, end, block, errors, states)
        for i in range(end - 1, first - 1, -1):
            t, count = starts[i], starts[i + 1] - starts[i]
            _unwind(inputs, grads, item, t, count, block, errors[i], states[i - first], z, zt, work)
    untile(z, grads.s0[item])


@kernel(**OPTIONS)
def backward_heads(inputs, grads, lo, hi):
    """Gradients of the heads lo..hi of the batch."""
    like, keys, values = inputs.q, inputs.k.shape[1], inputs.v.shape[1]
    wide, tall = padded(keys), padded(values)
    block, work, starts = (
        new_block(like, wide, tall),
        _new_work(like, wide),
        np.empty(inputs.cut.shape[1] + 1, np.int64),
    )
    z, zt = scratch(keys * tall, like), scratch(values * wide, like)
    most = 0
    for item in range(lo, hi):
        most = max(most, find_blocks(inputs.cut[place(inputs, item, 0)[0]], starts))
    segment = max(SEGMENT, int(math.sqrt(inputs.cut.shape[1] // TOKENS)))
    # made once: large arrays are given back to the system when they are freed, and cost page faults again
    errors = scratch(most * TOKENS * tall, like).reshape(most, -1)
    states = scratch(segment * values * wide, like).reshape(segment, -1)
    saved = scratch((most + segment - 1) // segment * values * wide, like).reshape(-1, values * wide)
    for item in range(lo, hi):
        blocks = find_blocks(inputs.cut[place(inputs, item, 0)[0]], starts)
        _backward_head(
            inputs, grads, item, starts, blocks, segment, block, work, errors, states, saved, z, zt
        )
