"""The loop that defines `s4d_kernel`: the impulse response, step by step."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["powers"]


def powers(a: Tensor, w: Tensor, length: int, double: bool) -> Tensor:
    """K_l = 2 Re sum_n w_n a_n^l, without the 2 Re for real arguments, (D, L)."""
    steps = []
    for _ in range(length):
        steps.append(2 * w.real.sum(1) if w.is_complex() else w.sum(1))
        w = w * a
    return torch.stack(steps, 1).to(torch.float64 if double else torch.float32)
