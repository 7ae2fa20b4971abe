"""The scoreboard: how each method did on each block, in numbers that may be compared between series.

Errors, pinball losses and widths are in units of the series' scale (the in-sample error of seasonal naive,
see `metrics.seasonal_scale`), so that 1 means as much as last season's value misses by; each series weighs
the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from statewise.timeseries import metrics

__all__ = ["Score", "Split", "average", "score"]

Split = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one method came to on one block, of one series or on average over several."""

    mase: float
    """Mean absolute scaled error."""
    smape: float
    """Symmetric mean absolute percentage error, 0..200."""
    pinball: float
    """Mean pinball loss of the median and of the bounds of all intervals, in units of the scale."""
    coverage: tuple[float, ...]
    """Share of actual values inside the interval of each level; NaN where nothing calibrates it."""
    width: tuple[float, ...]
    """Mean width of the interval of each level, in units of the scale."""
    windows: int
    """Forecast origins, over all series."""


def score(
    actual: np.ndarray, forecast: np.ndarray, apart: np.ndarray, scale: float, levels: Sequence[float]
) -> Score:
    """The score of one series.

    Args:
        actual: (O, H), NaN where a value is missing.
        forecast: (O, H).
        apart: how far the bounds lie below and above the forecast, (O, 2, Q, H); NaN where nothing
            calibrates them: such origins count for the errors only.
        scale: of the series.
        levels: nominal coverages, (Q,).
    """
    actual, forecast, apart = actual / scale, forecast / scale, apart / scale
    ready = np.isfinite(apart).all(axis=(1, 2, 3))
    inside = actual[ready]
    lower, upper = forecast[ready, None] - apart[ready, 0], forecast[ready, None] + apart[ready, 1]
    bounds = np.concatenate((forecast[ready, None], lower, upper), axis=1)
    tails = [(1 - level) / 2 for level in levels]
    quantiles = [0.5, *tails, *(1 - tail for tail in tails)]
    places = range(len(levels))
    return Score(
        mase=metrics.mase(actual, forecast, 1.0),
        smape=metrics.smape(actual, forecast),
        pinball=metrics.pinball(inside, np.moveaxis(bounds, 1, 2), quantiles),
        coverage=tuple(metrics.coverage(inside, lower[:, q], upper[:, q]) for q in places),
        width=tuple(metrics.width(lower[:, q], upper[:, q]) for q in places),
        windows=len(actual),
    )


def average(scores: Mapping[str, Score]) -> Score:
    """Mean over series, by id; a series without a figure does not count in it."""
    every = list(scores.values())

    def mean(values: Sequence[float]) -> float:
        known = [value for value in values if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")

    return Score(
        mase=mean([one.mase for one in every]),
        smape=mean([one.smape for one in every]),
        pinball=mean([one.pinball for one in every]),
        coverage=tuple(mean(column) for column in zip(*(one.coverage for one in every), strict=True)),
        width=tuple(mean(column) for column in zip(*(one.width for one in every), strict=True)),
        windows=sum(one.windows for one in every),
    )
