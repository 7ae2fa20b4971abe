"""Numbers as distributions over bins: two-hot targets on a symmetric logarithmic scale.

    symlog(x) = sign(x) ln(|x| + 1)

A number lies between two bins and is written as the two weights that have it as their mean. Hafner et al.,
"Mastering Diverse Domains through World Models", 2023, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["TwoHot", "symexp", "symlog"]


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(|x| + 1)."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(x.abs())


class TwoHot:
    """Numbers as distributions over evenly spaced bins of their symlog.

    Args:
        bins: number of bins.
        limit: symlog of the outermost bins.
    """

    def __init__(self, bins: int = 255, limit: float = 20.0) -> None:
        self.bins = bins
        self.centres = torch.linspace(-limit, limit, bins)

    def encode(self, x: Tensor) -> Tensor:
        """Numbers (...) as weights (..., bins); what lies beyond the last bin is put into it."""
        y = symlog(x).clamp(self.centres[0], self.centres[-1])
        upper = torch.searchsorted(self.centres, y.contiguous()).clamp(1, self.bins - 1)
        low, high = self.centres[upper - 1], self.centres[upper]
        share = ((y - low) / (high - low)).clamp(0, 1)
        weights = torch.zeros(*x.shape, self.bins)
        weights.scatter_(-1, (upper - 1)[..., None], (1 - share)[..., None])
        return weights.scatter_(-1, upper[..., None], share[..., None])

    def decode(self, logits: Tensor) -> Tensor:
        """The number that a distribution (..., bins) stands for."""
        return symexp((logits.softmax(-1) * self.centres).sum(-1))

    def loss(self, logits: Tensor, x: Tensor) -> Tensor:
        """Cross-entropy of logits (..., bins) and numbers (...), (...)."""
        return -(self.encode(x) * F.log_softmax(logits, -1)).sum(-1)
