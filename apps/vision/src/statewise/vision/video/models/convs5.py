"""ConvS5 for video: convolutional state spaces, a scan over time per pixel.

    x <- norm(x + residual(ConvS5(x)))        per layer; the residual network is two 3x3 convolutions

The recurrence of `statewise.core.layers.convs5` is linear with a diagonal transition, so that training takes
all frames at once and a rollout one at a time. Smith, De Mello, Kautz, Linderman and Byeon, "Convolutional
State Space Models for Long-Range Spatiotemporal Modeling", 2023.

Differs from the paper: written from the equations; encoder and decoder are those of `frame_model`, without
the action embedding, and the sizes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.convs5 import ConvS5, ConvS5Config, ConvS5State
from statewise.vision.video.models.frame_model import CodedFrameModel, FrameConfig

__all__ = ["ConvS5Video", "ConvS5VideoConfig", "presets"]


@dataclass(frozen=True, kw_only=True)
class ConvS5VideoConfig(FrameConfig):
    """Settings of `ConvS5Video`."""

    d_state: int = 64
    """P, the real size of the state per place, even."""
    kernel: int = 3
    """Rows and columns of the kernels of B and C, odd."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.d_state >= 2 and self.d_state % 2 == 0, "d_state", self.d_state, "an even number")
        require(self.kernel >= 1 and self.kernel % 2 == 1, "kernel", self.kernel, "an odd number")


presets: dict[str, dict[str, Any]] = {"nano": {}, "micro": {"d_model": 48, "d_state": 96, "depth": 3}}


class _Layer(nn.Module):
    """ConvS5, a residual network on each frame, a skip and a norm behind it."""

    def __init__(self, config: ConvS5VideoConfig) -> None:
        super().__init__()
        d = config.d_model
        # the layer's frame size only shapes its first state, which is given here
        settings = ConvS5Config(d_model=d, height=1, width=1, d_state=config.d_state, kernel=config.kernel)
        self.mixer = ConvS5(settings)
        self.residual = nn.Sequential(
            nn.GroupNorm(1, d),
            nn.GELU(),
            nn.Conv2d(d, d, 3, padding=1),
            nn.GroupNorm(1, d),
            nn.GELU(),
            nn.Conv2d(d, d, 3, padding=1),
        )
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Tensor, state: ConvS5State) -> tuple[Tensor, ConvS5State]:
        """(B, T, y, x, D)."""
        mixed, state = self.mixer.over(x, state)
        flat = mixed.flatten(0, 1).permute(0, 3, 1, 2)
        flat = flat + self.residual(flat)
        return self.norm(x + flat.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])), state


class ConvS5Video(CodedFrameModel):
    """A stack of ConvS5 layers between encoder and decoder."""

    def __init__(self, config: ConvS5VideoConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.depth))

    def carry(self, x: Tensor, state: Any) -> tuple[Tensor, tuple[ConvS5State, ...]]:
        places = x.permute(0, 1, 3, 4, 2)
        shape = (x.shape[0], *x.shape[3:], self.config.d_state // 2)
        if state is None:
            zeros = torch.zeros(shape, dtype=torch.complex64, device=x.device)
            state = tuple(ConvS5State(zeros) for _ in self.layers)
        after = []
        for layer, before in zip(self.layers, state, strict=True):
            places, new = layer(places, before)
            after.append(new)
        return places.permute(0, 1, 4, 2, 3), tuple(after)
