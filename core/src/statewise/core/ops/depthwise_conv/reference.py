"""The loop that defines `depthwise_conv`: a window of the last K inputs slides over time."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["depthwise_conv"]


def depthwise_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, tail: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """y_t = bias + sum_k w_k window_k; the window is emptied at a reset and frozen past the row."""
    outputs = []
    for t, present in enumerate(x.unbind(1)):
        if reset is not None:
            tail = tail.masked_fill(reset[:, t, None, None], 0)
        window = torch.cat([tail, present[:, None]], 1)
        y = (window * weight).sum(1)
        if bias is not None:
            y = y + bias
        following = window[:, 1:]
        if lengths is not None:
            ended = t >= lengths
            y = y.masked_fill(ended[:, None], 0)
            following = torch.where(ended[:, None, None], tail, following)
        outputs.append(y)
        tail = following
    return torch.stack(outputs, 1) if outputs else x.clone(), tail.clone()
