"""The sums that define `long_conv`, lag by lag; autograd differentiates them, any number of times."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["long_conv"]


def long_conv(x: Tensor, kernel: Tensor, after: Tensor) -> Tensor:
    """y_t = sum_j k_j x_{t-j} + sum_j r_j x_{t+1+j}, one lag at a time."""
    length = x.shape[1]
    y = torch.zeros_like(x)
    for j in range(kernel.shape[1]):
        y = y + kernel[:, j] * torch.nn.functional.pad(x[:, : length - j], (0, 0, j, 0))
    for j in range(after.shape[1]):
        y = y + after[:, j] * torch.nn.functional.pad(x[:, j + 1 :], (0, 0, 0, j + 1))
    return y
