"""From a continuous system with a diagonal state matrix to the recurrence that samples it.

The system is x' = A x + B u, the recurrence h_t = a h_{t-1} + factor B u_t:

    zoh        a = exp(A dt)                        factor = (a - 1) / A           the input held constant
    bilinear   a = (1 + A dt / 2) / (1 - A dt / 2)  factor = dt / (1 - A dt / 2)   the trapezoidal rule

dt is the time between samples.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Discretisation", "discretise"]

Discretisation = Literal["zoh", "bilinear"]


def discretise(values: Tensor, dt: Tensor, rule: Discretisation) -> tuple[Tensor, Tensor]:
    """The decay a and the factor of B.

    Args:
        values: the diagonal of A, real or complex, not zero.
        dt: steps, positive, broadcastable to `values`.
        rule: `zoh` or `bilinear`.
    """
    if rule == "zoh":
        # expm1: for a slow state and a short step a - 1 would have no correct digit left in float32.
        change = torch.expm1(values * dt)
        return change + 1, change / values
    middle = 1 - values * dt / 2
    return (1 + values * dt / 2) / middle, dt / middle
