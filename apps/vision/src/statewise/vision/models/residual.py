"""Parts that the token models share: gated MLPs and the random skipping of residual branches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.vision.models.slices import by_rows, split_linear

__all__ = ["DropPath", "SwiGLU", "depth_rates", "swiglu_width"]


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
        return by_rows(self._hidden, x)

    def _hidden(self, x: Tensor) -> Tensor:
        half = self.out.in_features
        gate, up = split_linear(self.inputs, (half, half), x)
        return self.out(F.silu(gate) * up)


def swiglu_width(d_model: int, multiple: int) -> int:
    """Hidden units of a SwiGLU with about the parameters of a four-fold MLP: 8 D / 3, rounded up."""
    return multiple * -(-(8 * d_model // 3) // multiple)


def depth_rates(largest: float, depth: int) -> list[float]:
    """Rates of `DropPath` that rise linearly from 0 in the first block to `largest` in the last."""
    return [largest * i / max(1, depth - 1) for i in range(depth)]
