"""The losses of all contenders at every origin that may decide: folds of the training rows, then validation
rows.

Letters: O origins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from statewise.timeseries.backtest import Plan, actuals
from statewise.timeseries.contest import Contender
from statewise.timeseries.evidence import Losses

__all__ = ["losses_of"]


def _stretches(name: str, plan: Plan, folds: Sequence[Plan]) -> list[tuple[np.ndarray, int]]:
    """Origins of a series and the fold they are of, earliest first; -1 for the validation rows."""
    found = []
    for place, fold in enumerate(folds):
        if name in fold.places:
            found.append((fold.origins[fold.places[name]], place))
    at = plan.places[name]
    return [*found, (plan.origins[at][plan.validating()[at]], -1)]


def _said(contender: Contender, name: str, place: int, count: int, plan: Plan) -> np.ndarray:
    """What it said at the origins of a stretch, (O, H); NaN where it was not asked."""
    if place < 0:
        return contender.forecasts[name][plan.validating()[plan.places[name]]]
    if place < len(contender.early) and name in contender.early[place]:
        return contender.early[place][name]
    return np.full((count, plan.horizon), np.nan)


def _own(
    contender: Contender, plan: Plan, folds: Sequence[Plan], scales: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Of one contender: by series, the mean scaled absolute error of each origin, (O,)."""
    series = {one.id: one for one in plan.panel.series}
    found = {}
    for name in contender.ids:
        parts = []
        for at, place in _stretches(name, plan, folds):
            made = _said(contender, name, place, len(at), plan)
            error = np.abs(actuals(series[name], at, plan.horizon) - made) / scales[name]
            seen = np.isfinite(error)
            total = np.where(seen, error, 0.0).sum(axis=1)
            parts.append(np.where(seen.any(axis=1), total / np.maximum(seen.sum(axis=1), 1), np.nan))
        found[name] = np.concatenate(parts)
    return found


def losses_of(
    contenders: Sequence[Contender], plan: Plan, folds: Sequence[Plan], scales: Mapping[str, float]
) -> Losses:
    """Of every contender and series that it can forecast.

    Args:
        contenders: after `run_validation`.
        plan: blocks and origins.
        folds: the plans of the folds.
        scales: of the series.
    """
    values = {one.name: _own(one, plan, folds, scales) for one in contenders}
    blocks = {}
    for series, block in zip(plan.panel.series, plan.blocks, strict=True):
        origins = np.concatenate([at for at, _ in _stretches(series.id, plan, folds)])
        blocks[series.id] = (block.validation - plan.horizon - origins) // plan.horizon
    return Losses(values=values, blocks=blocks)
