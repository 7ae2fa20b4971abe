"""Blocks, origins, and that nothing beyond them reaches a method."""

from __future__ import annotations

from math import gcd

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.timeseries import backtest
from statewise.timeseries.backtest import Plan, cut, strides
from statewise.timeseries.config import BacktestConfig
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.panel import Panel, Series

STEP = Frequency("step")
CONFIG = BacktestConfig()


def panel(*lengths: int) -> Panel:
    """Series that count upwards from 0, 1000, 2000 .."""
    return Panel(
        series=tuple(
            Series(id=f"s{i}", times=np.arange(n), values=1000.0 * i + np.arange(n))
            for i, n in enumerate(lengths)
        ),
        frequency=STEP,
    )


def context(horizon: int, period: int = 1) -> Context:
    return Context(horizon=horizon, period=period, frequency=STEP)


class Watcher(Forecaster):
    """Forecasts the last value it is shown, and keeps what that was."""

    def __init__(self) -> None:
        super().__init__(None)
        self.fitted: list[list[int]] = []
        self.shown: list[list[int]] = []

    def minimum(self, context: Context) -> int:
        return 1

    def fit(self, panel: Panel, context: Context) -> None:
        self.horizon = context.horizon
        self.fitted.append([len(series) for series in panel.series])

    def predict(self, panel: Panel, origins: list[np.ndarray]) -> list[np.ndarray]:
        self.shown.append([len(series) for series in panel.series])
        return [
            np.repeat(series.values[at - 1][:, None], self.horizon, axis=1)
            for series, at in zip(panel.series, origins, strict=True)
        ]

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray], context: Context) -> None:
        pass


def test_blocks_by_hand():
    blocks = cut(144, 12, CONFIG)
    assert blocks is not None
    assert (blocks.train, blocks.validation, blocks.end) == (86, 115, 144)
    long = cut(17420, 24, CONFIG)
    assert long is not None
    assert (long.train, long.validation) == (17420 - 2 * 3484, 17420 - 3484)


@given(length=st.integers(1, 3000), horizon=st.integers(1, 60))
def test_blocks_follow_each_other_and_hold_a_horizon(length: int, horizon: int):
    blocks = cut(length, horizon, CONFIG)
    if blocks is None:
        assert length < 3 * horizon + 5
        return
    assert 0 < blocks.train <= blocks.validation - horizon
    assert blocks.validation <= blocks.end - horizon
    assert blocks.end == length
    assert blocks.train >= 0.4 * length - 1 or horizon > length / 5


@given(length=st.integers(5, 5000), period=st.integers(1, 60), dense=st.integers(1, 600))
def test_strides_share_no_divisor_with_the_season(length: int, period: int, dense: int):
    blocks = cut(length, 1, CONFIG)
    assert blocks is not None
    stride, every = strides(blocks, period, dense, min(dense, 64))
    assert gcd(stride, period) == gcd(stride * every, period) == 1
    assert (blocks.end - blocks.train) / stride <= 2 * dense


@given(
    lengths=st.lists(st.integers(30, 900), min_size=1, max_size=3),
    horizon=st.integers(1, 6),
    period=st.sampled_from([1, 7, 12]),
)
def test_windows_stay_in_their_series_and_blocks(lengths: list[int], horizon: int, period: int):
    plan = backtest.plan(panel(*lengths), context(horizon, period), CONFIG)
    for series, blocks, at, validating, testing, sparse in zip(
        plan.panel.series,
        plan.blocks,
        plan.origins,
        plan.validating(),
        plan.testing(),
        plan.sparse,
        strict=True,
    ):
        assert at[-1] + horizon == len(series)
        assert at[0] >= blocks.train
        assert not (validating & testing).any()
        assert (at[validating] + horizon <= blocks.validation).all()
        assert (at[testing] >= blocks.validation).all()
        assert validating.any()
        assert testing[-1]
        assert sparse[-1]


def test_long_series_get_fewer_origins():
    plan = backtest.plan(panel(20_000), context(24, 24), BacktestConfig(dense=100, origins=20))
    assert 190 <= len(plan.origins[0]) <= 200
    assert 30 <= plan.sparse[0].sum() <= 42
    few = backtest.plan(panel(20_000), context(24, 24), BacktestConfig(values=2 * 24 * 10))
    assert len(few.origins[0]) <= 20


def test_series_that_cannot_be_cut_is_an_error_of_the_caller():
    with pytest.raises(ValueError, match="s1"):
        backtest.plan(panel(100, 4), context(2), CONFIG)


def judged(plan: Plan, forecasts: list[np.ndarray]) -> list[np.ndarray]:
    return [np.isfinite(forecast).all(axis=1) for forecast in forecasts]


def test_validation_is_shown_nothing_of_the_test_rows():
    plan, method = backtest.plan(panel(100, 60), context(3), CONFIG), Watcher()
    forecasts = backtest.validate(method, plan, context(3))
    assert method.fitted == [[block.train for block in plan.blocks]]
    assert method.shown == [[block.validation for block in plan.blocks]]
    for done, use in zip(judged(plan, forecasts), plan.validating(), strict=True):
        np.testing.assert_array_equal(done, use)
    # the naive forecast of a count is the step before the origin
    for start, at, forecast, use in zip((0, 1000), plan.origins, forecasts, plan.validating(), strict=True):
        np.testing.assert_array_equal(forecast[use][:, 0], start + at[use] - 1)


@pytest.mark.parametrize("refit", [True, False])
def test_test_forecasts_the_rest(refit: bool):
    plan, method = backtest.plan(panel(100, 60), context(3), CONFIG), Watcher()
    early = backtest.validate(method, plan, context(3))
    late = backtest.test(method, plan, context(3), refit=refit, sparse=False)
    for a, b in zip(judged(plan, early), judged(plan, late), strict=True):
        np.testing.assert_array_equal(a, ~b)
    assert method.fitted[1:] == [[block.validation for block in plan.blocks]] * refit


def test_sparse_methods_forecast_from_sparse_origins():
    plan = backtest.plan(panel(1000), context(3, 7), BacktestConfig(origins=10))
    method = Watcher()
    early = backtest.validate(method, plan, context(3, 7), sparse=True)
    late = backtest.test(method, plan, context(3, 7), refit=True, sparse=True)
    np.testing.assert_array_equal(judged(plan, early)[0] | judged(plan, late)[0], plan.sparse[0])


def test_plan_of_some_series_keeps_theirs():
    plan = backtest.plan(panel(100, 60, 80), context(3), CONFIG)
    part = plan.select(["s2", "s0"])
    assert part.panel.ids == ["s2", "s0"]
    assert part.blocks == (plan.blocks[2], plan.blocks[0])
    np.testing.assert_array_equal(part.origins[0], plan.origins[2])
