"""Image classification for the shared loop.

Letters: B batch, C channels, Y and X pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.vision.augment import Augmenter
from statewise.vision.average import Averaged
from statewise.vision.pixels import PixelSet

__all__ = ["ImageTask", "Standard", "probabilities"]

_AT_ONCE = 4_000_000
"""Pixel values per batch of an evaluation."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """Mean and deviation of each channel, of pixels from 0 to 1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, values: np.ndarray) -> Standard:
        """Those of images (n, C, Y, X)."""
        scale = 255.0 if values.dtype == np.uint8 else 1.0
        axes = (0, 2, 3)
        mean = values.mean(axes, dtype=np.float64) / scale
        deviation = values.std(axes, dtype=np.float64) / scale
        # a channel without any contrast stays as it is
        deviation = np.where(deviation < 1e-3, 1.0, deviation)
        return cls(mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))

    def apply(self, images: Tensor) -> Tensor:
        """Bytes or floats (B, C, Y, X) to standardised float32."""
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        mean = images.new_tensor(self.mean, dtype=torch.float32)[:, None, None]
        deviation = images.new_tensor(self.deviation, dtype=torch.float32)[:, None, None]
        return (images.float() / scale - mean) / deviation


class ImageTask:
    """Cross-entropy on the training images, the error rate on the validation images.

    Args:
        network: classifies (B, C, Y, X) into K classes.
        pixels: all images.
        standard: of the training images.
        train: indices that train.
        validation: indices that choose the weights.
        augment: changes training images; None leaves them alone.
        smoothing: share of each label that is spread over all classes.
        average: decay of the running average of the weights; 0 for none.
    """

    monitor = "val_error"

    def __init__(
        self,
        network: nn.Module,
        pixels: PixelSet,
        standard: Standard,
        train: np.ndarray,
        validation: np.ndarray,
        *,
        augment: Augmenter | None = None,
        smoothing: float = 0.0,
        average: float = 0.0,
    ) -> None:
        self.averaged = Averaged(network, average)
        self.model: nn.Module = self.averaged
        self.pixels, self.standard, self.augment, self.smoothing = pixels, standard, augment, smoothing
        self._train, self._validation = torch.from_numpy(train), validation
        self._labels = torch.from_numpy(pixels.source.labels)

    @property
    def size(self) -> int:
        return len(self._train)

    def batch(self, indices: Tensor) -> Any:
        chosen = self._train[indices]
        images = torch.from_numpy(self.pixels.values[chosen.numpy()])
        labels = self._labels[chosen]
        if self.augment is None:
            return self.standard.apply(images), labels
        return self.augment.mixed(self.standard.apply(self.augment.images(images)), labels)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        images, labels = batch
        return F.cross_entropy(model(images).float(), labels, label_smoothing=self.smoothing)

    def validate(self, model: nn.Module) -> dict[str, float]:
        if not len(self._validation):
            return {}
        found = probabilities(model, self.pixels.values[self._validation], self.standard)
        labels = self.pixels.source.labels[self._validation]
        own = np.take_along_axis(found, labels[:, None], 1)
        return {
            "val_error": float((found.argmax(1) != labels).mean()),
            "val_loss": float(-np.log(np.maximum(own, 1e-12)).mean()),
        }


@torch.no_grad()
def probabilities(model: nn.Module, values: np.ndarray, standard: Standard) -> np.ndarray:
    """Class probabilities (n, K) float64 of images (n, C, Y, X), in batches that fit into memory."""
    device = next(model.parameters()).device
    size = max(1, _AT_ONCE // int(np.prod(values.shape[1:])))
    found = []
    for begin in range(0, len(values), size):
        images = torch.from_numpy(np.ascontiguousarray(values[begin : begin + size])).to(device)
        found.append(torch.softmax(model(standard.apply(images)).double(), -1).cpu().numpy())
    return np.concatenate(found)
