"""Ridge regression of the steps ahead on the window before them, from window moments alone.

Letters: L lookback, H horizon, M = L + H, K features, n windows; features Z (n, K), targets Y (n, H).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from statewise.timeseries.models.moments import WindowMoments

__all__ = ["STRENGTHS", "Design", "held_out_errors", "solve"]

STRENGTHS = tuple(float(s) for s in 10.0 ** np.arange(-2, 6.5, 0.5))
"""Regularisation strengths to choose from, in windows (see `solve`)."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Features and targets as linear maps of a window w (M,): z = P w, y = T w."""

    features: np.ndarray
    """P, (K, M)."""
    targets: np.ndarray
    """T, (H, M)."""


def solve(moments: WindowMoments, design: Design, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Minimise |Y - Z W - b|² + s v |W|², where v is the mean variance of the features.

    The strength s counts in windows: the penalty weighs as much as s windows that say W = 0, so that it
    keeps its meaning when there are more windows.

    Returns:
        W (K, H) and b (H,), which is not penalised.
    """
    gram, cross, mean_z, mean_y = _centred(moments, design)
    ridge = _ridge(gram, moments.count, strength)
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), cross)
    return weights, mean_y - mean_z @ weights


def held_out_errors(
    train: WindowMoments, held_out: WindowMoments, design: Design, strengths: Sequence[float] = STRENGTHS
) -> np.ndarray:
    """Mean squared error, per step ahead, on windows not fitted on: one for each strength.

    With everything centred on the training means, |Y - Z W|² = |Y|² - 2 <W, Z'Y> + <W, Z'Z W>, in the
    eigenbasis of the training features, where the solution for another strength is only another division.
    """
    gram, cross, _, _ = _centred(train, design)
    variances, basis = np.linalg.eigh(gram)
    rotated = basis.T @ cross
    mean = train.total / max(train.count, 1)
    shift = np.outer(held_out.total, mean)
    about = held_out.gram - shift - shift.T + held_out.count * np.outer(mean, mean)
    features = basis.T @ design.features
    half = features @ about
    zz, zy = half @ features.T, half @ design.targets.T
    yy = float(np.sum((design.targets @ about) * design.targets))
    errors = []
    for strength in strengths:
        # rounding may leave variances just below zero
        ridge = _ridge(gram, train.count, strength)
        weights = rotated / (np.maximum(variances, 0) + ridge)[:, None]
        errors.append(yy + float(np.sum(weights * (zz @ weights - 2 * zy))))
    return np.array(errors) / (held_out.count * len(design.targets))


def _centred(moments: WindowMoments, design: Design) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Z'Z (K, K) and Z'Y (K, H) about the means, and the means of z (K,) and y (H,)."""
    n = max(moments.count, 1)
    mean = moments.total / n
    mean_z, mean_y = design.features @ mean, design.targets @ mean
    half = design.features @ moments.gram
    gram = half @ design.features.T - n * np.outer(mean_z, mean_z)
    cross = half @ design.targets.T - n * np.outer(mean_z, mean_y)
    return gram, cross, mean_z, mean_y


def _ridge(gram: np.ndarray, count: int, strength: float) -> float:
    """What is added to the diagonal; 1 where the features do not vary at all, so that their weights are 0."""
    spread = float(np.trace(gram))
    return strength * spread / (len(gram) * count) if spread > 0 else 1.0
