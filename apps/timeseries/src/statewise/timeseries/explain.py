"""`forecast explain`: what a fitted forecast rests on, by asking it what would have been.

Each of the last values, and each covariate over the horizon, is moved a little and the forecast made again:
the change per unit is the weight of that value. For a linear method, an autoregression and exponential
smoothing these are its coefficients; for a network they are its slope at this forecast and no other.

Letters: H horizon, K lags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from statewise.core.errors import DataError, suggestion
from statewise.timeseries.metrics import seasonal_scale
from statewise.timeseries.models.blend import Blend, members_of
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.readings import Readings
from statewise.timeseries.saved import SavedForecast, load_forecast
from statewise.timeseries.season import find_seasons

__all__ = ["CovariateEffect", "Explanation", "LagWeight", "explain_run"]

_STEP = 0.1  # of the move, in units of what last season's value misses by
_SEASONS, _MOST = 2, 64  # of lags looked at: two seasons, at most and at least
_SPARSE = 24  # lags of a method that is fitted anew for each of them
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class LagWeight:
    """What one past value does."""

    lag: int
    """Steps before the first step forecast; 1 is the last value."""
    first: float
    """Change of the first step forecast per unit of that value."""
    mean: float
    """Mean absolute change over the horizon per unit."""


@dataclass(frozen=True, kw_only=True)
class CovariateEffect:
    """What a covariate does."""

    name: str
    first: float
    """Change of the first step forecast when the covariate is one unit higher over the horizon."""
    mean: float
    """Mean change over the horizon."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What the forecast of one series rests on."""

    series: str
    method: str
    seasons: tuple[tuple[int, float], ...]
    """Seasons that the history shows: steps, and strength from 0 to 1."""
    lags: tuple[LagWeight, ...]
    """The most important ones, those with the largest mean first."""
    looked: int
    """K, lags that were looked at."""
    share: float
    """Part of the absolute weight of all lags looked at that the ones listed hold."""
    covariates: tuple[CovariateEffect, ...]


def explain_run(path: str | Path, ids: Sequence[str] = ()) -> list[Explanation]:
    """Explain the forecasts of a saved model.

    Args:
        path: the run or model directory.
        ids: series to explain; empty for the first five.

    Raises:
        UserError: there is no such model or no such series.
    """
    saved = load_forecast(path)
    known = saved.panel.ids
    for name in ids:
        if name not in known:
            raise DataError(
                f"there is no series '{name}' in this model",
                where=str(path),
                expected=", ".join(known[:10]),
                fix=suggestion(name, known),
            )
    return [_explain(saved, name) for name in (ids or known[:5])]


def _explain(saved: SavedForecast, name: str) -> Explanation:
    series = next(one for one in saved.panel.series if one.id == name)
    portfolio = saved.portfolio
    method = portfolio.chosen.get(name, portfolio.default)
    lags = _lags(saved, series, method)
    weights = _lag_weights(saved, series, lags)
    ranked = sorted(weights, key=lambda one: -one.mean)[:_SHOWN]
    total = sum(one.mean for one in weights)
    return Explanation(
        series=name,
        method=_named(saved, method),
        seasons=tuple((s.period, s.strength) for s in find_seasons(series.values, saved.panel.frequency)),
        lags=tuple(one for one in ranked if one.mean > 1e-6),
        looked=len(lags),
        share=sum(one.mean for one in ranked) / total if total > 0 else 0.0,
        covariates=tuple(_covariate_effects(saved, series)),
    )


def _named(saved: SavedForecast, method: str) -> str:
    """The name of a method; of a blend its members too."""
    fitted = saved.portfolio.methods.get(method)
    return f"{method} {fitted.description}" if isinstance(fitted, Blend) else method


def _lags(saved: SavedForecast, series: Series, method: str) -> range:
    from statewise.timeseries.models import MODELS

    most = max(_SEASONS * saved.portfolio.context.period, _MOST)
    parts = members_of(saved.portfolio.methods[method]) if method in saved.portfolio.methods else {}
    if any(MODELS[name].facts.get("family") == "statistical" for name in (method, *parts)):
        most = _SPARSE
    return range(1, min(most, len(series)) + 1)


def _lag_weights(saved: SavedForecast, series: Series, lags: range) -> list[LagWeight]:
    """Forecasts with each value moved, less the forecast as it is, per unit."""
    step = _STEP * seasonal_scale(series.values, saved.portfolio.context.period)
    before = _point(saved, series)
    found = []
    for lag in lags:
        values = series.values.copy()
        if not np.isfinite(values[-lag]):
            continue
        values[-lag] += step
        change = (
            _point(saved, replace(series, values=values, readings=_raised(series, lag, step))) - before
        ) / step
        found.append(LagWeight(lag=lag, first=float(change[0]), mean=float(np.abs(change).mean())))
    return found


def _raised(series: Series, lag: int, step: float) -> Readings | None:
    """The rows of a series with those of its last step but `lag` - 1 moved by `step`."""
    if series.readings is None:
        return None
    there = np.floor(series.readings.times) == len(series) - lag
    return replace(series.readings, values=series.readings.values + step * there)


def _covariate_effects(saved: SavedForecast, series: Series) -> list[CovariateEffect]:
    """The same for each covariate, moved by one unit over the horizon."""
    if series.covariates is None:
        return []
    before = _point(saved, series)
    effects = []
    for place, name in enumerate(saved.panel.covariate_names):
        if name in saved.panel.unknown_ahead:
            continue
        moved = series.covariates.copy()
        moved[len(series) :, place] += 1.0
        change = _point(saved, replace(series, covariates=moved)) - before
        effects.append(CovariateEffect(name=name, first=float(change[0]), mean=float(change.mean())))
    return effects


def _point(saved: SavedForecast, series: Series) -> np.ndarray:
    """The forecast (H,) of a series, the others as they are."""
    others: Any = tuple(series if one.id == series.id else one for one in saved.panel.series)
    panel: Panel = replace(saved.panel, series=others)
    end = {series.id: np.array([len(series)])}
    return saved.portfolio.points(panel, end)[series.id].values[0]
