"""What the layers of the Mamba family share: the sizes of heads, and how step sizes and rates begin."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["head_size", "step_bias", "uniform_rates"]

SHORTEST, LONGEST = 1e-3, 1e-1
"""Step sizes at the start, in steps of the sequence over the time scale of the state."""


def head_size(width: int, wanted: int | None) -> int:
    """Features per head: as wanted, or the largest divisor of `width` up to 64."""
    return wanted or max(size for size in range(1, min(width, 64) + 1) if width % size == 0)


def step_bias(count: int) -> nn.Parameter:
    """The bias (N,) whose softplus is log-uniform in [SHORTEST, LONGEST]."""
    dt = torch.exp(math.log(SHORTEST) + torch.rand(count) * math.log(LONGEST / SHORTEST))
    return nn.Parameter(dt + torch.log(-torch.expm1(-dt)))


def uniform_rates(count: int) -> Tensor:
    """The logarithm of rates (H,) that are uniform in [1, 16]."""
    return torch.log(1 + 15 * torch.rand(count))
