"""What every image model here is: images in, a grid of features, one vector per image, class scores.

    images (B, C, Y, X)  ->  grid (B, y, x, D)  ->  pooled (B, F)  ->  logits (B, classes)

Any Y and X go in, whatever the model was made for. `grid` is what `explain` and transfer read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from statewise.core.config import require

__all__ = ["ImageConfig", "ImageModel"]


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """What the settings of every image model hold."""

    channels: int = 3
    """C, channels of an image."""
    classes: int = 1000
    """Number of classes."""
    height: int = 224
    """Y, rows of the images that the position table is made for; others are met by resizing it."""
    width: int = 224
    """X, columns of those images."""

    def __post_init__(self) -> None:
        for name in ("channels", "classes", "height", "width"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class ImageModel(nn.Module, ABC):
    """The frame of an image model; a subclass defines `grid`, and `pool` where it is no mean.

    Args:
        config: the settings.
        features: F, width of the pooled vector.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Any, *, features: int) -> None:
        super().__init__()
        self.config = config
        self.head = nn.Linear(features, config.classes)

    @abstractmethod
    def grid(self, images: Tensor) -> Tensor:
        """The last grid of features, normalised: (B, C, Y, X) to (B, y, x, D)."""

    def pool(self, grid: Tensor) -> Tensor:
        """One vector per image: (B, y, x, D) to (B, F)."""
        return grid.mean((1, 2))

    def features(self, images: Tensor) -> Tensor:
        """(B, C, Y, X) to (B, F): the model as a feature extractor."""
        return self.pool(self.grid(images))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, Y, X) to logits (B, classes)."""
        return self.head(self.features(images))
