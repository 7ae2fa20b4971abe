"""Network inputs and windows against slices written out by hand: no neighbour, no future, no gap unmarked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.core.errors import DataError
from statewise.timeseries import calendar
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.history import fill_missing
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.task import WindowTask, errors
from statewise.timeseries.windows import Windows

DAY = Frequency("day")


def panel(*values: np.ndarray, covariates: list[np.ndarray] | None = None) -> Panel:
    series = tuple(
        Series(
            id=f"s{i}",
            times=DAY.range(np.datetime64("2021-01-01", "us"), len(v)),
            values=np.asarray(v, dtype=np.float64),
            covariates=None if covariates is None else covariates[i],
        )
        for i, v in enumerate(values)
    )
    width = 0 if covariates is None else covariates[0].shape[1]
    return Panel(series=series, frequency=DAY, covariate_names=tuple(f"c{k}" for k in range(width)))


def context(horizon: int = 3, period: int = 7) -> Context:
    return Context(horizon=horizon, period=period, frequency=DAY)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(12, 40), min_size=1, max_size=4),
    lookback=st.integers(1, 9),
    horizon=st.integers(1, 5),
    pad=st.integers(0, 6),
    share=st.floats(0, 0.5),
    seed=st.integers(0, 99),
)
def test_windows_are_the_slices_of_one_series(
    lengths: list[int], lookback: int, horizon: int, pad: int, share: float, seed: int
):
    rng = np.random.default_rng(seed)
    data = [rng.normal(5.0 * i, 1 + i, n) for i, n in enumerate(lengths)]
    for values in data:
        values[1:][rng.random(len(values) - 1) < share] = np.nan
    made = panel(*data)
    inputs = Inputs.fit(made, [n - horizon for n in lengths], context(horizon), lookback)
    windows = Windows(made, inputs, [min(pad, lookback - 1)] * len(data))
    for s, series in enumerate(made.series):
        first, last = lookback - min(pad, lookback - 1), len(series) - horizon
        origins = [o for o in range(first, last + 1) if np.isfinite(series.values[o : o + horizon]).any()]
        starts = windows.starts(s, first, last)
        assert len(starts) == len(origins)
        mean, scale = inputs.scales[series.id]
        scaled = (fill_missing(series.values, 7) - mean) / scale
        marks = calendar.features(series.times, DAY)
        batch = windows.gather(starts)
        for row, o in enumerate(origins):
            index = np.arange(o - lookback, o)
            np.testing.assert_allclose(batch.x[row, :, 0], scaled[np.maximum(index, 0)], rtol=1e-5, atol=1e-6)
            here = index >= 0
            np.testing.assert_array_equal(batch.x[row, here, 1:4], marks[index[here]])
            seen = np.isfinite(series.values[o : o + horizon])
            np.testing.assert_allclose(batch.y[row], np.where(seen, scaled[o : o + horizon], 0), atol=1e-5)
            if batch.weight is not None:
                np.testing.assert_array_equal(batch.weight[row], seen)
            if inputs.gaps:
                observed = np.isfinite(series.values)[np.maximum(index, 0)] & here
                np.testing.assert_array_equal(batch.x[row, :, 4], observed)


def test_scales_come_from_training_rows_alone():
    values = np.concatenate([np.arange(10.0), np.full(10, 1e6)])
    inputs = Inputs.fit(panel(values, np.full(20, 3.0)), [10, 10], context(), 4)
    assert inputs.scales["s0"] == (4.5, pytest.approx(np.arange(10.0).std()))
    assert inputs.scales["s1"] == (3.0, 1.0)


@pytest.mark.parametrize(("lookback", "horizon"), [(7, 3), (3, 7), (4, 4), (1, 3)])
def test_covariates_reach_every_step_ahead_and_none_beyond(lookback: int, horizon: int):
    known = np.arange(40 + horizon, dtype=np.float64)[:, None]
    made = panel(np.zeros(40), covariates=[known])
    inputs = Inputs.fit(made, [30], context(horizon), lookback)
    mean, scale = inputs.covariates[:, 0]
    origin = 20
    window = inputs.features_of(made.series[0], 0)[origin - lookback : origin, 3:]
    steps = np.round(window.astype(np.float64) * scale + mean).astype(int)
    np.testing.assert_array_equal(steps[:, 0], np.arange(origin - lookback, origin))
    ahead = set(steps[:, 1:].flatten().tolist())
    assert set(range(origin, origin + horizon)) <= ahead
    assert max(ahead) == origin + horizon - 1


def test_fewer_covariates_than_at_the_fit_are_refused():
    known = np.zeros((40, 2))
    inputs = Inputs.fit(panel(np.zeros(40), covariates=[known]), [30], context(), 4)
    with pytest.raises(DataError, match="series 's0'"):
        inputs.features_of(panel(np.zeros(40), covariates=[known[:, :1]]).series[0], 0)


def test_inputs_survive_their_state():
    values = np.where(np.arange(30) % 7 == 3, np.nan, np.arange(30.0))
    inputs = Inputs.fit(
        panel(values, covariates=[np.random.default_rng(0).normal(size=(30, 2))]), [20], context(), 5
    )
    again = Inputs.restore(inputs.state(), DAY)
    assert (again.lookback, again.horizon, again.period, again.gaps) == (5, 3, 7, True)
    assert again.scales == inputs.scales
    np.testing.assert_array_equal(again.covariates, inputs.covariates)
    assert again.features == inputs.features == 3 + 1 + 2 * 2


class LastValue(torch.nn.Module):
    """Forecasts w times the last value."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(()))
        self.horizon = horizon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w * x[:, -1:, 0].expand(-1, self.horizon)


def test_loss_and_errors_count_observed_steps_only():
    values = np.arange(20.0)
    values[[8, 15]] = np.nan
    made = panel(values)
    inputs = Inputs.fit(made, [20], context(), 4)
    windows = Windows(made, inputs, [0])
    starts = windows.starts(0, 4, 17)
    task = WindowTask(LastValue(3), windows, starts, starts)
    mean, scale = inputs.scales["s0"]
    scaled, filled = (values - mean) / scale, (fill_missing(values, 7) - mean) / scale
    ahead = np.array([scaled[o : o + 3] - filled[o - 1] for o in range(4, 18)])

    np.testing.assert_allclose(errors(task.model, windows, starts)[:, 2], np.isfinite(ahead).sum(1))
    assert task.validate(task.model)["val_mse"] == pytest.approx(np.nanmean(ahead**2), rel=1e-5)
    assert task.validate(task.model)["val_mae"] == pytest.approx(np.nanmean(abs(ahead)), rel=1e-5)
    some = torch.tensor([2, 3, 9])
    loss = task.loss(task.model, task.batch(some))
    assert loss.item() == pytest.approx(np.nanmean(ahead[some] ** 2), rel=1e-5)
