"""One block of the gated delta rule: up to four consecutive steps that span no reset, in scratch.

With c_i the product of the decays up to step i of the block, d_ij that of the decays after step j up to step
i, and S the state before the block,

    e_i = v_i - c_i S^T k_i - sum_{j < i} d_ij <k_i, k_j> beta_j e_j
    o_i = c_i S^T q_i + sum_{j <= i} d_ij <q_i, k_j> beta_j e_j
    S  <- c_4 S + sum_j k_j (d_4j beta_j e_j)^T

Decays are multiplied, never divided by or summed as logarithms: nothing overflows or cancels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba as nb
import numpy as np

from statewise.core.ops.simd import LANES, fma, load, mul, scratch, store
from statewise.core.ops.tiles import INNER, TOKENS, dots, gather

__all__ = ["ALLOCATING", "Block", "Inputs", "correct", "enter", "new_block", "overlap", "place", "repeat"]

ALLOCATING: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of a function that only other kernels call and that makes arrays."""


class Inputs(NamedTuple):
    """The arguments of the operator as arrays: rows of steps (B L H, width), ordered (batch, time, head)."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    beta: np.ndarray  # (B L H)
    g: np.ndarray  # (B L H), empty without decay
    s0: np.ndarray  # (B H, K, V)
    cut: np.ndarray  # (B, L) bool: nothing is carried into this step
    scale: float


class Block(NamedTuple):
    """Scratch of one block; rows are padded to whole vectors, missing steps are zeros with decay 1."""

    query: np.ndarray  # scale q, (4, K)
    key: np.ndarray
    value: np.ndarray  # (4, V); in the backward pass y
    update: np.ndarray  # d_4j beta_j e_j, (4, V)
    grad: np.ndarray  # do, (4, V)
    recall: np.ndarray  # S^T k or Z^T k, (4, V)
    answer: np.ndarray  # S^T q and the outputs, (4, V)
    beta: np.ndarray  # (4)
    decay: np.ndarray  # (4)
    entering: np.ndarray  # c_i, (4)
    within: np.ndarray  # d_ij, (4, 4)
    overlaps: np.ndarray  # d_ij <k_i, k_j>, (4, 4)
    scores: np.ndarray  # d_ij scale <q_i, k_j>, (4, 4)


@nb.njit(**ALLOCATING)
def new_block(like, keys, values):
    """An empty block for padded sizes."""
    k, v, pairs = TOKENS * keys, TOKENS * values, TOKENS * TOKENS
    return Block(
        scratch(k, like), scratch(k, like), scratch(v, like), scratch(v, like), scratch(v, like),
        scratch(v, like), scratch(v, like), scratch(TOKENS, like), scratch(TOKENS, like),
        scratch(TOKENS, like), scratch(pairs, like), scratch(pairs, like), scratch(pairs, like),
    )  # fmt: skip


@nb.njit(**INNER)
def place(inputs, item, t):
    """The batch row of a head, the row of its step t, and from step to step."""
    heads = len(inputs.s0) // len(inputs.cut)
    b = item // heads
    return b, (b * inputs.cut.shape[1] + t) * heads + item % heads, heads


@nb.njit(**INNER)
def enter(inputs, item, t, count, block, forwards):
    """Bring keys, strengths and decays of a block into scratch, and what follows from the decays."""
    _, first, stride = place(inputs, item, t)
    ahead = TOKENS * stride if forwards else -TOKENS * stride
    gather(inputs.k, first, stride, count, 1.0, block.key, ahead)
    one, total = inputs.k.dtype.type(1), inputs.k.dtype.type(0)
    for j in range(TOKENS):
        row = first + j * stride
        block.beta[j] = inputs.beta[row] if j < count else 0
        block.decay[j] = one
        if j < count and len(inputs.g):
            block.decay[j] = math.exp(inputs.g[row])
            total += inputs.g[row]
    for i in range(TOKENS):
        span = one
        for j in range(i, -1, -1):
            block.within[TOKENS * i + j] = span
            span *= block.decay[j]
        block.entering[i] = span
    # what the state passes through: a product of numbers just below one is rounded the same way every time,
    # which thousands of blocks would add up
    block.entering[TOKENS - 1] = math.exp(total)


@nb.njit(**INNER)
def overlap(rows, block, out):
    """out_ij = d_ij <rows_i, k_j> for j <= i."""
    dots(rows, block.key, out)
    for i in range(TOKENS * TOKENS):
        out[i] *= block.within[i]


@nb.njit(**INNER)
def correct(block, errors, answers):
    """The errors of a block from what its keys recall, with `answers` its outputs; leaves scaled updates."""
    size, last = len(block.value) // TOKENS, TOKENS * (TOKENS - 1)
    for c in range(0, size, LANES):
        for i in range(TOKENS):
            here, enters = i * size + c, block.entering[i]
            error = fma(-enters, load(block.recall, here), load(block.value, here))
            for j in range(i):
                error = fma(-block.overlaps[TOKENS * i + j], load(block.update, j * size + c), error)
            store(errors, here, error)
            store(block.update, here, mul(block.beta[i], error))
            if answers:
                out = mul(enters, load(block.answer, here))
                for j in range(i + 1):
                    out = fma(block.scores[TOKENS * i + j], load(block.update, j * size + c), out)
                store(block.answer, here, out)
        for j in range(TOKENS):
            here = j * size + c
            store(block.update, here, mul(block.within[last + j], load(block.update, here)))


@nb.njit(**INNER)
def repeat(block, errors):
    """The scaled updates of a block whose errors are known."""
    size, last = len(block.value) // TOKENS, TOKENS * (TOKENS - 1)
    for j in range(TOKENS):
        factor = block.within[last + j] * block.beta[j]
        for c in range(j * size, (j + 1) * size, LANES):
            store(block.update, c, mul(factor, load(errors, c)))
