"""`gated_linear_attention` for CPUs: numba, four tokens at a time, the state of a head in the nearest cache.

The kernels on a block of tokens are in `cpu_blocks`; here they run over the blocks of a head. A block ends
at a cut, so that inside of it nothing is masked, and a cut zeroes the state itself. The backward pass runs
forwards once for checkpoints, then backwards over segments: states of the segment again, then block after
block the gradient Z of the state, once as it is for dv and once transposed for dk, so that every sum over a
row of the state is one over vectors. Memory beside the arguments grows as the square root of the length.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np
import torch
from torch import Tensor

from statewise.core.ops.buffers import blank, empty_like
from statewise.core.ops.gated_linear_attention.cpu_blocks import (
    advance,
    gather_decays,
    grad_keys,
    grad_queries,
    mix,
    new_block,
    overlap,
    prepare,
    prepare_writers,
    scatter_decays,
    write,
)
from statewise.core.ops.kernel import kernel
from statewise.core.ops.simd import scratch
from statewise.core.ops.threads import over
from statewise.core.ops.tiles import (
    INNER,
    TOKENS,
    clear,
    copy,
    dots,
    gather,
    padded,
    scatter,
    tile,
    transpose,
    untile,
)

__all__ = ["backward", "forward", "warmup"]

OPTIONS = {"nogil": True}
SEGMENT = 16
"""Least number of blocks between two checkpoints of the backward pass."""


class Inputs(NamedTuple):
    """The arguments as arrays: token rows (B L H, width) in order of batch, time, head."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    g: np.ndarray  # (B L H, K), (B L H, 1), or (H, 1) for constants
    s0: np.ndarray  # (B H, K, V)
    cut: np.ndarray  # (B, L) bool: nothing is carried into this step
    lengths: np.ndarray  # (B)
    scale: float
    reverse: bool


class Gradients(NamedTuple):
    """Gradients of the results, and room for those of the arguments."""

    o: np.ndarray
    s_last: np.ndarray
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    g: np.ndarray  # as Inputs.g, but (B H, 1) for constants
    s0: np.ndarray


@nb.njit(**INNER)
def _find_blocks(inputs, item, starts):
    """Fill `starts` with the first position of every block, in the order of processing; their number."""
    b = item // (len(inputs.s0) // len(inputs.cut))
    length, count, size = inputs.lengths[b], 0, TOKENS
    for position in range(length):
        t = length - 1 - position if inputs.reverse else position
        if size == TOKENS or inputs.cut[b, t]:
            starts[count] = position
            count += 1
            size = 0
        size += 1
    starts[count] = length
    return count


@nb.njit(**INNER)
def _place(inputs, item, start):
    """Of the block that starts at a position: is it cut off, its first row, the step to its next row."""
    heads, length = len(inputs.s0) // len(inputs.cut), inputs.cut.shape[1]
    b, h = item // heads, item % heads
    t = inputs.lengths[b] - 1 - start if inputs.reverse else start
    return inputs.cut[b, t], (b * length + t) * heads + h, -heads if inputs.reverse else heads


@nb.njit(**INNER)
def _read(inputs, item, start, count, block):
    """Bring keys, values and decays of a block into scratch."""
    heads = len(inputs.s0) // len(inputs.cut)
    _, first, stride = _place(inputs, item, start)
    gather(inputs.k, first, stride, count, 1.0, block.key, TOKENS * stride)
    gather(inputs.v, first, stride, count, 1.0, block.value, TOKENS * stride)
    if len(inputs.g) == heads:
        gather_decays(inputs.g, item % heads, 0, count, block.decay, block.span)
    else:
        gather_decays(inputs.g, first, stride, count, block.decay, block.span)


