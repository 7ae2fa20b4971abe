"""Windows as sequences of patches: stretches of several steps that count as one token.

Nie et al., "A Time Series is Worth 64 Words: Long-term Forecasting with Transformers", ICLR 2023. A window
that the patches do not fill is repeated at its beginning, so that the last patch ends with the last step.

Letters: B batch, L lookback, C inputs per step, N patches, P steps in a patch, S steps from patch to patch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["default_patch", "patch_count", "patches"]

_LENGTH = 16  # of the paper
_LEAST = 8  # patches, below which they are made shorter


def default_patch(lookback: int) -> tuple[int, int]:
    """Length and stride: 16 and 8, shorter where that would leave fewer than eight strides."""
    length = max(1, min(_LENGTH, 2 * lookback // _LEAST))
    return length, max(1, length // 2)


def patch_count(lookback: int, length: int, stride: int) -> int:
    """N, patches of a window."""
    return max(1, math.ceil((lookback - length) / stride) + 1)


def patches(x: Tensor, length: int, stride: int) -> Tensor:
    """Cut windows into patches: (B, L, C) to (B, N, P C), the steps of a patch behind each other."""
    missing = length + (patch_count(x.shape[1], length, stride) - 1) * stride - x.shape[1]
    if missing > 0:
        x = torch.cat([x[:, :1].expand(-1, missing, -1), x], dim=1)
    return x.unfold(1, length, stride).transpose(2, 3).flatten(2)
