"""Rolling origins: what a method would have said at earlier times, against what happened.

Each series is cut by time into train, validation and test rows. Validation rows choose and calibrate; test
rows are for the report alone. The origins of a series stand at equal distances up to its end, the distance
having no divisor in common with the season, so that all its places are judged; a window belongs to one
series and, unless it is there for calibration only, to one block.

Letters: S series, O origins, H horizon, n steps of a series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, gcd

import numpy as np

from statewise.timeseries.config import BacktestConfig
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.panel import Panel, Series

__all__ = ["Blocks", "Plan", "actuals", "cut", "folds", "plan", "strides", "test", "validate"]


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Train rows 0 .. train-1, validation rows train .. validation-1, test rows validation .. end-1."""

    train: int
    validation: int
    end: int


def cut(length: int, horizon: int, config: BacktestConfig) -> Blocks | None:
    """The blocks of a series, or None where it is too short to have them.

    Each block holds one horizon at least. On short series the validation rows grow to two horizons, as far
    as three tenths of the series go, so that there are more windows than one to choose by. What is left for
    training must be half a horizon.
    """
    test_rows = max(round(config.test * length), horizon)
    least = max(horizon, min(2 * horizon - 1, int(0.3 * length)))
    train = length - test_rows - max(round(config.validation * length), least)
    if train < max(3, ceil(horizon / 2)):
        return None
    return Blocks(train=train, validation=length - test_rows, end=length)


def strides(blocks: Blocks, period: int, dense: int, sparse: int) -> tuple[int, int]:
    """Steps between origins so that a block has about `dense` of them; and how many of these to go on at a
    time so that it has about `sparse`. Neither stride has a divisor in common with the season, `period`.
    """
    span = (blocks.end - blocks.train) / 2
    stride = _coprime(ceil(span / dense), 1, period)
    return stride, _coprime(ceil(span / (sparse * stride)), stride, period)


def _coprime(least: int, factor: int, period: int) -> int:
    """The first number from `least` on whose product with `factor` shares no divisor with `period`."""
    number = max(least, 1)
    while gcd(number * factor, period) > 1:
        number += 1
    return number


