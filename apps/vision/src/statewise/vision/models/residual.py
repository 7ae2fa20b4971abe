"""Parts that the token models share: gated MLPs and the random skipping of residual branches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DropPath", "SwiGLU", "depth_rates", "swiglu_width"]


ROWS = 1024
"""Tokens whose hidden units are computed at a time where no gradient is wanted."""


class DropPath(nn.Module):
    """Skip a residual branch for whole examples, in training (Huang et al., stochastic depth, 2016).

    Args:
        rate: probability of skipping.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        kept = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) >= self.rate
        return branch * kept / (1 - self.rate)


class SwiGLU(nn.Module):
    """W_d (silu(W_g x) * W_u x), the first two maps in one matrix (Shazeer, GLU variants, 2020).

    Args:
        d_model: D.
        hidden: hidden units.
    """

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(d_model, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.numel() <= ROWS * x.shape[-1]:
            return self._rows(x)
        # nothing is kept for a gradient: the hidden units of a few rows at a time stay in the cache
        flat = x.flatten(0, -2)
        out = torch.empty_like(flat)
        for given, place in zip(flat.split(ROWS), out.split(ROWS), strict=True):
            place.copy_(self._rows(given))
        return out.view_as(x)

    def _rows(self, x: Tensor) -> Tensor:
        gate, up = self.inputs(x).chunk(2, -1)
        return self.out(F.silu(gate) * up)


def swiglu_width(d_model: int, multiple: int) -> int:
    """Hidden units of a SwiGLU with about the parameters of a four-fold MLP: 8 D / 3, rounded up."""
    return multiple * -(-(8 * d_model // 3) // multiple)


def depth_rates(largest: float, depth: int) -> list[float]:
    """Rates of `DropPath` that rise linearly from 0 in the first block to `largest` in the last."""
    return [largest * i / max(1, depth - 1) for i in range(depth)]
