"""How good class probabilities are.

Letters: n images, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Score", "confusion", "score"]

_Z = 1.959963984540054  # 97.5 % of a normal distribution lie below
_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures over n images."""

    images: int
    accuracy: float
    low: float
    """Wilson's 95 % interval of the accuracy, lower end."""
    high: float
    balanced: float
    """Mean over the classes of the share that is found."""
    macro_f1: float
    """Mean over the classes of F1; 0 for a class that is never named rightly."""
    top5: float | None
    """Share whose class is among the five most probable; None with five classes or fewer."""
    log_loss: float
    """Mean negative log probability of the true class, nats."""
    calibration: float
    """Mean gap between confidence and accuracy over 15 bins of confidence, weighted by images."""


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(K, K) counts: row the true class, column the most probable one."""
    classes = probabilities.shape[1]
    pairs = labels * classes + probabilities.argmax(1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def score(labels: np.ndarray, probabilities: np.ndarray) -> Score:
    """All figures.

    Args:
        labels: true classes, (n,).
        probabilities: (n, K), rows that sum to one.
    """
    table = confusion(labels, probabilities).astype(np.float64)
    count, right = len(labels), np.diag(table)
    true, named = table.sum(1), table.sum(0)
    seen = true > 0
    f1 = 2 * right / np.maximum(true + named, 1)
    accuracy = float(right.sum() / count)
    low, high = _wilson(accuracy, count)
    own = np.take_along_axis(probabilities, labels[:, None], 1)[:, 0]
    return Score(
        images=count,
        accuracy=accuracy,
        low=low,
        high=high,
        balanced=float((right[seen] / true[seen]).mean()),
        macro_f1=float(f1[seen].mean()),
        top5=_top(labels, probabilities, 5) if probabilities.shape[1] > 5 else None,
        log_loss=float(-np.log(np.maximum(own, 1e-12)).mean()),
        calibration=_calibration(labels, probabilities),
    )


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's interval of a share (1927)."""
    centre = share + _Z**2 / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    scale = 1 + _Z**2 / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def _top(labels: np.ndarray, probabilities: np.ndarray, most: int) -> float:
    best = np.argpartition(-probabilities, most - 1, axis=1)[:, :most]
    return float((best == labels[:, None]).any(1).mean())


def _calibration(labels: np.ndarray, probabilities: np.ndarray) -> float:
    sure = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(sure[bins == b].mean() - right[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)
    ]
    return float(sum(gaps) / len(labels))
