"""The loop that defines `krylov_kernel`: the impulse response, step by step."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["krylov_kernel"]


def krylov_kernel(A: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """K_l = C A^l B, (D, L)."""
    h, steps = B, []
    for _ in range(length):
        steps.append((C * h).sum(1))
        h = (A @ h[..., None])[..., 0]
    return torch.stack(steps, 1)
