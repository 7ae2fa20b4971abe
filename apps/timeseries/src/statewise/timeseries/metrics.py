"""How far forecasts are from what happened.

Every function takes arrays of one shape (windows, steps, or both; the mean runs over all of them) and
leaves out the places where the actual value is missing (NaN). Without any observed place the result is NaN.

Letters: y actual value, f forecast, e = y - f, Q quantile levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["coverage", "interval_score", "mae", "mase", "mse", "pinball", "seasonal_scale", "smape", "width"]

_TINY = 1e-100  # a level to divide by is larger


def mse(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Mean squared error, mean(e²), in squared units of the data."""
    return _mean((actual - forecast) ** 2, actual)


def mae(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error, mean(|e|), in units of the data."""
    return _mean(np.abs(actual - forecast), actual)


def seasonal_scale(history: np.ndarray, period: int) -> float:
    """What a seasonal naive forecast misses by within the history: the unit of MASE.

    mean_t |y_t - y_{t-m}| with the period m, over the pairs that are both observed (Hyndman & Koehler,
    "Another look at measures of forecast accuracy", 2006). Where that is zero or has no pair, the steps are
    tried next (m = 1), then the mean of |y|, and 1 for a history of zeros or without observations: the
    scale is always positive and finite.

    Args:
        history: the rows that a method was fitted on, (L,); never the rows it is judged on.
        period: steps in the season, m.
    """
    level = float(np.nanmean(np.abs(history))) if np.isfinite(history).any() else 0.0
    for lag in (period, 1):
        difference = np.abs(history[lag:] - history[:-lag])
        # what rounding leaves of a constant is no scale
        if np.isfinite(difference).any() and (scale := float(np.nanmean(difference))) > 1e-12 * level:
            return scale
    return level if level > _TINY else 1.0


def mase(actual: np.ndarray, forecast: np.ndarray, scale: float | np.ndarray) -> float:
    """Mean absolute scaled error, mean(|e| / scale): 1 is what a season-old value missed by in the history.

    Args:
        actual: y.
        forecast: f, of the same shape.
        scale: `seasonal_scale` of the history; an array broadcasts, for windows of several series.
    """
    return _mean(np.abs(actual - forecast) / scale, actual)


def smape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Symmetric mean absolute % error, 200 mean(|e| / (|y| + |f|)), in 0..200; 0 where both are zero.

    The form of the M4 competition (Makridakis, Spiliotis & Assimakopoulos, 2020).
    """
    size = np.abs(actual) + np.abs(forecast)
    return _mean(200 * np.abs(actual - forecast) / np.where(size == 0, 1.0, size), actual)


def pinball(actual: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> float:
    """Mean pinball (quantile) loss, mean(max(q (y - f_q), (q - 1)(y - f_q))), in units of the data.

    At q = 1/2 alone it is half the MAE; the mean over many levels approaches half the CRPS.

    Args:
        actual: y, of any shape.
        quantiles: forecasts of the quantiles, shape of `actual` + (Q,).
        levels: q of each, in (0, 1).
    """
    error = actual[..., None] - quantiles
    q = np.asarray(levels)
    return _mean(np.maximum(q * error, (q - 1) * error).mean(axis=-1), actual)


def coverage(actual: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Share of actual values inside [lower, upper], in 0..1."""
    return _mean(((lower <= actual) & (actual <= upper)).astype(float), actual)


def width(lower: np.ndarray, upper: np.ndarray) -> float:
    """Mean width of the intervals, mean(upper - lower), in units of the data."""
    return float(np.mean(upper - lower)) if np.size(lower) else float("nan")


def interval_score(actual: np.ndarray, lower: np.ndarray, upper: np.ndarray, level: float) -> float:
    """Width plus a fine for each miss: mean(u - l + 2/a (l - y)_+ + 2/a (y - u)_+) with a = 1 - level.

    Proper: it is smallest, in expectation, for the true quantiles (Gneiting & Raftery, "Strictly proper
    scoring rules", 2007).

    Args:
        actual: y.
        lower: l.
        upper: u.
        level: nominal coverage, such as 0.8.
    """
    miss = np.maximum(lower - actual, 0) + np.maximum(actual - upper, 0)
    return _mean(upper - lower + 2 / (1 - level) * miss, actual)


def _mean(errors: np.ndarray, actual: np.ndarray) -> float:
    """Mean over the places where `actual` is observed."""
    observed = np.isfinite(actual)
    return float(errors[observed].mean()) if observed.any() else float("nan")
