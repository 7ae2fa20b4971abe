"""Random changes to a batch of training images, from torch's default generator.

`light`: shifts by up to an eighth and mirroring. `strong` adds TrivialAugment (Müller and Hutter, 2021),
random erasing (Zhong et al., 2020) and, half of the time, mixup (Zhang et al., 2018) or cutmix (Yun et al.,
2019), all from torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.config import require

__all__ = ["AugmentConfig", "Augmenter"]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training images are changed."""

    level: Literal["none", "light", "strong"] = "light"
    """none, light (shift, mirror) or strong (TrivialAugment, erasing, mixup and cutmix)."""
    mirror: bool = True
    """Mirror half of the images; wrong for text and digits."""
    shift: float = 0.125
    """Largest shift, as a fraction of each side."""

    def __post_init__(self) -> None:
        require(0 <= self.shift < 0.5, "shift", self.shift, "from 0 to below 0.5")


class Augmenter:
    """Applies the changes.

    Args:
        config: which.
        classes: number of classes, for mixed labels.
    """

    def __init__(self, config: AugmentConfig, classes: int) -> None:
        self.config, self.classes = config, classes
        self._trivial = self._erase = self._mix = None
        if config.level == "strong":
            from torchvision.transforms import v2

            self._trivial = v2.TrivialAugmentWide()
            self._erase = v2.RandomErasing(p=0.25)
            mixes = [v2.MixUp(alpha=0.8, num_classes=classes), v2.CutMix(alpha=1.0, num_classes=classes)]
            self._mix = v2.RandomChoice(mixes)

    def images(self, images: Tensor) -> Tensor:
        """Bytes or floats (B, C, Y, X), changed."""
        if self.config.level == "none":
            return images
        images = _shifted(images, self.config.shift)
        if self.config.mirror:
            chosen = torch.rand(len(images)) < 0.5
            images = torch.where(chosen[:, None, None, None], images.flip(-1), images)
        if self._trivial is not None and images.dtype == torch.uint8 and images.shape[1] in (1, 3):
            images = torch.stack([self._trivial(image) for image in images])
        return images

    def mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised images with erased rectangles, and mixed ones with shares of labels (B, classes)."""
        if self._erase is None or self._mix is None:
            return images, labels
        images = torch.stack([self._erase(image) for image in images])
        if len(images) < 2 or float(torch.rand(())) < 0.5:
            return images, labels
        return self._mix(images, labels)


def _shifted(images: Tensor, shift: float) -> Tensor:
    """Each image moved by its own offset; what comes in at the border repeats the border."""
    down, right = (round(shift * side) for side in images.shape[2:])
    if not down and not right:
        return images
    count, _, height, width = images.shape
    padded = F.pad(images.float(), (right, right, down, down), mode="replicate").to(images.dtype)
    rows = torch.randint(0, 2 * down + 1, (count, 1)) + torch.arange(height)
    columns = torch.randint(0, 2 * right + 1, (count, 1)) + torch.arange(width)
    which = torch.arange(count)[:, None, None]
    return padded.transpose(1, 0)[:, which, rows[:, :, None], columns[:, None, :]].transpose(1, 0)
