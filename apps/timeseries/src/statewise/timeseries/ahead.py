"""How the intervals of the choice did on the test rows, by how far ahead they lay.

Letters: O origins, Q levels, H horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statewise.timeseries.auto import AutoResult
from statewise.timeseries.backtest import actuals
from statewise.timeseries.metrics import seasonal_scale

__all__ = ["Ahead", "coverage_ahead"]

_PARTS = 4  # of the horizon, at most


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """A part of the horizon."""

    first: int
    """Its first step, from 1 on."""
    last: int
    coverage: tuple[float, ...]
    """Share of actual values inside, by level, each series weighing the same."""
    width: tuple[float, ...]
    """Mean width by level, in units of what last season's value misses by over the history."""


def coverage_ahead(result: AutoResult) -> list[Ahead]:
    """By quarters of the horizon; empty where nothing calibrates the intervals."""
    plan, series = result.plan, {one.id: one for one in result.plan.panel.series}
    inside, widths = [], []
    for name, at, use in zip(plan.panel.ids, plan.origins, plan.testing(), strict=True):
        if name not in result.calibration.past or not use.any():
            continue
        apart = result.calibration.extents(name)[use]
        error = actuals(series[name], at[use], plan.horizon) - result.forecasts[name][use]
        known = np.isfinite(apart).all(axis=1) & np.isfinite(error)[:, None]
        hit = (error[:, None] >= -apart[:, 0]) & (error[:, None] <= apart[:, 1])
        scale = seasonal_scale(series[name].values, result.portfolio.context.period)
        inside.append(_mean(hit, known))
        widths.append(_mean(apart.sum(axis=1) / scale, known))
    if not inside:
        return []
    shares, sizes = np.nanmean(inside, axis=0), np.nanmean(widths, axis=0)
    parts = np.array_split(np.arange(plan.horizon), min(_PARTS, plan.horizon))
    return [
        Ahead(
            first=int(part[0]) + 1,
            last=int(part[-1]) + 1,
            coverage=tuple(shares[:, part].mean(axis=1).tolist()),
            width=tuple(sizes[:, part].mean(axis=1).tolist()),
        )
        for part in parts
    ]


def _mean(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Over the origins at which something is known, (Q, H); NaN where nothing is."""
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
