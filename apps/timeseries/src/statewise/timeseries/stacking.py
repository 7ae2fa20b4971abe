"""Weights of a mean of methods, from what they missed by on validation rows.

    w = argmin w' (G + r g I) w,   w >= 0,   sum w = 1

with G the mean products of their errors, (K, K), and g its mean diagonal: the mean squared error of the
weighted mean itself, and a pull r towards equal weights (Bates and Granger, 1969; the pull, since estimated
weights seldom beat equal ones by much: Smith and Wallis, "A Simple Explanation of the Forecast Combination
Puzzle", 2009). The pull is chosen by leaving one stretch of time out at a time; so is the error that speaks
for the mean.

Letters: K methods, B blocks of time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

__all__ = ["PARTS", "blend_weights", "left_out_weights"]

PARTS = 4
"""Stretches of time, of which each is left out once."""
_PULLS = (0.01, 0.1, 1.0, 100.0)
_HEAVY = 1e3  # of the row that makes the weights add up to one


def blend_weights(grams: np.ndarray) -> np.ndarray:
    """The weights (K,) from the products of errors of each part of the time, (PARTS, K, K)."""
    return _weights(grams.sum(axis=0), _pull(grams))


def left_out_weights(grams: np.ndarray) -> np.ndarray:
    """Per part, the weights that the other parts give, (PARTS, K)."""
    pull = _pull(grams)
    return np.stack([_weights(rest, pull) for rest in _others(grams)])


def _pull(grams: np.ndarray) -> float:
    """The pull whose weights from the other parts err least on each part."""

    def error(pull: float) -> float:
        weights = [_weights(rest, pull) for rest in _others(grams)]
        return float(sum(w @ gram @ w for w, gram in zip(weights, grams, strict=True)))

    return min(reversed(_PULLS), key=error)


def _others(grams: np.ndarray) -> Sequence[np.ndarray]:
    return [grams.sum(axis=0) - gram for gram in grams]


def _weights(gram: np.ndarray, pull: float) -> np.ndarray:
    size = len(gram)
    level = float(np.trace(gram)) / size
    if not level > 0:
        return np.full(size, 1 / size)
    root = np.linalg.cholesky(gram / level + (pull + 1e-9) * np.eye(size)).T
    rows = np.concatenate([root, np.full((1, size), _HEAVY)])
    found, _ = nnls(rows, np.append(np.zeros(size), _HEAVY))
    return found / found.sum()
