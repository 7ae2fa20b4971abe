"""`selective_scan` for GPUs: Triton forwards, one program per batch row and block of channels.

The states of a block of channels stay in registers while the program walks over time; only one state out of
`segment` is written. The gradient is that of plain torch, which starts from those states.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from statewise.core.ops.selective_scan.portable import backward

__all__ = ["backward", "forward"]

BLOCK = 32
"""Channels of a program."""


@triton.jit
def _forward(
    u,
    dt,
    A,
    B,
    C,
    h0,
    cut,
    y,
    h_last,
    saved,
    length,
    channels,
    states,
    groups,
    segment,
    segments,
    CUT: tl.constexpr,
    KEEP: tl.constexpr,
    SIZE: tl.constexpr,
    SIZE_N: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    channel, n = tl.program_id(1) * SIZE + tl.arange(0, SIZE), tl.arange(0, SIZE_N)
    live = channel < channels
    mask = live[:, None] & (n < states)[None, :]
    group = channel // (channels // groups)
    rates = tl.load(A + channel[:, None] * states + n[None, :], mask=mask, other=0.0)
    place = (row * channels + channel[:, None]) * states + n[None, :]
    state = tl.load(h0 + place, mask=mask, other=0.0)
    for t in range(length):
        if KEEP:  # noqa: SIM102 - a constant of the compiler
            if t % segment == 0:
                kept = ((row * segments + t // segment) * states + n[None, :]) * channels + channel[:, None]
                tl.store(saved + kept, state, mask=mask)
        if CUT:
            state = tl.where(tl.load(cut + row * length + t) != 0, 0.0, state)
        here = (row * length + t) * channels + channel
        maps = ((row * length + t) * groups + group)[:, None] * states + n[None, :]
        step = tl.load(dt + here, mask=live, other=0.0)
        write = step * tl.load(u + here, mask=live, other=0.0)
        state = tl.exp(step[:, None] * rates) * state + write[:, None] * tl.load(
            B + maps, mask=mask, other=0.0
        )
        tl.store(y + here, tl.sum(state * tl.load(C + maps, mask=mask, other=0.0), 1), mask=live)
    tl.store(h_last + place, state, mask=mask)


def forward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    segment: int,
    keep: bool,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs (B, L, D), the last state (B, D, N) and, to keep, the one before each segment (B, S, N, D)."""
    (batch, length, channels), (groups, states) = u.shape, B.shape[2:]
    segments = triton.cdiv(length, segment)
    dt = F.softplus(dt) if softplus else dt
    y, h_last = (
        torch.empty_like(u, memory_format=torch.contiguous_format),
        u.new_empty(batch, channels, states),
    )
    saved = u.new_empty((batch, segments, states, channels) if keep else 0)
    h0 = torch.zeros_like(h_last) if h0 is None else h0
    marks = u.new_empty(0, dtype=torch.int8) if cut is None else cut.to(torch.int8)
    inputs = (x.contiguous() for x in (u, dt, A, B, C, h0, marks))
    with torch.cuda.device_of(u):
        _forward[(batch, triton.cdiv(channels, BLOCK))](
            *inputs,
            y,
            h_last,
            saved,
            length,
            channels,
            states,
            groups,
            segment,
            segments,
            CUT=cut is not None,
            KEEP=keep,
            SIZE=BLOCK,
            SIZE_N=triton.next_power_of_2(states),
        )
    return y, h_last, saved
