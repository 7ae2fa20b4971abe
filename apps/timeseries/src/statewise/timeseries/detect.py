"""`forecast detect`: values that a forecast one step ahead did not expect.

A linear map of the window (NLinear of one step, in closed form) is fitted on the first rows of each series,
the training rows. Its residuals there are made without the rows they are of: each half is forecast by the map
of the other half. The threshold is a margin times the largest of them, and no later row can move it. From
then on a value whose residual exceeds the threshold is an anomaly; what follows sees the forecast in its
place, so that one spike is not also the surprise of the steps after it, for as many steps as the window is
long: a level that stays is taken as the new one.

Letters: n steps of a series, L lookback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from statewise.core.config import require
from statewise.core.errors import DataError
from statewise.timeseries.detection_scores import stretches
from statewise.timeseries.history import fill_missing
from statewise.timeseries.models.window_fit import Choice, Rows, WindowMap, fit_map
from statewise.timeseries.panel import Panel, Series

__all__ = ["DetectConfig", "Detected", "detect"]

_STRENGTH = 10.0  # of the ridge penalty, in windows


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """What counts as an anomaly."""

    train: float = 0.15
    """Share of each series, its first rows, that the forecast and the threshold come from."""
    margin: float = 1.5
    """The threshold, in units of the largest residual on the training rows."""
    lookback: int = 24
    """Steps the forecast sees, L; less where the training rows are few."""

    def __post_init__(self) -> None:
        require(0 < self.train < 1, "train", self.train, "above 0 and below 1")
        require(self.margin > 0, "margin", self.margin, "above 0")
        require(self.lookback >= 2, "lookback", self.lookback, "2 or more steps")


@dataclass(frozen=True, kw_only=True)
class Detected:
    """What was found in one series."""

    series: Series
    trained: int
    """Training rows; none of them is judged."""
    expected: np.ndarray
    """The forecast of each step from those before it, (n,); NaN in the first window."""
    score: np.ndarray
    """Absolute residual over threshold, (n,): an anomaly above 1; 0 where nothing was observed or judged."""

    @property
    def anomalies(self) -> np.ndarray:
        """Which steps are anomalies, (n,) bool."""
        return self.score > 1

    @property
    def events(self) -> list[tuple[int, int]]:
        """Anomalies that follow each other, as first and last step."""
        return stretches(self.anomalies)


def detect(panel: Panel, config: DetectConfig) -> list[Detected]:
    """Judge every series by itself.

    Raises:
        DataError: a series is too short to train on, or does not vary in its training rows.
    """
    return [_detect(series, config) for series in panel.series]


def _detect(series: Series, config: DetectConfig) -> Detected:
    trained = int(config.train * len(series))
    lookback = min(config.lookback, trained // 4)
    if lookback < 2:
        raise DataError(
            "has too few rows to learn what is usual",
            where=f"series '{series.id}'",
            seen=f"{trained} training rows",
            expected="8 or more",
            fix="raise --train, the share of rows at the beginning to learn from",
        )
    head = series.values[:trained]
    filled, observed = fill_missing(head), np.isfinite(head)
    mean, scale = filled.mean(), filled.std()
    if not scale > 0:
        raise DataError(
            "does not vary in its training rows",
            where=f"series '{series.id}'",
            seen=f"always {filled[0]:g}",
            expected="values that vary",
            fix="raise --train, or leave the series out with --target",
        )
    values = (filled - mean) / scale
    usual = _residuals_out_of_fold(values, observed, lookback)
    threshold = config.margin * usual.max(initial=0.0)
    if not threshold > 0:
        threshold = 1e-9  # a series that is forecast exactly: any surprise is one
    weights = _map([Rows(values=values, observed=observed)], lookback)
    expected, residual = _walk((series.values - mean) / scale, trained, weights, threshold)
    score = np.where(np.isfinite(residual), residual, 0.0) / threshold
    score[:trained] = 0.0
    return Detected(series=series, trained=trained, expected=expected * scale + mean, score=score)


def _map(rows: Sequence[Rows], lookback: int) -> np.ndarray:
    """Weights (L,) of one step ahead, without bias, relative to the last value."""
    form = WindowMap(horizon=1, anchored=True, features=_less_last)
    choice = Choice(lookback=lookback, strength=_STRENGTH, error=np.inf)
    weights = fit_map(rows, form, choice)[0][:, 0].copy()
    weights[-1] += 1
    return weights


def _less_last(lookback: int) -> np.ndarray:
    return np.concatenate((np.eye(lookback - 1), -np.ones((lookback - 1, 1))), axis=1)


def _residuals_out_of_fold(values: np.ndarray, observed: np.ndarray, lookback: int) -> np.ndarray:
    """Absolute residuals of the training rows, each half by the map of the other half."""
    middle = len(values) // 2
    halves = (slice(0, middle), slice(middle, None))
    windows = np.lib.stride_tricks.sliding_window_view(values, lookback)[:-1]
    targets = np.arange(lookback, len(values))
    found = []
    for own, other in (halves, halves[::-1]):
        weights = _map([Rows(values=values[other], observed=observed[other])], lookback)
        mine = np.zeros(len(values), dtype=bool)
        mine[own] = True
        use = (mine & observed)[targets]
        found.append(np.abs(values[targets] - windows @ weights)[use])
    return np.concatenate(found)


def _walk(
    values: np.ndarray, trained: int, weights: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Forecast and absolute residual of each step, (n,) each, anomalies and gaps replaced by the forecast."""
    lookback, patience = len(weights), len(weights)
    seen = values.copy()
    seen[:trained] = fill_missing(values[:trained])
    expected, residual = np.full(len(values), np.nan), np.full(len(values), np.nan)
    streak = 0
    for t in range(lookback, len(values)):
        expected[t] = seen[t - lookback : t] @ weights
        if t < trained:
            continue
        if np.isnan(values[t]):
            seen[t] = expected[t]
            continue
        residual[t] = abs(values[t] - expected[t])
        streak = streak + 1 if residual[t] > threshold else 0
        if 0 < streak < patience:
            seen[t] = expected[t]
        elif streak == patience:  # it stays: from here on the past is what it was
            taken = slice(t - patience + 1, t + 1)
            seen[taken] = np.where(np.isnan(values[taken]), seen[taken], values[taken])
            streak = 0
    return expected, residual