def actuals(series: Series, at: np.ndarray, horizon: int) -> np.ndarray:
    """What happened after each origin, (O, H)."""
    return series.values[at[:, None] + np.arange(horizon)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where each series of a panel is judged."""

    panel: Panel
    horizon: int
    blocks: tuple[Blocks, ...]
    strides: tuple[int, ...]
    """Steps between the origins of each series."""
    origins: tuple[np.ndarray, ...]
    """Per series, (O,) ascending; the last one has just a horizon after it."""
    sparse: tuple[np.ndarray, ...]
    """Which of them are for methods that are fitted anew at each, (O,) bool."""

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each series stands."""
        return {name: place for place, name in enumerate(self.panel.ids)}

    def select(self, ids: Sequence[str]) -> Plan:
        """The plan of some of the series."""
        keep = [self.places[name] for name in ids]
        return replace(
            self,
            panel=self.panel.select(ids),
            blocks=tuple(self.blocks[i] for i in keep),
            strides=tuple(self.strides[i] for i in keep),
            origins=tuple(self.origins[i] for i in keep),
            sparse=tuple(self.sparse[i] for i in keep),
        )

    def validating(self) -> list[np.ndarray]:
        """Per series, which origins have their whole window in validation rows, (O,) bool."""
        return [at + self.horizon <= b.validation for at, b in zip(self.origins, self.blocks, strict=True)]

    def testing(self) -> list[np.ndarray]:
        """Per series, which origins have their whole window in test rows, (O,) bool."""
        return [at >= b.validation for at, b in zip(self.origins, self.blocks, strict=True)]


def plan(panel: Panel, context: Context, config: BacktestConfig) -> Plan:
    """Blocks and origins of every series; each must be long enough to be cut."""
    blocks = []
    for series in panel.series:
        block = cut(len(series), context.horizon, config)
        if block is None:
            raise ValueError(f"series '{series.id}' is too short to be cut into blocks")
        blocks.append(block)
    return _planned(panel, blocks, context, config)


def _planned(panel: Panel, blocks: Sequence[Blocks], context: Context, config: BacktestConfig) -> Plan:
    """The origins that given blocks have."""
    dense = max(1, min(config.dense, config.values // (2 * context.horizon * max(len(panel), 1))))
    steps, grids, sparse = [], [], []
    for block in blocks:
        stride, every = strides(block, context.period, dense, min(config.origins, dense))
        grid = np.arange(block.end - context.horizon, block.train - 1, -stride)[::-1]
        steps.append(stride)
        grids.append(grid)
        sparse.append(np.arange(len(grid))[::-1] % every == 0)
    return Plan(
        panel=panel,
        horizon=context.horizon,
        blocks=tuple(blocks),
        strides=tuple(steps),
        origins=tuple(grids),
        sparse=tuple(sparse),
    )


def folds(plan: Plan, context: Context, config: BacktestConfig, shares: Sequence[float]) -> list[Plan]:
    """Earlier validation blocks, within the training rows: fit on a share of them, judge up to the next
    share.

    Args:
        plan: of the whole series.
        context: horizon and season.
        config: how many origins.
        shares: of the training rows, ascending; each begins a block.

    Returns:
        Plans without test rows, earliest first; a series that is too short for one is not in it.
    """
    found = []
    for share, until in zip(shares, [*shares[1:], 1.0], strict=True):
        blocks = {
            series.id: _fold(block.train, share, until, context.horizon)
            for series, block in zip(plan.panel.series, plan.blocks, strict=True)
        }
        ids = [name for name, block in blocks.items() if block is not None]
        kept = [block for block in blocks.values() if block is not None]
        if ids:
            panel = plan.panel.select(ids).head([block.end for block in kept])
            found.append(_planned(panel, kept, context, config))
    return found


def _fold(rows: int, share: float, until: float, horizon: int) -> Blocks | None:
    train, end = round(share * rows), round(until * rows)
    if end - train < horizon or train < max(3, ceil(horizon / 2)):
        return None
    return Blocks(train=train, validation=end, end=end)


def validate(method: Forecaster, plan: Plan, context: Context, *, sparse: bool = False) -> list[np.ndarray]:
    """Fit on the training rows and forecast from the origins whose windows lie in the validation rows.

    The method is handed nothing beyond those rows.

    Args:
        method: becomes fitted.
        plan: of the series it is for.
        context: of the fit.
        sparse: only from the sparse origins.

    Returns:
        Per series, (O, H); NaN for the other origins.
    """
    method.fit(plan.panel.head([block.train for block in plan.blocks]), context)
    seen = plan.panel.head([block.validation for block in plan.blocks])
    return _forecast(method, seen, plan, plan.validating(), sparse)


def test(method: Forecaster, plan: Plan, context: Context, *, refit: bool, sparse: bool) -> list[np.ndarray]:
    """Forecast from the origins that `validate` has left out.

    Args:
        method: as `validate` has left it.
        plan: the same.
        context: of the fit.
        refit: fit again on all rows before the test rows, for the windows that lie in these.
        sparse: only from the sparse origins.

    Returns:
        Per series, (O, H); NaN for the other origins.
    """
    validating, testing = plan.validating(), plan.testing()
    between = [~(a | b) for a, b in zip(validating, testing, strict=True)]
    forecasts = _forecast(method, plan.panel, plan, between, sparse)
    if refit:
        method.fit(plan.panel.head([block.validation for block in plan.blocks]), context)
    later = _forecast(method, plan.panel, plan, testing, sparse)
    return [np.where(t[:, None], b, a) for a, b, t in zip(forecasts, later, testing, strict=True)]


def _forecast(
    method: Forecaster, panel: Panel, plan: Plan, chosen: Sequence[np.ndarray], sparse: bool
) -> list[np.ndarray]:
    """Forecasts at the chosen origins, NaN at the others."""
    chosen = [use & few for use, few in zip(chosen, plan.sparse, strict=True)] if sparse else chosen
    made = method.predict(panel, [at[use] for at, use in zip(plan.origins, chosen, strict=True)])
    result = []
    for forecast, use in zip(made, chosen, strict=True):
        every = np.full((len(use), plan.horizon), np.nan)
        every[use] = forecast
        result.append(every)
    return result
