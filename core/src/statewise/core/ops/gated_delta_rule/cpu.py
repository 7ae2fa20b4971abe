"""`gated_delta_rule` for CPUs: numba, four steps at a time, the state of one head in the nearest cache.

`cpu_block` has the equations of a block, `cpu_backward` the backward pass, which needs only the arguments.
A work item is one head of one batch row.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import torch
from torch import Tensor

from statewise.core.ops.buffers import blank, empty_like
from statewise.core.ops.gated_delta_rule.cpu_backward import OPTIONS, Gradients, backward_heads
from statewise.core.ops.gated_delta_rule.cpu_block import Inputs, correct, enter, new_block, overlap, place
from statewise.core.ops.gated_delta_rule.cpu_unit import unit, unit_backward
from statewise.core.ops.kernel import kernel
from statewise.core.ops.simd import LANES, fma, load, scratch, splat_at, store, zeros
from statewise.core.ops.threads import over
from statewise.core.ops.tiles import (
    INNER,
    TOKENS,
    clear,
    find_blocks,
    gather,
    padded,
    scatter,
    tile,
    untile,
    write,
)

__all__ = ["backward", "forward", "unit", "unit_backward", "warmup"]


@nb.njit(**INNER)
def _read_both(state, keys, queries, recall, answer, rows):
    """recall_j = S^T keys_j and answer_j = S^T queries_j, in one sweep over the state."""
    columns, step = len(recall) // TOKENS, len(keys) // TOKENS
    for c in range(0, columns, LANES):
        k0, k1, k2, k3 = zeros(state), zeros(state), zeros(state), zeros(state)
        q0, q1, q2, q3 = zeros(state), zeros(state), zeros(state), zeros(state)
        for r in range(rows):
            s = load(state, c * rows + r * LANES)
            k0, k1 = fma(splat_at(keys, r), s, k0), fma(splat_at(keys, step + r), s, k1)
            k2, k3 = fma(splat_at(keys, 2 * step + r), s, k2), fma(splat_at(keys, 3 * step + r), s, k3)
            q0, q1 = fma(splat_at(queries, r), s, q0), fma(splat_at(queries, step + r), s, q1)
            q2, q3 = fma(splat_at(queries, 2 * step + r), s, q2), fma(splat_at(queries, 3 * step + r), s, q3)
        for j, acc in enumerate((k0, k1, k2, k3)):
            store(recall, j * columns + c, acc)
        for j, acc in enumerate((q0, q1, q2, q3)):
            store(answer, j * columns + c, acc)


@nb.njit(**INNER)
def _forward_head(inputs, o, s_last, item, block, errors, state, starts):
    """Outputs and last state of one head."""
    b, keys = place(inputs, item, 0)[0], inputs.k.shape[1]
    clear(state)
    tile(inputs.s0[item], state)
    for i in range(find_blocks(inputs.cut[b], starts)):
        t, count = starts[i], starts[i + 1] - starts[i]
        _, first, stride = place(inputs, item, t)
        if inputs.cut[b, t]:
            clear(state)
        enter(inputs, item, t, count, block, True)
        gather(inputs.v, first, stride, count, 1.0, block.value, TOKENS * stride)
        gather(inputs.q, first, stride, count, inputs.scale, block.query, TOKENS * stride)
        overlap(block.key, block, block.overlaps)
        overlap(block.query, block, block.scores)
        _read_both(state, block.key, block.query, block.recall, block.answer, keys)
        correct(block, errors, True)
        write(state, state, block.entering[TOKENS - 1], block.key, block.update, keys)
        scatter(block.answer, o, first, stride, count)
    untile(state, s_last[item])


@kernel(**OPTIONS)
def forward_heads(inputs, o, s_last, lo, hi):
    """Outputs and last states of the heads lo..hi of the batch."""
    keys, tall = inputs.k.shape[1], padded(inputs.v.shape[1])
    block, errors = new_block(inputs.q, padded(keys), tall), scratch(TOKENS * tall, inputs.q)
    state, starts = scratch(keys * tall, inputs.q), np.empty(inputs.cut.shape[1] + 1, np.int64)
    for item in range(lo, hi):
        _forward_head(inputs, o, s_last, item, block, errors, state, starts)


def _inputs(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
) -> Inputs:
    """The arguments in the form that the kernels read; nothing that is contiguous already is copied."""
    batch, length, heads, keys = q.shape
    values = v.shape[-1]
    s0 = blank((batch * heads, keys, values), q.dtype) if s0 is None else s0.reshape(-1, keys, values)
    cut = torch.zeros(batch, length, dtype=torch.bool) if cut is None else cut
    g = q.new_empty(0) if g is None else g.reshape(-1)
    rows = (q.reshape(-1, keys), k.reshape(-1, keys), v.reshape(-1, values), beta.reshape(-1), g, s0, cut)
    return Inputs(*(tensor.contiguous().numpy() for tensor in rows), scale)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Outputs (B, L, H, V) and the last state (B, H, K, V)."""
    batch, _, heads, keys = q.shape
    values = v.shape[-1]
    o, s_last = empty_like(v), q.new_empty(batch, heads, keys, values)
    inputs = _inputs(q, k, v, beta, g, s0, cut, scale)
    arrays = (o.view(-1, values).numpy(), s_last.view(-1, keys, values).numpy())
    over(batch * heads, q.numel(), lambda lo, hi: forward_heads(inputs, *arrays, lo, hi))
    return o, s_last


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, beta, g (empty without g) and s0 (empty without s0)."""
    batch, _, heads, keys = q.shape
    values = v.shape[-1]
    inputs = _inputs(q, k, v, beta, g, s0, cut, scale)
    grad = q.new_zeros(v.shape) if grad is None else grad
    grad_last = blank((batch, heads, keys, values), q.dtype) if grad_last is None else grad_last
    dq, dk, dv, dbeta = (empty_like(tensor) for tensor in (q, k, v, beta))
    dg = q.new_empty(0 if g is None else g.shape)
    ds0 = q.new_empty(batch, heads, keys, values)
    rows = (
        grad.reshape(-1, values), grad_last.reshape(-1, keys, values), dq.view(-1, keys), dk.view(-1, keys),
        dv.view(-1, values), dbeta.view(-1), dg.view(-1), ds0.view(-1, keys, values),
    )  # fmt: skip
    grads = Gradients(*(tensor.contiguous().numpy() for tensor in rows))
    over(batch * heads, q.numel(), lambda lo, hi: backward_heads(inputs, grads, lo, hi))
    return dq, dk, dv, dbeta, dg, q.new_empty(0) if s0 is None else ds0


def warmup() -> None:
    """Compile the kernels for both floating types, on one step."""
    for dtype in (torch.float32, torch.float64):
        row, one = torch.zeros(1, 1, 1, 1, dtype=dtype), torch.zeros(1, 1, 1, dtype=dtype)
        arguments = (row, row, row, one, None, None, None, 1.0, 1)
        o, s_last = forward(*arguments)
        backward(o, s_last, *arguments)
        unit_backward(row, *unit(row, 1.0))
