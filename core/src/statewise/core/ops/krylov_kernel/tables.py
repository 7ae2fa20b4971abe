"""Powers of a dense matrix and what they make of a vector, doubled from little: log2 L matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["columns", "squares"]


def squares(A: Tensor, count: int) -> list[Tensor]:
    """The powers A, A^2, A^4, ...: `count` of them, one at least."""
    powers = [A]
    while len(powers) < count:
        powers.append(powers[-1] @ powers[-1])
    return powers


def columns(powers: list[Tensor], vector: Tensor) -> Tensor:
    """v, A v, A^2 v, ...: (D, N, 2^len(powers)) from the vectors (D, N)."""
    table = vector[..., None]
    for power in powers:
        table = torch.cat([table, power @ table], 2)
    return table
