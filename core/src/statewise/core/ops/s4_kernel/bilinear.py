"""The bilinear rule for a diagonal plus rank-one matrix: one step in O(N), and the system as real matrices.

Complex states (..., D, N) count as 2 N real ones, parts side by side, in which the system is real: the
conjugates that are not kept enter through the real part of P* x.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["advance", "realise"]


def advance(h: Tensor, write: Tensor | None, dt: Tensor, Lambda: Tensor, P: Tensor) -> Tensor:
    """One step, (2/dt - A)^{-1} ((2/dt + A) h + 2 write), in O(N): states and writes (..., D, N)."""
    rate = (2 / dt)[:, None]
    moved = (rate + Lambda) * h - P * _twice(P, h)
    return _solve(moved if write is None else moved + 2 * write, rate - Lambda, P)


def realise(dt: Tensor, Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The discrete system in real coordinates: a (D, 2 N, 2 N), b (D, 2 N) and c (D, 2 N)."""
    size = Lambda.shape[1]
    units = torch.view_as_complex(
        torch.eye(2 * size, dtype=dt.dtype, device=dt.device).unflatten(1, (size, 2))
    )
    a = _parts(advance(units[:, None], None, dt, Lambda, P)).permute(1, 2, 0)
    b = _parts(_solve(2 * B, (2 / dt)[:, None] - Lambda, P))
    return a, b, _parts(2 * C.conj_physical())


def _solve(w: Tensor, diagonal: Tensor, P: Tensor) -> Tensor:
    """The inverse of `diagonal` + P P* by Woodbury's identity."""
    scaled, direction = w / diagonal, P / diagonal
    return scaled - direction * (_twice(P, scaled) / (1 + _twice(P, direction)))


def _twice(P: Tensor, x: Tensor) -> Tensor:
    """P* x over both conjugates of each pair, (..., D, 1)."""
    return 2 * (P.conj() * x).real.sum(-1, keepdim=True)


def _parts(x: Tensor) -> Tensor:
    return torch.view_as_real(x).flatten(-2)
