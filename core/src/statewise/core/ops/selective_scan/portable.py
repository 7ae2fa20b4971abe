"""`selective_scan` in plain torch: one segment at a time, whose states alone are ever in memory.

Within a segment this is the `linear_scan` of plain torch over (B, T, D, N), forwards and backwards. Works
on any device and dtype.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.ops.linear_scan import portable as scan

__all__ = ["backward", "forward"]


class _Segment(NamedTuple):
    """Some steps: (B, T, G, D / G) per channel, (B, T, G, 1, N) per state, (B, T, G, D / G, N) for both."""

    u: Tensor
    dt: Tensor
    B: Tensor
    C: Tensor
    decays: Tensor
    writes: Tensor
    cut: Tensor | None


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
    batch, length, channels = u.shape
    groups, states = B.shape[2:]
    dt = F.softplus(dt) if softplus else dt
    y, saved = torch.empty_like(u, memory_format=torch.contiguous_format), []
    state = u.new_zeros(batch, channels, states) if h0 is None else h0
    state = state.unflatten(1, (groups, -1))
    for start in range(0, length, segment):
        saved.append(state.flatten(1, 2).mT)
        part = _segment(u, dt, A, B, C, cut, slice(start, start + segment))
        h, state = scan.forward(part.decays, part.writes, state, part.cut, False)
        y[:, start : start + segment] = (h @ part.C.mT).flatten(2)
    stack = torch.stack(saved, 1) if keep and saved else u.new_empty(0)
    return y, state.flatten(1, 2).clone(), stack


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    cut: Tensor | None,
    saved: Tensor,
    segment: int,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, dt, A, B, C and h0."""
    groups, (channels, states) = B.shape[2], A.shape
    slope = torch.sigmoid(dt) if softplus else None
    dt = F.softplus(dt) if softplus else dt
    du, ddt, dB, dC = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (u, dt, B, C))
    dA = torch.zeros_like(A).unflatten(0, (groups, -1))
    carry = u.new_zeros(len(u), channels, states) if grad_last is None else grad_last
    carry = carry.unflatten(1, (groups, -1))
    dy = torch.zeros_like(u) if grad is None else grad
    for index in range(saved.shape[1] - 1 if u.shape[1] else -1, -1, -1):
        here = slice(index * segment, (index + 1) * segment)
        part = _segment(u, dt, A, B, C, cut, here)
        state = saved[:, index].mT.unflatten(1, (groups, -1))
        h, _ = scan.forward(part.decays, part.writes, state, part.cut, False)
        grads = dy[:, here].unflatten(2, (groups, -1)).unsqueeze(-1)
        dC[:, here] = (grads.mT @ h).squeeze(3)
        d_decays, d_writes, carry = scan.backward(
            grads * part.C, carry, part.decays, h, state, part.cut, False, True
        )
        exponents = d_decays * part.decays
        per_write = d_writes @ part.B.mT
        dB[:, here] = ((part.dt * part.u).unsqueeze(3) @ d_writes).squeeze(3)
        du[:, here] = (per_write.squeeze(-1) * part.dt).flatten(2)
        rate = (exponents * A.unflatten(0, (groups, -1))).sum(-1) + per_write.squeeze(-1) * part.u
        ddt[:, here] = rate.flatten(2)
        dA += (exponents * part.dt.unsqueeze(-1)).sum((0, 1))
    ddt = ddt if slope is None else ddt * slope
    return du, ddt, dA.flatten(0, 1), dB, dC, carry.flatten(1, 2).clone()


def _segment(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, cut: Tensor | None, here: slice
) -> _Segment:
    """The steps `here`, with their decays exp(dt A) and writes dt u B."""
    groups = B.shape[2]
    u, dt = (x[:, here].unflatten(2, (groups, -1)) for x in (u, dt))
    B, C = (x[:, here].unsqueeze(3) for x in (B, C))
    decays = torch.exp(dt.unsqueeze(-1) * A.unflatten(0, (groups, -1)))
    writes = (dt * u).unsqueeze(-1) * B
    return _Segment(u, dt, B, C, decays, writes, None if cut is None else cut[:, here])
