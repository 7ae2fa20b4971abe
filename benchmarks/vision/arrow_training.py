"""How the models of the arrow benchmark see and learn: one stem, and targets beside the label.

The label of an arrow says little about the image: small models stay at chance for long when it is all that
they are asked for. Guided, they are also asked for what it follows from, by a linear map of the pooled
features that is thrown away after training: the direction of the arrow and the places of arrow and disc.

    loss = cross-entropy(label) + sum over the six targets of the mean squared error
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.train import seeded
from statewise.vision.generators.arrow import ArrowConfig, scenes
from statewise.vision.models import build
from statewise.vision.models.patches import to_grid
from statewise.vision.pixels import PixelSet
from statewise.vision.task import ImageTask, Standard

TARGETS = 6


def targets(config: ArrowConfig, count: int) -> Tensor:
    """(n, 6): cosine and sine of the arrow's direction, and in -1 to 1 its middle and the disc's (x, y)."""
    half, rows = config.size / 2, []
    for scene in islice(scenes(config), count):
        places = (at / half - 1 for at in (*scene.centre, *scene.disc))
        rows.append((math.cos(scene.angle), math.sin(scene.angle), *places))
    return torch.tensor(rows, dtype=torch.float32)


class Stem(nn.Module):
    """One token per 24 x 24 pixels, by overlapping convolutions: strokes of two pixels outlive the strides.

    Args:
        d_model: D.
    """

    stride: ClassVar[int] = 24

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.map = nn.Sequential(
            nn.Conv2d(1, 16, 7, stride=4, padding=3),
            nn.GroupNorm(1, 16),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, stride=3),
            nn.GroupNorm(1, 32),
            nn.GELU(),
            nn.Conv2d(32, d_model, 3, stride=2, padding=1),
            nn.GroupNorm(1, d_model),
            nn.GELU(),
            nn.Conv2d(d_model, d_model, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, Y, X), multiples of 24, to (B, Y / 24, X / 24, D)."""
        return to_grid(self.map(images))


class Guided(nn.Module):
    """A classifier with a second map of its pooled features, for training alone."""

    def __init__(self, model: str, side: int, sizes: dict[str, Any], seed: int) -> None:
        super().__init__()
        frame = {"channels": 1, "classes": 2, "height": side, "width": side, "patch": Stem.stride}
        with seeded(seed):
            self.network = build(model, **frame, **sizes)
            self.network.patches = Stem(sizes["d_model"])
            self.places = nn.Linear(self.network.head.in_features, TARGETS)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, Y, X) to logits (B, 2)."""
        return self.network(images)

    def guided(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 2) and the six targets (B, 6)."""
        pooled = self.network.features(images)
        return self.network.head(pooled), self.places(pooled)


class GuidedTask(ImageTask):
    """Labels and targets train; the error rate of the labels validates.

    Args:
        network: what is trained.
        pixels: all images.
        standard: of the training images.
        train: indices that train.
        validation: indices that choose the weights.
        targets: (n, 6) of all images.
    """

    def __init__(
        self,
        network: Guided,
        pixels: PixelSet,
        standard: Standard,
        train: np.ndarray,
        validation: np.ndarray,
        targets: Tensor,
    ) -> None:
        super().__init__(network, pixels, standard, train, validation)
        self.guided, self.targets = network, targets

    def batch(self, indices: Tensor) -> Any:
        return *super().batch(indices), self.targets[self._train[indices]]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        images, labels, targets = batch
        logits, places = self.guided.guided(images)
        return F.cross_entropy(logits, labels) + (places - targets).square().mean(0).sum()
