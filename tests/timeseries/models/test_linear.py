"""Window moments, ridge and the linear methods against plain least squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import ConfigError
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models.dlinear import DLinear, DLinearConfig, moving_average
from statewise.timeseries.models.linear import WindowLinear
from statewise.timeseries.models.moments import WindowMoments, window_moments
from statewise.timeseries.models.nlinear import NLinear, NLinearConfig
from statewise.timeseries.models.ridge import Design, held_out_errors, solve
from statewise.timeseries.panel import Panel, Series

HOURLY = Frequency("hour")


def panel(*values: np.ndarray, covariates: np.ndarray | None = None) -> Panel:
    series = tuple(
        Series(
            id=f"s{i}",
            times=HOURLY.range(np.datetime64("2024-01-01"), len(v)),
            values=v,
            covariates=covariates,
        )
        for i, v in enumerate(values)
    )
    names = () if covariates is None else tuple(f"x{c}" for c in range(covariates.shape[1]))
    return Panel(series=series, frequency=HOURLY, covariate_names=names)


def context(horizon: int, period: int) -> Context:
    return Context(horizon=horizon, period=period, frequency=HOURLY)


def autoregressive(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.normal(size=n)
    for t in range(2, n):
        x[t] += 1.2 * x[t - 1] - 0.5 * x[t - 2]
    return x


@given(
    n=st.integers(1, 300),
    length=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.5, 0.98, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_moments_are_those_of_the_windows(n: int, length: int, share: float, seed: int):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n + length - 1)
    use = rng.random(n) < share
    rows = np.lib.stride_tricks.sliding_window_view(values, length)[use]
    moments = window_moments(values, use, length)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.total, rows.sum(axis=0), atol=1e-10)
    np.testing.assert_allclose(moments.gram, rows.T @ rows, atol=1e-10)


def test_moments_of_a_long_stretch_come_from_the_recurrence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("statewise.timeseries.models.moments._SMALL", 0.0)
    values = np.random.default_rng(0).normal(size=5000).cumsum() / 50
    rows = np.lib.stride_tricks.sliding_window_view(values, 70)
    moments = window_moments(values, np.ones(len(rows), bool), 70)
    np.testing.assert_allclose(moments.gram, rows.T @ rows, rtol=1e-11, atol=1e-9)
    np.testing.assert_array_equal(moments.gram, moments.gram.T)


def regression_problem(seed: int, n: int = 200) -> tuple[np.ndarray, WindowMoments, Design]:
    rng = np.random.default_rng(seed)
    windows = rng.normal(size=(n, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6)
    moments = WindowMoments(n, windows.sum(axis=0), windows.T @ windows)
    return windows, moments, Design(features=rng.normal(size=(3, 6)), targets=rng.normal(size=(2, 6)))


@pytest.mark.parametrize("strength", [0.0, 5.0])
def test_ridge_is_least_squares_with_rows_for_the_penalty(strength: float):
    windows, moments, design = regression_problem(0)
    z, y = windows @ design.features.T, windows @ design.targets.T
    weights, bias = solve(moments, design, strength)
    penalty = np.sqrt(strength * z.var(axis=0).mean())
    rows = np.concatenate([np.c_[z, np.ones(len(z))], np.c_[penalty * np.eye(3), np.zeros(3)]])
    expected = np.linalg.lstsq(rows, np.concatenate([y, np.zeros((3, 2))]), rcond=None)[0]
    np.testing.assert_allclose(np.vstack([weights, bias]), expected, atol=1e-9)


def test_held_out_errors_are_those_of_the_solutions():
    _, train, design = regression_problem(1)
    windows, held_out, _ = regression_problem(2, 70)
    z, y = windows @ design.features.T, windows @ design.targets.T
    strengths = (0.1, 10.0, 1e4)
    for strength, error in zip(strengths, held_out_errors(train, held_out, design, strengths), strict=True):
        weights, bias = solve(train, design, strength)
        assert error == pytest.approx(np.mean((y - z @ weights - bias) ** 2))


def test_nlinear_is_least_squares_on_windows_less_their_last_value():
    values = autoregressive(np.random.default_rng(3), 400)
    method = NLinear(NLinearConfig(lookback=8, strength=1e-9))
    method.fit(panel(values), context(3, 1))
    windows = np.lib.stride_tricks.sliding_window_view(values, 11)
    last = windows[:, 7:8]
    inputs = np.c_[windows[:, :7] - last, np.ones(len(windows))]
    weights = np.linalg.lstsq(inputs, windows[:, 8:] - last, rcond=None)[0]
    expected = values[-1] + np.append(values[-8:-1] - values[-1], 1.0) @ weights
    forecast = method.predict(panel(values), [np.array([400])])[0][0]
    np.testing.assert_allclose(forecast, expected, rtol=1e-6)


def test_dlinear_is_ridge_on_trend_and_season_side_by_side():
    values = autoregressive(np.random.default_rng(4), 300)
    lookback, strength = 9, 25.0
    method = DLinear(DLinearConfig(lookback=lookback, strength=strength, kernel=5))
    method.fit(panel(values), context(2, 1))
    x = (values - values.mean()) / values.std()
    windows = np.lib.stride_tricks.sliding_window_view(x, lookback + 2)
    trend = windows[:, :lookback] @ moving_average(lookback, 5).T
    z = np.c_[windows[:, :lookback] - trend, trend]
    # the penalty's unit is the mean variance of the features, of which the closed form has half as many
    penalty = np.sqrt(strength * z.var(axis=0).sum() / lookback)
    rows = np.concatenate([np.c_[z, np.ones(len(z))], np.c_[penalty * np.eye(18), np.zeros(18)]])
    target = np.concatenate([windows[:, lookback:], np.zeros((18, 2))])
    weights = np.linalg.lstsq(rows, target, rcond=None)[0]
    end = moving_average(lookback, 5) @ x[-lookback:]
    expected = np.concatenate([x[-lookback:] - end, end, [1.0]]) @ weights
    forecast = method.predict(panel(values), [np.array([300])])[0][0]
    np.testing.assert_allclose(forecast, values.mean() + values.std() * expected, rtol=1e-7)


def test_moving_average_repeats_the_ends():
    np.testing.assert_allclose(moving_average(3, 3) @ [3.0, 6.0, 0.0], [4.0, 3.0, 2.0])
    np.testing.assert_allclose(moving_average(4, 25).sum(axis=1), 1.0)


def test_forecasts_follow_shift_and_unit_of_the_data():
    values = autoregressive(np.random.default_rng(5), 300)
    for method in (NLinear(NLinearConfig()), DLinear(DLinearConfig())):
        method.fit(panel(values), context(4, 6))
        once = method.predict(panel(values), [np.array([250, 300])])[0]
        method.fit(panel(1e6 + 300 * values), context(4, 6))
        again = method.predict(panel(1e6 + 300 * values), [np.array([250, 300])])[0]
        np.testing.assert_allclose((again - 1e6) / 300, once, atol=1e-4)


def test_lookback_and_strength_are_chosen_for_the_data():
    rng = np.random.default_rng(6)
    season = np.tile(rng.normal(size=24), 60)
    method = NLinear(NLinearConfig())
    noisy = season + 0.3 * rng.normal(size=len(season))
    method.fit(panel(noisy), context(24, 24))
    # many seasons average the noise away, so that the error comes near to its deviation
    forecast = method.predict(panel(noisy), [np.array([len(season) - 24])])[0][0]
    assert method.maps.shape[1] > 24
    assert np.sqrt(np.mean((forecast - season[-24:]) ** 2)) < 0.15


def test_windows_never_cross_series():
    rng = np.random.default_rng(7)
    low, high = autoregressive(rng, 100), 1e3 + autoregressive(rng, 100)
    # joined end to end the step between them would be learnt; z-scored apart they are alike
    apart = NLinear(NLinearConfig(lookback=4, strength=1.0))
    apart.fit(panel(low, high), context(2, 1))
    alone = [NLinear(NLinearConfig(lookback=4, strength=1.0)) for _ in range(2)]
    for method, values in zip(alone, (low, high), strict=True):
        method.fit(panel(values), context(2, 1))
    between = np.stack([method.maps for method in alone])
    assert (apart.maps >= between.min(axis=0) - 0.1).all()
    assert (apart.maps <= between.max(axis=0) + 0.1).all()


def test_individual_maps_are_those_of_each_series_alone():
    rng = np.random.default_rng(8)
    values = [autoregressive(rng, 200), rng.normal(size=150)]
    config = NLinearConfig(lookback=5, strength=3.0, individual=True)
    method = NLinear(config)
    method.fit(panel(*values), context(3, 1))
    together = method.predict(panel(*values), [np.array([150])] * 2)
    for each, forecast in zip(panel(*values).series, together, strict=True):
        alone = NLinear(config)
        alone.fit(panel(*values).select([each.id]), context(3, 1))
        single = alone.predict(panel(*values).select([each.id]), [np.array([150])])[0]
        np.testing.assert_allclose(forecast, single, rtol=1e-9)


def test_series_unknown_to_the_fit_is_scaled_by_its_own_past():
    rng = np.random.default_rng(9)
    known, values = autoregressive(rng, 300), autoregressive(rng, 120)
    method = NLinear(NLinearConfig(lookback=6, strength=1.0))
    method.fit(panel(known), context(2, 1))
    other = panel(known, 50 + 7 * values).select(["s1"])
    plain = panel(known, values).select(["s1"])
    origins = [np.array([60, 120])]
    np.testing.assert_allclose(
        (method.predict(other, origins)[0] - 50) / 7, method.predict(plain, origins)[0]
    )


def test_covariates_that_drive_the_series_are_used():
    rng = np.random.default_rng(10)
    promotion = (rng.random((330, 1)) < 0.2).astype(float)
    values = autoregressive(rng, 300) + 8 * promotion[:300, 0]
    errors = {}
    for use in (True, False):
        method = NLinear(NLinearConfig(covariates=use))
        data = panel(values, covariates=promotion)
        method.fit(data.head([200]), context(5, 7))
        origins = np.arange(200, 296)
        forecast = method.predict(data, [origins])[0]
        errors[use] = np.mean((forecast - np.lib.stride_tricks.sliding_window_view(values[200:], 5)) ** 2)
        if use:
            effect = method.effects[1, 0] * method.scaling[0, 1] / method.units[1, 0]
            assert effect == pytest.approx(8, abs=0.5)
    assert errors[True] < 0.6 * errors[False]


def test_covariates_without_effect_are_left_out():
    rng = np.random.default_rng(11)
    method = NLinear(NLinearConfig())
    noise = rng.normal(size=(310, 3))
    method.fit(panel(autoregressive(rng, 300), covariates=noise), context(5, 1))
    assert np.abs(method.effects).max() < 0.1


@pytest.mark.parametrize(
    ("config", "settings"),
    [(NLinearConfig, {"lookback": 1}), (NLinearConfig, {"strength": 0.0}), (DLinearConfig, {"kernel": 24})],
)
def test_settings_out_of_bounds_are_refused(config: type, settings: dict):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        config(**settings)


@pytest.mark.parametrize(
    "method", [NLinear(NLinearConfig(lookback=336)), DLinear(DLinearConfig(lookback=336))]
)
def test_published_errors_on_etth1_are_reached(method: WindowLinear, real_data: Path):
    table = np.loadtxt(real_data / "timeseries/ETTh1.csv", delimiter=",", skiprows=1, usecols=range(1, 8))
    table = (table - table[:8640].mean(axis=0)) / table[:8640].std(axis=0)
    data = panel(*table.T)
    method.fit(data.head([8640] * 7), context(96, 24))
    forecasts = method.predict(data, [np.arange(11520, 14400 - 95)] * 7)
    actual = np.lib.stride_tricks.sliding_window_view(table[11520:14400], 96, axis=0)
    assert np.mean((np.stack(forecasts, axis=1) - actual) ** 2) <= 0.372
