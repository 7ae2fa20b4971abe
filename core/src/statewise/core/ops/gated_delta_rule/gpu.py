"""`gated_delta_rule` for GPUs, forward: Triton, a program per head and block of values, state in registers.

The columns of the state do not depend on each other, so each program runs the recurrence on its own. The
backward pass is that of `portable`, whose products of chunks suit a GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from statewise.core.ops.gated_delta_rule.portable import backward

__all__ = ["backward", "forward"]

BLOCK = 32
"""Columns of the state that a program holds."""


@triton.jit
def _forward(
    q,
    k,
    v,
    beta,
    g,
    s0,
    cut,
    o,
    s_last,
    scale,
    length,
    heads,
    keys,
    values,
    HAS_G: tl.constexpr,
    HAS_S0: tl.constexpr,
    HAS_CUT: tl.constexpr,
    KEYS: tl.constexpr,
    SIZE: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    batch, head = item // heads, item % heads
    row, column = tl.arange(0, KEYS), tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    in_row, in_column = row < keys, column < values
    inside = in_row[:, None] & in_column[None, :]
    place = (item * keys + row[:, None]) * values + column[None, :]
    if HAS_S0:
        state = tl.load(s0 + place, mask=inside, other=0.0)
    else:
        state = tl.zeros((KEYS, SIZE), q.dtype.element_ty)
    for t in range(length):
        step = (batch * length + t) * heads + head
        key = tl.load(k + step * keys + row, mask=in_row, other=0.0)
        value = tl.load(v + step * values + column, mask=in_column, other=0.0)
        if HAS_CUT:
            state = tl.where(tl.load(cut + batch * length + t) != 0, 0.0, state)
        if HAS_G:
            state = state * tl.exp(tl.load(g + step))
        error = value - tl.sum(key[:, None] * state, axis=0)
        state = state + key[:, None] * (tl.load(beta + step) * error)[None, :]
        query = tl.load(q + step * keys + row, mask=in_row, other=0.0)
        tl.store(o + step * values + column, scale * tl.sum(query[:, None] * state, axis=0), mask=in_column)
    tl.store(s_last + place, state, mask=inside)


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
    batch, length, heads, keys = q.shape
    values = v.shape[-1]
    o, s_last = q.new_empty(v.shape), q.new_empty(batch, heads, keys, values)
    q, k, v, beta = (tensor.contiguous() for tensor in (q, k, v, beta))
    # a kernel that is told not to look still needs a pointer
    extra = [beta if tensor is None else tensor.contiguous() for tensor in (g, s0)]
    marks = beta if cut is None else cut.to(torch.uint8)
    _forward[(batch * heads, triton.cdiv(values, BLOCK))](
        q,
        k,
        v,
        beta,
        *extra,
        marks,
        o,
        s_last,
        scale,
        length,
        heads,
        keys,
        values,
        HAS_G=g is not None,
        HAS_S0=s0 is not None,
        HAS_CUT=cut is not None,
        KEYS=triton.next_power_of_2(keys),
        SIZE=BLOCK,
    )
    return o, s_last