@kernel(**OPTIONS)
def _forward(inputs, o, s_last, lo, hi):
    """Outputs and last states of the heads lo..hi of the batch."""
    keys, values = inputs.k.shape[1], padded(inputs.v.shape[1])
    block, state = new_block(inputs.q, padded(keys), values), scratch(keys * values, o)
    starts = np.empty(inputs.cut.shape[1] + 1, np.int64)
    for item in range(lo, hi):
        blocks = _find_blocks(inputs, item, starts)
        tile(inputs.s0[item], state)
        for i in range(blocks):
            count = starts[i + 1] - starts[i]
            cut, first, stride = _place(inputs, item, starts[i])
            if cut:
                clear(state)
            _read(inputs, item, starts[i], count, block)
            gather(inputs.q, first, stride, count, inputs.scale, block.query, TOKENS * stride)
            prepare(block)
            advance(state, state, block.span, block.writer, block.value, block.reader, block.out, keys, True)
            mix(block.scores, block.value, block.out, False)
            scatter(block.out, o, first, stride, count)
        untile(state, s_last[item])


@nb.njit(**INNER)
def _checkpoint(inputs, item, starts, blocks, segment, block, state, saved):
    """Run forwards over one head and keep the transposed state before every `segment` blocks."""
    for i in range(blocks):
        if i % segment == 0:
            copy(state, saved[i // segment])
        cut, _, _ = _place(inputs, item, starts[i])
        if cut:
            clear(state)
        _read(inputs, item, starts[i], starts[i + 1] - starts[i], block)
        prepare_writers(block)
        write(state, block.span, block.value, block.writer, inputs.v.shape[1])


@nb.njit(**INNER)
def _replay(inputs, grads, item, starts, lo, hi, block, states, reads):
    """Run over the blocks lo..hi from states[0]: the transposed state before each, and its S do."""
    values = inputs.v.shape[1]
    for i in range(lo, hi):
        cut, first, stride = _place(inputs, item, starts[i])
        count, before, after = starts[i + 1] - starts[i], states[i - lo], states[i - lo + 1]
        if cut:
            clear(before)
        _read(inputs, item, starts[i], count, block)
        prepare_writers(block)
        gather(grads.o, first, stride, count, 1.0, block.grad, TOKENS * stride)
        advance(
            before, after, block.span, block.value, block.writer, block.grad, reads[i - lo], values, False
        )


@nb.njit(**INNER)
def _unwind(inputs, grads, item, start, count, block, state, reads, z, zt):
    """Gradients of one block, from the state before it and the gradient z, transposed zt, of that after."""
    keys, values, heads = inputs.k.shape[1], inputs.v.shape[1], len(inputs.s0) // len(inputs.cut)
    cut, first, stride = _place(inputs, item, start)
    _read(inputs, item, start, count, block)
    gather(inputs.q, first, stride, count, inputs.scale, block.query, TOKENS * stride)
    gather(grads.o, first, stride, count, 1.0, block.grad, TOKENS * stride)
    prepare(block)
    overlap(state, zt, block.span, values, block.through)
    for j in range(TOKENS):
        copy(block.through, block.d_decay[j * len(block.through) :])
    advance(z, z, block.span, block.reader, block.grad, block.writer, block.out, keys, True)
    mix(block.scores, block.grad, block.out, True)
    scatter(block.out, grads.v, first, stride, count)
    dots(block.grad, block.value, block.pairs)
    advance(zt, zt, block.span, block.grad, block.reader, block.value, block.d_key, values, False)
    grad_queries(block, inputs.scale, reads)
    scatter(block.d_query, grads.q, first, stride, count)
    grad_keys(block)
    scatter(block.d_key, grads.k, first, stride, count)
    if len(inputs.g) == heads:
        scatter_decays(block.d_decay, grads.g, item, 0, count)
    else:
        scatter_decays(block.d_decay, grads.g, first, stride, count)
    if cut:
        clear(z)
        clear(zt)


@kernel(**OPTIONS)
def _backward(inputs, grads, lo, hi):
    """Gradients of the heads lo..hi of the batch."""
    keys, values = inputs.k.shape[1], inputs.v.shape[1]
    wide, tall = padded(keys), padded(values)
    block, starts = new_block(inputs.q, wide, tall), np.empty(inputs.cut.shape[1] + 1, np.int64)
    z, zt = scratch(keys * tall, inputs.q), scratch(values * wide, inputs.q)
    for item in range(lo, hi):
        blocks = _find_blocks(inputs, item, starts)
        segment = max(SEGMENT, int(math.sqrt(blocks)))
        states = scratch((segment + 1) * values * wide, inputs.q).reshape(segment + 1, -1)
        reads = scratch(segment * TOKENS * wide, inputs.q).reshape(segment, -1)
        saved = scratch((blocks // segment + 1) * values * wide, inputs.q).reshape(blocks // segment + 1, -1)
        tile(inputs.s0[item], z)
        transpose(z, states[0], keys, values)
        _checkpoint(inputs, item, starts, blocks, segment, block, states[0], saved)
        tile(grads.s_last[item], z)
        transpose(z, zt, keys, values)
        for part in range((blocks + segment - 1) // segment - 1, -1, -1):
            first, end = part * segment, min(blocks, (part + 1) * segment)
            copy(saved[part], states[0])
            _replay(inputs, grads, item, starts, first, end, block, states, reads)
            for i in range(end - 1, first - 1, -1):
                state, read, count = states[i - first], reads[i - first], starts[i + 1] - starts[i]
                _unwind(inputs, grads, item, starts[i], count, block, state, read, z, zt)
        untile(z, grads.s0[item])


def _inputs(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
) -> Inputs:
    """The arguments as the kernels read them; nothing that is contiguous already is copied."""
    batch, length, heads, keys = q.shape
    values = v.shape[-1]
    s0 = blank((batch * heads, keys, values), q.dtype) if s0 is None else s0.reshape(-1, keys, values)
    cut = torch.zeros(batch, length, dtype=torch.bool) if cut is None else cut
    lengths = torch.full((batch,), length) if lengths is None else lengths.long()
    g = q.new_zeros(heads, 1) if g is None else g.reshape(-1, keys if g.ndim == 4 else 1)
    rows = (q.reshape(-1, keys), k.reshape(-1, keys), v.reshape(-1, values), g, s0, cut, lengths)
    return Inputs(*(tensor.contiguous().detach().numpy() for tensor in rows), scale, reverse)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Outputs (B, L, H, V) and the last state (B, H, K, V)."""
    batch, _, heads, keys = q.shape
    values = v.shape[-1]
    o = _room(v, lengths)
    s_last = q.new_empty(batch, heads, keys, values)
    inputs = _inputs(q, k, v, g, s0, cut, lengths, scale, reverse)
    results = (o.view(-1, values).numpy(), s_last.view(-1, keys, values).numpy())
    over(batch * heads, q.numel() * values, lambda lo, hi: _forward(inputs, *results, lo, hi))
    return o, s_last


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, g (empty without g) and s0."""
    batch, _, heads, keys = q.shape
    values = v.shape[-1]
    inputs = _inputs(q, k, v, g, s0, cut, lengths, scale, reverse)
    grad = torch.zeros_like(v) if grad is None else grad
    grad_last = blank((batch, heads, keys, values), q.dtype) if grad_last is None else grad_last
    dq, dk, dv = _room(q, lengths), _room(k, lengths), _room(v, lengths)
    constant = g is None or g.ndim == 1
    dg = q.new_zeros(batch, heads) if constant else blank(g.shape, q.dtype)
    ds0 = q.new_empty(batch, heads, keys, values)
    rows = (grad, grad_last, dq, dk, dv, dg, ds0)
    shapes = ((values,), (keys, values), (keys,), (keys,), (values,), inputs.g.shape[1:], (keys, values))
    flat = (x.contiguous().view(-1, *shape).numpy() for x, shape in zip(rows, shapes, strict=True))
    grads = Gradients(*flat)
    over(batch * heads, q.numel() * values, lambda lo, hi: _backward(inputs, grads, lo, hi))
    if constant:
        dg = q.new_empty(0) if g is None else dg.sum(0)
    return dq, dk, dv, dg, ds0


def _room(like: Tensor, lengths: Tensor | None) -> Tensor:
    """An array for results beside `like`; zero where no row is written because it ends early."""
    return empty_like(like) if lengths is None else blank(like.shape, like.dtype)


def warmup() -> None:
    """Compile the kernels for both floating types, on a single token."""
    for dtype in (torch.float32, torch.float64):
        x = torch.zeros(1, 1, 1, 1, dtype=dtype)
        settings = (None, None, None, None, 1.0, False, 1)
        forward(x, x, x, *settings)
        backward(x, x, x, x, x, *settings)
