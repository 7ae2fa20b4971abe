"""`gated_linear_attention` for GPUs: Triton, a program per head and block of values, the state in registers.

The kernels walk over time as the loop does, so that decays of any strength and resets are exact. Backwards
keeps one state out of SEGMENT, runs each segment again and unwinds it against the states met on the way;
what several blocks of values contribute to the same gradient is summed afterwards, in one order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["backward", "forward"]

BLOCK = 64
"""Most values of a program."""
SEGMENT = 32
"""Steps from one state that is kept backwards to the next."""
NO_DECAY, CONSTANT, PER_TOKEN, PER_KEY = 0, 1, 2, 3


@triton.jit
def _row(step, batch, head, count, length, heads, REVERSE: tl.constexpr):
    """The row (batch, time, head) of a step, and its mark (batch, time)."""
    t = count - 1 - step if REVERSE else step
    mark = batch * length + t
    return mark * heads + head, mark


@triton.jit
def _decay(g, row, head, key, keys, DECAY: tl.constexpr):
    """exp(g) of a step, per key."""
    mask = key < keys
    if DECAY == 3:
        logs = tl.load(g + row * keys + key, mask=mask, other=0.0)
    elif DECAY == 2:
        logs = tl.load(g + row + 0 * key, mask=mask, other=0.0)
    elif DECAY == 1:
        logs = tl.load(g + head + 0 * key, mask=mask, other=0.0)
    else:
        logs = tl.zeros_like(key).to(g.dtype.element_ty)
    return tl.exp(logs)


@triton.jit
def _advance(
    state, k, v, g, cut, row, mark, head, key, value, keys, values, DECAY: tl.constexpr, CUT: tl.constexpr
):
    """The state before the step, without what a cut drops, and the one after it."""
    if CUT:
        state = tl.where(tl.load(cut + mark) != 0, 0.0, state)
    k_row = tl.load(k + row * keys + key, mask=key < keys, other=0.0)
    v_row = tl.load(v + row * values + value, mask=value < values, other=0.0)
    decay = _decay(g, row, head, key, keys, DECAY)
    return state, decay[:, None] * state + k_row[:, None] * v_row[None, :]


@triton.jit
def _forward(
    q,
    k,
    v,
    g,
    s0,
    cut,
    lengths,
    o,
    s_last,
    scale,
    length,
    heads,
    keys,
    values,
    REVERSE: tl.constexpr,
    DECAY: tl.constexpr,
    CUT: tl.constexpr,
    SIZE_K: tl.constexpr,
    SIZE_V: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    batch, head = item // heads, item % heads
    key, value = tl.arange(0, SIZE_K), tl.program_id(1) * SIZE_V + tl.arange(0, SIZE_V)
    place = (item * keys + key[:, None]) * values + value[None, :]
    mask = (key < keys)[:, None] & (value < values)[None, :]
    state = tl.load(s0 + place, mask=mask, other=0.0)
    count, factor = tl.load(lengths + batch), tl.load(scale)
    for step in range(count):
        row, mark = _row(step, batch, head, count, length, heads, REVERSE)
        _, state = _advance(state, k, v, g, cut, row, mark, head, key, value, keys, values, DECAY, CUT)
        q_row = tl.load(q + row * keys + key, mask=key < keys, other=0.0)
        out = factor * tl.sum(q_row[:, None] * state, 0)
        tl.store(o + row * values + value, out, mask=value < values)
    tl.store(s_last + place, state, mask=mask)


@triton.jit
def _backward(
    grad,
    grad_last,
    q,
    k,
    v,
    g,
    s0,
    cut,
    lengths,
    dq,
    dk,
    dv,
    dg,
    ds0,
    saved,
    states,
    scale,
    length,
    heads,
    keys,
    values,
    rows,
    segments,
    REVERSE: tl.constexpr,
    DECAY: tl.constexpr,
    CUT: tl.constexpr,
    SIZE_K: tl.constexpr,
    SIZE_V: tl.constexpr,
    STEPS: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    batch, head, share = item // heads, item % heads, tl.program_id(1)
    key, value = tl.arange(0, SIZE_K), share * SIZE_V + tl.arange(0, SIZE_V)
    place = (item * keys + key[:, None]) * values + value[None, :]
    mask = (key < keys)[:, None] & (value < values)[None, :]
    cell = key[:, None] * SIZE_V + tl.arange(0, SIZE_V)[None, :]
    program = item * tl.num_programs(1) + share
    saved += program * segments * SIZE_K * SIZE_V
    states += program * STEPS * SIZE_K * SIZE_V
    count, factor = tl.load(lengths + batch), tl.load(scale)

    state = tl.load(s0 + place, mask=mask, other=0.0)
    for step in range(count):
        if step % STEPS == 0:
            tl.store(saved + (step // STEPS) * SIZE_K * SIZE_V + cell, state)
        row, mark = _row(step, batch, head, count, length, heads, REVERSE)
        _, state = _advance(state, k, v, g, cut, row, mark, head, key, value, keys, values, DECAY, CUT)

    adjoint = tl.load(grad_last + place, mask=mask, other=0.0)
    parts = (count + STEPS - 1) // STEPS
    for back in range(parts):
        first = (parts - 1 - back) * STEPS
        here = tl.minimum(STEPS, count - first)
        tl.debug_barrier()
        state = tl.load(saved + (parts - 1 - back) * SIZE_K * SIZE_V + cell)
        for i in range(here):
            row, mark = _row(first + i, batch, head, count, length, heads, REVERSE)
            before, state = _advance(
                state, k, v, g, cut, row, mark, head, key, value, keys, values, DECAY, CUT
            )
            tl.store(states + i * SIZE_K * SIZE_V + cell, before)
            do = tl.load(grad + row * values + value, mask=value < values, other=0.0)
            out = factor * tl.sum(state * do[None, :], 1)
            tl.store(dq + (share * rows + row) * keys + key, out, mask=key < keys)
        tl.debug_barrier()
        for j in range(here):
            i = here - 1 - j
            row, mark = _row(first + i, batch, head, count, length, heads, REVERSE)
            do = tl.load(grad + row * values + value, mask=value < values, other=0.0)
            q_row = tl.load(q + row * keys + key, mask=key < keys, other=0.0)
            k_row = tl.load(k + row * keys + key, mask=key < keys, other=0.0)
            v_row = tl.load(v + row * values + value, mask=value < values, other=0.0)
            decay = _decay(g, row, head, key, keys, DECAY)
            adjoint += factor * q_row[:, None] * do[None, :]
            tl.store(
                dk + (share * rows + row) * keys + key, tl.sum(adjoint * v_row[None, :], 1), mask=key < keys
            )
            tl.store(dv + row * values + value, tl.sum(adjoint * k_row[:, None], 0), mask=value < values)
            before = tl.load(states + i * SIZE_K * SIZE_V + cell)
            if DECAY > 0:
                crossing = decay * tl.sum(before * adjoint, 1)
                tl.store(dg + (share * rows + row) * keys + key, crossing, mask=key < keys)
            adjoint = decay[:, None] * adjoint
            if CUT:
                adjoint = tl.where(tl.load(cut + mark) != 0, 0.0, adjoint)
    tl.store(ds0 + place, adjoint, mask=mask)


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
    tensors, sizes, options = _arguments(q, k, v, g, s0, cut, lengths, reverse)
    o, s_last = q.new_zeros(v.shape), q.new_empty(batch, heads, keys, v.shape[-1])
    with torch.cuda.device_of(q):
        _forward[_grid(q, v, options)](*tensors, o, s_last, q.new_full((1,), scale), *sizes, **options)
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
    tensors, sizes, options = _arguments(q, k, v, g, s0, cut, lengths, reverse)
    grid = _grid(q, v, options)
    grad = torch.zeros_like(v) if grad is None else grad.contiguous()
    grad_last = torch.zeros_like(tensors[4]) if grad_last is None else grad_last.contiguous()
    dq, dk, dg = (q.new_zeros(grid[1], *q.shape) for _ in range(3))
    dv, ds0 = q.new_zeros(v.shape), torch.empty_like(tensors[4])
    segments, tile = triton.cdiv(q.shape[1], SEGMENT), options["SIZE_K"] * options["SIZE_V"]
    saved, states = (q.new_empty(grid[0] * grid[1] * count * tile) for count in (segments, SEGMENT))
    rows = q.shape[:3].numel()
    with torch.cuda.device_of(q):
        _backward[grid](
            *(grad, grad_last, *tensors, dq, dk, dv, dg, ds0, saved, states, q.new_full((1,), scale)),
            *(*sizes, rows, segments),
            STEPS=SEGMENT,
            **options,
        )
    if g is None:
        dg = q.new_empty(0)
    else:
        dg = dg.sum(0) if g.ndim == 4 else dg.sum((0, -1)).sum_to_size(g.shape)
    return dq.sum(0), dk.sum(0), dv, dg, ds0


def _arguments(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[tuple[Tensor, ...], tuple[int, ...], dict[str, Any]]:
    """What both kernels are handed: tensors, sizes and the settings they are compiled for."""
    batch, length, heads, keys = q.shape
    values = v.shape[-1]
    kind = NO_DECAY if g is None else {1: CONSTANT, 3: PER_TOKEN, 4: PER_KEY}[g.ndim]
    options = {
        "REVERSE": reverse,
        "DECAY": kind,
        "CUT": cut is not None,
        "SIZE_K": triton.next_power_of_2(keys),
        "SIZE_V": min(BLOCK, triton.next_power_of_2(values)),
    }
    s0 = q.new_zeros(batch, heads, keys, values) if s0 is None else s0
    cut = q.new_empty(0, dtype=torch.int8) if cut is None else cut.to(torch.int8)
    lengths = torch.full((batch,), length, device=q.device) if lengths is None else lengths.long()
    tensors = (q, k, v, q if g is None else g, s0, cut, lengths)
    return tuple(x.contiguous() for x in tensors), (length, heads, keys, values), options


def _grid(q: Tensor, v: Tensor, options: dict[str, Any]) -> tuple[int, int]:
    """One program per head of the batch and block of values."""
    return q.shape[0] * q.shape[2], triton.cdiv(v.shape[-1], options["SIZE_V"])
