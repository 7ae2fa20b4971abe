"""A short causal convolution of each channel with its state: a part of layers, not a layer.

y_t = bias + sum_{j=0}^{K-1} w_{K-1-j} * x_{t-j}
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from statewise.core.ops import depthwise_conv

__all__ = ["TemporalConv", "conv_step"]


def conv_step(x_t: Tensor, weight: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """One step of `depthwise_conv` in plain torch, for streams and exporters.

    Args:
        x_t: (B, D).
        weight: (K, D), the last of which weighs the present step.
        tail: (B, K - 1, D), the inputs before, oldest first.

    Returns:
        y_t (B, D) in the dtype of the tail, and the next tail.
    """
    window = torch.cat([tail, x_t.to(tail.dtype)[:, None]], dim=1)
    return (weight.to(tail.dtype) * window).sum(1), window[:, 1:]


class TemporalConv(nn.Module):
    """K taps per channel over time; its state is the K - 1 inputs before.

    Args:
        channels: D.
        taps: K, the last of which weighs the present step.
    """

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(taps)
        self.weight = nn.Parameter(torch.empty(taps, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, x: Tensor, tail: Tensor, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Whole sequences: x (B, L, D) and the tail (B, K - 1, D) to y (B, L, D) and the next tail."""
        y, tail = depthwise_conv(x, self.weight, self.bias, tail, reset=reset, lengths=lengths)
        return y.to(x.dtype), tail

    def step(self, x_t: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """One step: x_t (B, D) and the tail (B, K - 1, D) to y_t (B, D) and the next tail."""
        y_t, tail = conv_step(x_t, self.weight, tail)
        return (y_t + self.bias.to(y_t.dtype)).to(x_t.dtype), tail
