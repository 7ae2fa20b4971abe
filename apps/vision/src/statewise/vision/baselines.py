"""What every report shows beside a model: naming the commonest class, and a linear map of the pixels.

The linear map is ridge regression of one-hot labels on images of at most 16 x 16, in closed form; its penalty
and the temperature of its probabilities are chosen on the validation images.

Letters: n images, F pixel values and a constant, K classes.
"""

from __future__ import annotations

import numpy as np

from statewise.vision.pixels import PixelSet, Shape, resized
from statewise.vision.splits import Parts

__all__ = ["commonest", "linear"]

_SIDE = 16
_PENALTIES = (1e-3, 1e-1, 1e1, 1e3)
_TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_MOST = 20_000


def commonest(pixels: PixelSet, parts: Parts) -> np.ndarray:
    """The shares of the classes among the training images, for every test image, (n, K)."""
    classes = len(pixels.source.classes)
    counts = np.bincount(pixels.source.labels[parts.train], minlength=classes)
    return np.tile(counts / counts.sum(), (len(parts.test), 1))


def linear(pixels: PixelSet, parts: Parts) -> np.ndarray:
    """Probabilities (n, K) of the test images by a linear map of their pixels."""
    labels = pixels.source.labels
    train = parts.train[:: -(-len(parts.train) // _MOST)]
    x = _features(pixels, train)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    x = _extended((x - mean) / scale)
    y = np.eye(len(pixels.source.classes))[labels[train]]
    choose = parts.validation if len(parts.validation) else train
    inside = _extended((_features(pixels, choose) - mean) / scale)
    outside = _extended((_features(pixels, parts.test) - mean) / scale)
    gram, cross = x.T @ x, x.T @ y
    best, found = np.inf, np.empty(0)
    for penalty in _PENALTIES:
        weights = np.linalg.solve(gram + penalty * len(x) / 100 * np.eye(len(gram)), cross)
        for temperature in _TEMPERATURES:
            own = np.take_along_axis(_softmax(inside @ weights / temperature), labels[choose][:, None], 1)
            loss = -np.log(np.maximum(own, 1e-12)).mean()
            if loss < best:
                best, found = loss, _softmax(outside @ weights / temperature)
    return found


def _features(pixels: PixelSet, which: np.ndarray) -> np.ndarray:
    """(n, F - 1) pixel values of small copies, float64."""
    values, shape = pixels.values, pixels.shape
    if max(shape.height, shape.width) > _SIDE:
        small = Shape(
            channels=shape.channels,
            height=min(shape.height, _SIDE),
            width=min(shape.width, _SIDE),
            fit="stretch",
        )
        values = np.stack([resized(values[i].transpose(1, 2, 0), small) for i in which])
    else:
        values = values[which]
    scale = 255.0 if values.dtype == np.uint8 else 1.0
    return values.reshape(len(which), -1) / scale


def _extended(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
