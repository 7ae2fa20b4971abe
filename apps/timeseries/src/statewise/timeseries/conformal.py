"""Intervals from what a method missed by: split-conformal per step ahead, adapted while it is in use.

Split-conformal (Vovk et al. 2005; Lei et al., "Distribution-free predictive inference for regression", JASA
2018): of n absolute residuals of earlier forecasts, the ceil((n+1) l)-th smallest is the half-width that
covers the next one with probability l at least, if they are exchangeable. Series in time are not, so each
half-width is then steered,

    w = q exp(a),    a <- a + eta (miss - (1 - l))    for every residual that has become known,

which makes the share of misses over T residuals differ from 1 - l by (a_T - a_0) / (eta T) exactly, whatever
the series does: quantile tracking as in Angelopoulos, Candès & Tibshirani, "Conformal PID control", 2023, on
the scale of Gibbs & Candès, "Adaptive conformal inference under distribution shift", 2021. At an origin only
those residuals count whose actual value lies before it.

A method that says itself how far its bounds should lie from the forecast (`Forecaster.spreads`) has its
residuals divided by these distances, level by level, and its half-widths multiplied by them: conformalized
quantile regression with a factor in place of a shift, so that no width is ever negative (see `quantiles`).

Dividing residuals by the recent volatility of the series was tried and left out: it did not narrow the
intervals.

Letters: O origins, S series, H horizon, Q levels, n residuals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

from statewise.timeseries.config import ConformalConfig

__all__ = ["extents", "half_widths", "track"]

_ENOUGH = 20  # origins with which a series stands alone; with fewer it borrows from the others
_GROWTH = 1.1  # factor by which the residuals grow until their quantiles are taken again


def extents(half: np.ndarray, spreads: np.ndarray | None = None) -> np.ndarray:
    """How far the bounds lie below and above the forecast, (..., 2, Q, H), not falling from level to level.

    Args:
        half: half-widths, (..., Q, H).
        spreads: what they are multiplied by, (..., 2, Q, H) positive; None for ones.
    """
    both = np.stack([half, half], axis=-3)
    return np.maximum.accumulate(both if spreads is None else both * spreads, axis=-2)


def half_widths(residuals: np.ndarray, levels: Sequence[float], scale: np.ndarray, stride: int) -> np.ndarray:
    """Split-conformal half-widths, (Q, S, H), not falling from level to level.

    A step ahead takes in the residuals of its neighbouring steps until 2 / (1 - l) of them are there.
    Forecasts that overlap miss by nearly the same, so that few of them understate the spread: the quantile is
    widened as Student's t is against the normal distribution, with one degree of freedom for each forecast
    that overlaps with no other. Where the residuals are too few for the level, the half-width is the larger
    of the largest one and Student's t times their root mean square. A series with few origins uses the
    residuals of all series, in units of their scales.

    Args:
        residuals: actual minus forecast, (n, S, H); NaN where it is not known.
        levels: nominal coverages, ascending.
        scale: size of each series' ordinary error, (S,), positive.
        stride: steps between the origins that the rows belong to.

    Returns:
        NaN where nothing is known at all.
    """
    errors = np.abs(residuals)
    rows = np.isfinite(errors).any(axis=2).sum(axis=0)
    few = (rows < _ENOUGH) & (errors.shape[1] > 1)
    widths = np.full((len(levels), *errors.shape[1:]), np.nan)
    for count in np.unique(rows[~few]):
        like = ~few & (rows == count)
        widths[:, like] = _quantiles(errors[:, like], int(count), levels, stride)
    if few.any():
        shared = (errors / scale[:, None]).reshape(-1, 1, errors.shape[2])
        widths[:, few] = _quantiles(shared, int(rows.sum()), levels, stride) * scale[few, None]
    return np.maximum.accumulate(widths, axis=0)


def track(
    residuals: np.ndarray, origins: np.ndarray, end: int, config: ConformalConfig, scale: np.ndarray
) -> np.ndarray:
    """Half-widths in force at each origin, and at the end of the series.

    Args:
        residuals: actual minus forecast, (O, S, H); NaN where the actual value is missing.
        origins: when each forecast was made, (O,) ascending, on a clock that all series share; the residual
            of step h (from 0 on) is known from origin + h + 1 on.
        end: the origin of the next forecast, on the same clock.
        config: levels and adaptation.
        scale: size of each series' ordinary error, (S,), positive.

    Returns:
        (O+1, Q, S, H); NaN until there is a residual of every step.
    """
    steps, stride = np.arange(residuals.shape[2]), int(np.diff(origins).min(initial=residuals.shape[2]))
    levels = np.asarray(config.levels)
    widths = np.full((len(origins) + 1, len(levels), *residuals.shape[1:]), np.nan)
    shift = np.zeros(widths.shape[1:])
    base = np.full_like(shift, np.nan)
    done, counted = np.zeros(len(steps), dtype=int), 0
    for row, now in enumerate(np.append(origins, end)):
        known = np.searchsorted(origins, now - steps, side="left")
        while (ahead := np.flatnonzero(done < known)).size:
            past = done[ahead]
            error, width = np.abs(residuals[past, :, ahead]), widths[past, :, :, ahead]
            miss = (error[:, None] > width) - (1 - levels[:, None])
            usable = np.isfinite(error[:, None]) & np.isfinite(width)
            shift[:, :, ahead] += config.adapt * np.moveaxis(np.where(usable, miss, 0.0), 0, 2)
            done[ahead] += 1
        if known.sum() >= _GROWTH * counted and known[-1]:
            usable_rows = np.arange(known[0])[:, None, None] < known
            base = half_widths(
                np.where(usable_rows, residuals[: known[0]], np.nan), levels.tolist(), scale, stride
            )
            counted = int(known.sum())
        widths[row] = np.maximum.accumulate(base * np.exp(shift), axis=0)
    return widths


def _quantiles(errors: np.ndarray, rows: int, levels: Sequence[float], stride: int) -> np.ndarray:
    """Half-widths (Q, S, H) from absolute errors (n, S, H), of which `rows` per series are known."""
    horizon = errors.shape[2]
    # forecasts of one step from origins less than that step apart overlap: they count as parts of one
    separate = np.maximum(1.0, rows * np.minimum(1.0, stride / np.arange(1, horizon + 1)))
    result = []
    for level in levels:
        wanted = int(np.ceil(2 / (1 - level) / max(rows, 1)))
        span = min(2 * (wanted // 2) + 1, horizon)
        first = np.clip(np.arange(horizon) - span // 2, 0, horizon - span)
        near = first + np.arange(span)[:, None]
        # (n, S, span, H) with the rows and the neighbouring steps together in front
        pool = np.moveaxis(errors[:, :, near], 2, 1).reshape(-1, errors.shape[1], horizon)
        result.append(_half_width(pool, level, separate))
    return np.stack(result)


def _half_width(pool: np.ndarray, level: float, separate: np.ndarray) -> np.ndarray:
    """(S, H) from absolute errors (n, S, H), NaN where unknown, worth `separate` (H,) independent ones."""
    known = np.isfinite(pool)
    n = known.sum(axis=0)
    rank = np.ceil((n + 1) * level - 1e-9).astype(int)
    ordered = np.sort(np.where(known, pool, np.inf), axis=0)
    value = np.take_along_axis(ordered, (np.clip(rank, 1, np.maximum(n, 1)) - 1)[None], axis=0)[0]
    spread = np.sqrt((np.where(known, pool, 0.0) ** 2).sum(axis=0) / np.maximum(n, 1))
    tail = stdtrit(separate, (1 + level) / 2)
    value = np.where(rank > n, np.maximum(value, tail * spread), value * tail / ndtri((1 + level) / 2))
    return np.where(n == 0, np.nan, value)
