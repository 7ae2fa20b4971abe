"""ConvLSTM: the baseline, gates from one convolution of input and state.

    [i, f, g, o] = W_x conv x_t + W_h conv h_{t-1} + b
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g),        h_t = sigmoid(o) * tanh(c_t)

The convolutions of the inputs are batched over time; only those of the state are made frame by frame. Shi et
al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", 2015, without
peephole connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.vision.video.models.frame_model import CodedFrameModel, FrameConfig

__all__ = ["ConvLSTM", "ConvLSTMConfig", "presets"]


@dataclass(frozen=True, kw_only=True)
class ConvLSTMConfig(FrameConfig):
    """Settings of `ConvLSTM`."""

    kernel: int = 3
    """Rows and columns of the kernels, odd."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.kernel >= 1 and self.kernel % 2 == 1, "kernel", self.kernel, "an odd number")


presets: dict[str, dict[str, Any]] = {"nano": {}, "micro": {"d_model": 48, "depth": 3}}


class _Layer(nn.Module):
    def __init__(self, d_model: int, kernel: int) -> None:
        super().__init__()
        self.inputs = nn.Conv2d(d_model, 4 * d_model, kernel, padding=kernel // 2)
        self.carried = nn.Conv2d(d_model, 4 * d_model, kernel, padding=kernel // 2, bias=False)
        with torch.no_grad():
            assert self.inputs.bias is not None  # Conv2d has one by default
            self.inputs.bias[d_model : 2 * d_model] += 1.0  # remember at the start

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, D, y, x)."""
        driven = self.inputs(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        h, c = state
        outputs = []
        for given in driven.unbind(1):
            i, f, g, o = (given + self.carried(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1), (h, c)


class ConvLSTM(CodedFrameModel):
    """A stack of ConvLSTM layers, with skips, between encoder and decoder."""

    def __init__(self, config: ConvLSTMConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(_Layer(config.d_model, config.kernel) for _ in range(config.depth))

    def carry(self, x: Tensor, state: Any) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        if state is None:
            zeros = x.new_zeros(x[:, 0].shape)
            state = tuple((zeros, zeros) for _ in self.layers)
        after = []
        for layer, before in zip(self.layers, state, strict=True):
            y, new = layer(x, before)
            x = x + y
            after.append(new)
        return x, tuple(after)
