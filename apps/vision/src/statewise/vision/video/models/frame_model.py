"""What every video model here is: frames in, for each of them the next one; or one frame at a time.

    frames (B, T, C, Y, X)  ->  prediction of the frame after each, (B, T, C, Y, X)       in parallel over T
    step: frame (B, C, Y, X), state  ->  next frame, state                                constant memory

Frames are numbers from 0 to 1. Encoder and decoder work on every frame by itself at a quarter of the
resolution, so any Y and X that are multiples of four go in; what carries over time is the subclass's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from statewise.core.config import require

__all__ = ["FrameConfig", "FrameModel", "followed", "rollout"]


@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """What the settings of every video model hold."""

    channels: int = 1
    """C, channels of a frame."""
    d_model: int = 32
    """Features per place of the encoded frame."""
    depth: int = 2
    """Recurrent layers."""

    def __post_init__(self) -> None:
        for name in ("channels", "d_model", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class FrameModel(nn.Module, ABC):
    """Frames in, the frame after each of them out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, frames: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The frame after each frame, teacher-forced, and the state after the last."""

    def step(self, frame: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """(B, C, Y, X) to the next frame, and the state."""
        after, state = self(frame[:, None], state)
        return after[:, 0], state


class CodedFrameModel(FrameModel):
    """Encoder, recurrence on a quarter of the resolution, decoder."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        d = config.d_model
        self.encoder = nn.Sequential(
            nn.Conv2d(config.channels, d, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(d, d, 3, stride=2, padding=1),
            nn.GELU(),
        )
        last = nn.Conv2d(d, 16 * config.channels, 3, padding=1)
        assert last.bias is not None  # Conv2d has one by default
        nn.init.constant_(last.bias, -2.0)  # frames are dark at the start
        self.decoder = nn.Sequential(nn.Conv2d(d, d, 3, padding=1), nn.GELU(), last, nn.PixelShuffle(4))

    @abstractmethod
    def carry(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Over time: (B, T, D, y, x) and a state, or None to begin, to the same shape and the last state."""

    def forward(self, frames: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The frame after each frame, teacher-forced, and the state after the last."""
        batch = frames.shape[:2]
        x = self.encoder(2 * frames.flatten(0, 1) - 1).unflatten(0, batch)
        y, state = self.carry(x, state)
        return torch.sigmoid(self.decoder(y.flatten(0, 1))).unflatten(0, batch), state


def followed(model: nn.Module, seen: Tensor, count: int) -> Tensor:
    """The frames after those seen but the first, then `count - 1` more, each predicted frame fed back.

    (B, T, C, Y, X) to (B, T + count - 1, C, Y, X). The frames seen are taken in parallel, those to come one
    at a time with a state of constant size. Gradients pass through the frames that are fed back.
    """
    predicted, state = model(seen)
    frames = [predicted]
    for _ in range(count - 1):
        predicted, state = model(frames[-1][:, -1:], state)
        frames.append(predicted)
    return torch.cat(frames, 1)


@torch.no_grad()
def rollout(model: FrameModel, seen: Tensor, count: int) -> Tensor:
    """The `count` frames after those seen: (B, T, C, Y, X) to (B, count, C, Y, X)."""
    return followed(model, seen, count)[:, -count:]
