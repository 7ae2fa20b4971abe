"""FERNN: a recurrent network that is equivariant to motion by whole pixels.

    h_{t+1}(v) = relu(W_h conv roll(h_t(v), v) + W_u conv f_t)        for every velocity v in [-R, R]^2
    y_t = decode(max over v of h_{t+1}(v))

Each velocity has a hidden image of its own that moves along with it; all convolutions wrap around the
border and have no bias. A clip that is moved by v pixels per frame more, for v within reach, gives the same
prediction moved by as much. Keller, "Flow Equivariant Recurrent Neural Networks", 2025.

Shapes: frames (B, T, C, Y, X) at full resolution, h (B, V, D, Y, X), V = (2 R + 1)^2.

Written from the equations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.vision.video.models.frame_model import FrameConfig, FrameModel

__all__ = ["FERNN", "FERNNConfig", "presets"]


@dataclass(frozen=True, kw_only=True)
class FERNNConfig(FrameConfig):
    """Settings of `FERNN`."""

    d_model: int = 16
    """D, hidden channels per velocity."""
    depth: int = 2
    """Convolutions of the decoder before the last one."""
    reach: int = 1
    """R, the largest velocity in pixels per frame; 0 makes an ordinary recurrent network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.reach >= 0, "reach", self.reach, "0 or more")


presets: dict[str, dict[str, Any]] = {"nano": {}, "micro": {"d_model": 32, "reach": 2}}


class FERNN(FrameModel):
    """Hidden images that move."""

    def __init__(self, config: FERNNConfig) -> None:
        super().__init__(config)
        d = config.d_model
        self.write = _wrapped(config.channels, d)
        self.carry_over = _wrapped(d, d)
        parts: list[nn.Module] = []
        for _ in range(config.depth):
            parts += [_wrapped(d, d), nn.ReLU()]
        self.decode = nn.Sequential(*parts, _wrapped(d, config.channels))
        reach = range(-config.reach, config.reach + 1)
        self.velocities = [(down, right) for down in reach for right in reach]

    def forward(self, frames: Tensor, state: Any = None) -> tuple[Tensor, Tensor]:
        batch, _, _, height, width = frames.shape
        if state is None:
            state = frames.new_zeros(batch, len(self.velocities), self.config.d_model, height, width)
        outputs = []
        for frame in frames.unbind(1):
            moved = [state[:, i].roll(v, (-2, -1)) for i, v in enumerate(self.velocities)]
            carried = self.carry_over(torch.stack(moved, 1).flatten(0, 1)).unflatten(0, state.shape[:2])
            state = torch.relu(carried + self.write(frame)[:, None])
            outputs.append(torch.sigmoid(self.decode(state.amax(1)) - 2.0))
        return torch.stack(outputs, 1), state


def _wrapped(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="circular", bias=False)
