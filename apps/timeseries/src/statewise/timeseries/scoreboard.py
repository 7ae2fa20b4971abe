"""The scoreboard of all methods, over both blocks, with intervals from what each had missed by until then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from statewise.timeseries import metrics
from statewise.timeseries.backtest import Plan, actuals
from statewise.timeseries.calibration import Calibration, calibrate
from statewise.timeseries.config import ConformalConfig
from statewise.timeseries.contest import Contender
from statewise.timeseries.scores import Score, Split, average, score

__all__ = ["Row", "judged_together", "rows_of", "validation_errors"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the scoreboard."""

    method: str
    split: Split
    score: Score | None
    """On average over the series that the method can forecast; None when it was not judged."""
    series: dict[str, Score]
    """The same for each series."""
    seconds: float
    """Wall time of all fits and forecasts on both blocks."""
    note: str = ""
    """Why it was left out, or failed somewhere."""


def judged_together(contenders: Sequence[Contender], plan: Plan) -> list[np.ndarray]:
    """Per series, the origins that all its methods forecast from, (O,) bool."""
    sparse = {name for contender in contenders if contender.sparse for name in contender.ids}
    return [
        few if series.id in sparse else np.ones(len(few), dtype=bool)
        for series, few in zip(plan.panel.series, plan.sparse, strict=True)
    ]


def validation_errors(
    contenders: Sequence[Contender], plan: Plan, judged: Sequence[np.ndarray], scales: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """MASE on the validation rows by method and series; NaN where nothing was observed.

    Args:
        contenders: after `run_validation`.
        plan: blocks and origins.
        judged: per series, the origins that count, (O,) bool.
        scales: of the series.
    """
    errors: dict[str, dict[str, float]] = {contender.name: {} for contender in contenders}
    masks = [a & b for a, b in zip(plan.validating(), judged, strict=True)]
    for series, at, use in zip(plan.panel.series, plan.origins, masks, strict=True):
        actual = actuals(series, at[use], plan.horizon)
        for contender in contenders:
            if series.id in contender.ids:
                forecast = contender.forecasts[series.id][use]
                errors[contender.name][series.id] = metrics.mase(actual, forecast, scales[series.id])
    return errors


def rows_of(
    name: str,
    forecasts: Mapping[str, np.ndarray],
    plan: Plan,
    judged: Sequence[np.ndarray],
    scales: Mapping[str, float],
    config: ConformalConfig,
    *,
    spreads: Mapping[str, np.ndarray] | None = None,
    seconds: float = 0.0,
    note: str = "",
) -> tuple[list[Row], Calibration]:
    """The rows of one method, and the calibration that its intervals come from.

    Args:
        name: of the method.
        forecasts: by series, (O, H), NaN where none was made.
        plan: blocks and origins.
        judged: per series, the origins that count, (O,) bool.
        scales: of the series.
        config: levels and adaptation of the intervals.
        spreads: by series, (O, 2, Q, H), where the method says how far its bounds lie.
        seconds: spent on it.
        note: for the rows.
    """
    found = calibrate(plan, forecasts, scales, config, spreads)
    blocks: tuple[tuple[Split, list[np.ndarray]], ...] = (
        ("validation", plan.validating()),
        ("test", plan.testing()),
    )
    rows = []
    for split, members in blocks:
        scored: dict[str, Score] = {}
        for series, at, block, use in zip(plan.panel.series, plan.origins, members, judged, strict=True):
            use = block & use
            if series.id in forecasts and use.any():
                actual = actuals(series, at[use], plan.horizon)
                past = found.extents(series.id)[use]
                forecast = forecasts[series.id][use]
                scored[series.id] = score(actual, forecast, past, scales[series.id], config.levels)
        total = average(scored) if scored else None
        rows.append(Row(method=name, split=split, score=total, series=scored, seconds=seconds, note=note))
    return rows, found
