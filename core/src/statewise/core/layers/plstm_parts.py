"""What the one- and the two-dimensional pLSTM share: maps, and gates that see a slice of the features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Gates", "HeadMaps"]

EPSILON = 1e-5


class Gates(nn.Module):
    """One gate before its activation for each of G consecutive slices of the features: (..., D) to (..., G).

    Args:
        d_model: D, a multiple of G.
        count: G.
        bias: at the start; the weights start at zero.
    """

    def __init__(self, d_model: int, count: int, *, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, d_model // count))
        self.bias = nn.Parameter(torch.full((count,), bias))

    def forward(self, x: Tensor) -> Tensor:
        return (x.unflatten(-1, self.weight.shape) * self.weight).sum(-1) + self.bias


class HeadMaps(nn.Module):
    """Queries, keys and values of H heads, the direct path, and the normalised output.

    Args:
        d_model: D.
        heads: H, a divisor of D.
    """

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(d_model, 3 * d_model)
        self.direct = nn.Parameter(torch.full((heads,), -6.0))
        self.norm = nn.Parameter(torch.ones(heads, d_model // heads))
        self.out = nn.Linear(d_model, d_model, bias=False)
        for linear in (self.inputs, self.out):
            nn.init.normal_(linear.weight, std=math.sqrt(2 / (5 * d_model)))
        nn.init.zeros_(self.inputs.bias)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, divided by the root of K, keys and values, (..., H, K) each."""
        heads, width = self.norm.shape
        q, k, v = self.inputs(x).unflatten(-1, (3, heads, width)).unbind(-3)
        return q / math.sqrt(width), k, v

    def output(self, found: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """W_o norm(found + D (q . k) v), (..., H, K) to (..., D) in the dtype of v."""
        direct = torch.sigmoid(self.direct)[:, None] * (q * k).sum(-1, keepdim=True) * v
        total = found + direct.to(found.dtype)
        scale = torch.rsqrt(total.square().mean(-1, keepdim=True) + EPSILON)
        return self.out((self.norm * (total * scale).to(v.dtype)).flatten(-2))
