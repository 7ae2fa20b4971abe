"""A small convolutional network: the baseline that is hard to beat on few images.

Stages of two 3x3 convolutions with batch norm and ReLU, each stage at half the resolution and twice the
channels of the one before; the mean over the last grid is pooled, so any size of image goes in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from statewise.core.config import require
from statewise.vision.models.image_model import ImageConfig, ImageModel
from statewise.vision.models.patches import to_grid

__all__ = ["CNN", "CNNConfig", "presets"]


@dataclass(frozen=True, kw_only=True)
class CNNConfig(ImageConfig):
    """Settings of `CNN`."""

    base: int = 32
    """Channels of the first stage."""
    stages: int = 3
    """Stages, each at half the resolution of the one before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("base", "stages"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


presets: dict[str, dict[str, Any]] = {
    "nano": {"base": 24, "stages": 3},
    "micro": {"base": 24, "stages": 4},
    "s": {"base": 48, "stages": 5},
}


class CNN(ImageModel):
    """Stages of two convolutions."""

    def __init__(self, config: CNNConfig) -> None:
        widths = [config.base * 2**i for i in range(config.stages)]
        super().__init__(config, features=widths[-1])
        parts: list[nn.Module] = []
        for stage, (before, width) in enumerate(zip([config.channels, *widths], widths, strict=False)):
            parts += _convolution(before, width)
            parts += _convolution(width, width)
            if stage < config.stages - 1:
                parts.append(nn.MaxPool2d(2, ceil_mode=True))
        self.stages = nn.Sequential(*parts)

    def grid(self, images: Tensor) -> Tensor:
        return to_grid(self.stages(images))


def _convolution(before: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
