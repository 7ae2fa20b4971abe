"""Maps from a free weight to a stable decay: the reparameterisations of StableSSM.

A diagonal state decays by exp(-rate) per unit of time, or by a magnitude r per step. A free weight w gives
either:

    exp               rate = exp(w)             r = exp(-exp(w))             (LRU, S4D)
    softplus          rate = log(1 + exp(w))    r = exp(-softplus(w))
    inverse-square    rate = 1 / (w^2 + 1/2)    r = 1 - 1 / (w^2 + 1/2)      ("best" in the paper)

Learning a long memory means pushing r towards 1. With the first two maps the gradient can grow exponentially
in |w| on the way; with the last it grows at most in proportion to |w|. Its rate lies in (0, 2], its r in
[-1, 1).

Wang and Li, "StableSSM: Alleviating the Curse of Memory in State-space Models through Stable
Reparameterization", 2024.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Stability", "inverse_magnitude", "inverse_rate", "magnitude", "rate"]

Stability = Literal["exp", "softplus", "inverse-square"]


def rate(w: Tensor, kind: Stability) -> Tensor:
    """The decay rate, minus the real part of a continuous-time eigenvalue; positive."""
    match kind:
        case "exp":
            return torch.exp(w)
        case "softplus":
            return F.softplus(w)
        case "inverse-square":
            return 1 / (w * w + 0.5)


def magnitude(w: Tensor, kind: Stability) -> Tensor:
    """The signed magnitude of a discrete-time eigenvalue; at most 1 in absolute value."""
    return 1 - rate(w, kind) if kind == "inverse-square" else torch.exp(-rate(w, kind))


def inverse_rate(target: Tensor, kind: Stability) -> Tensor:
    """The weight at which `rate` is `target`, for initialisation.

    Raises:
        ValueError: for a target that the map cannot reach.
    """
    highest = 2.0 if kind == "inverse-square" else float("inf")
    if not bool(((target > 0) & (target <= highest)).all()):
        raise ValueError(
            f"the map '{kind}' reaches rates in (0, {highest}], not {target.min():.3g}..{target.max():.3g}"
        )
    match kind:
        case "exp":
            return torch.log(target)
        case "softplus":
            return target + torch.log(-torch.expm1(-target))
        case "inverse-square":
            return torch.sqrt((1 / target - 0.5).clamp(min=0))


def inverse_magnitude(target: Tensor, kind: Stability) -> Tensor:
    """The weight at which `magnitude` is `target` in (0, 1), for initialisation."""
    return inverse_rate(1 - target if kind == "inverse-square" else -torch.log(target), kind)
