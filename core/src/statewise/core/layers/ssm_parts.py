"""What the layers of the Mamba family share: the sizes of heads, and how step sizes and rates begin."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from statewise.core.config import require

__all__ = ["check_steps", "head_size", "step_bias", "uniform_rates"]


def head_size(width: int, wanted: int | None) -> int:
    """Features per head: as wanted, or the largest divisor of `width` up to 64."""
    return wanted or max(size for size in range(1, min(width, 64) + 1) if width % size == 0)


def step_bias(count: int, shortest: float, longest: float) -> nn.Parameter:
    """The bias (N,) whose softplus, the step size for an input of zero, is log-uniform between the two."""
    dt = torch.exp(math.log(shortest) + torch.rand(count) * math.log(longest / shortest))
    return nn.Parameter(dt + torch.log(-torch.expm1(-dt)))


def check_steps(shortest: float, longest: float) -> None:
    """Refuse bounds `dt_min` and `dt_max` of the first step sizes that are not in order."""
    require(0 < shortest < float("inf"), "dt_min", shortest, "above 0")
    require(shortest <= longest < float("inf"), "dt_max", longest, "at least dt_min")


def uniform_rates(count: int) -> Tensor:
    """The logarithm of rates (H,) that are uniform in [1, 16]."""
    return torch.log(1 + 15 * torch.rand(count))
