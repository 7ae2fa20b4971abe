"""What can be done with which series, before any method is tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from statewise.timeseries.backtest import cut
from statewise.timeseries.config import BacktestConfig
from statewise.timeseries.forecaster import Context
from statewise.timeseries.history import first_observed
from statewise.timeseries.panel import Panel, Series

__all__ = ["trimmed", "unusable", "usable_covariates"]


def trimmed(panel: Panel) -> Panel:
    """The series from their first observation on."""

    def trim(series: Series) -> Series:
        first = first_observed(series.values)
        if first in (0, len(series)):
            return series
        covariates = None if series.covariates is None else series.covariates[first:]
        return replace(
            series,
            times=series.times[first:],
            values=series.values[first:],
            covariates=covariates,
            readings=None if series.readings is None else series.readings.since(first),
        )

    return replace(panel, series=tuple(trim(series) for series in panel.series))


def usable_covariates(panel: Panel, horizon: int) -> tuple[Panel, list[str]]:
    """Without covariates that end before the forecast does but are needed there, and a note about them."""
    ahead = panel.known_ahead
    missing = [
        series.id
        for series in panel.series
        if ahead.any() and (series.covariates is None or len(series.covariates) < len(series) + horizon)
    ]
    if not missing:
        return panel, []
    lost = [name for name, known in zip(panel.covariate_names, ahead, strict=True) if known]
    note = (
        f"covariates {', '.join(lost)} are not used: series '{missing[0]}' "
        f"does not have them for the {horizon} steps to forecast"
    )
    bare = tuple(replace(series, covariates=_columns(series, ~ahead)) for series in panel.series)
    return replace(panel, series=bare, covariate_names=panel.unknown_ahead), [note]


def _columns(series: Series, keep: np.ndarray) -> np.ndarray | None:
    return None if series.covariates is None or not keep.any() else series.covariates[:, keep]


def unusable(panel: Panel, context: Context, config: BacktestConfig) -> dict[str, str]:
    """Series that no method can be judged on, and why."""
    reasons = {}
    for series in panel.series:
        observed = series.values[np.isfinite(series.values)]
        block = cut(len(series), context.horizon, config)
        if not len(observed):
            reasons[series.id] = "no value was observed"
        elif np.ptp(observed) == 0:
            reasons[series.id] = f"its value is always {observed[0]:g}"
        elif block is None:
            reasons[series.id] = f"{len(series)} rows are too few to judge {context.horizon} steps ahead"
        elif np.isfinite(series.values[: block.train]).sum() < 3:
            reasons[series.id] = "hardly any value was observed in its first half"
    return reasons
