"""Intervals whose bounds networks learn: they never cross, are corrected to cover, are saved and advance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.core.config import config_class, from_dict
from statewise.core.errors import ConfigError
from statewise.timeseries import auto, metrics
from statewise.timeseries.ahead import coverage_ahead
from statewise.timeseries.api import evaluate_data, fit_run, predict_run
from statewise.timeseries.backtest import Plan, actuals, plan
from statewise.timeseries.calibration import calibrate
from statewise.timeseries.config import AutoConfig, BacktestConfig, ConformalConfig
from statewise.timeseries.conformal import extents
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.live import LiveForecast, Track
from statewise.timeseries.models import MODELS
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.quantiles import QuantileNetwork, QuantileTask, SpreadHead
from statewise.timeseries.saved import load_forecast
from statewise.timeseries.settings import FitSettings
from statewise.timeseries.windows import Batch
from tests.timeseries.broken_inputs import days

LEVELS = (0.8, 0.95)
HORIZON = 3
DAY = Frequency("day")
CONTEXT = Context(horizon=HORIZON, period=7, frequency=DAY, epochs=1, quantiles=LEVELS)


def panel(*columns: np.ndarray) -> Panel:
    times = DAY.range(np.datetime64("2020-01-01"), max(len(column) for column in columns))
    return Panel(
        series=tuple(
            Series(id=f"s{i}", times=times[: len(column)], values=column) for i, column in enumerate(columns)
        ),
        frequency=DAY,
    )


def uneven(seed: int, n: int) -> np.ndarray:
    """A season whose noise is five times as large in one half of it."""
    rng, place = np.random.default_rng(seed), np.arange(n) % 8
    return 20 + 3 * np.sin(2 * np.pi * place / 8) + rng.normal(size=n) * np.where(place < 4, 0.2, 1.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.01, 30), st.floats(-1e4, 1e4))
def test_bounds_never_cross_whatever_the_weights(seed: int, size: float, level: float) -> None:
    torch.manual_seed(seed)
    head = SpreadHead(5, 3, HORIZON, LEVELS)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=size)
    distances = head(level + torch.randn(4, 5, 3))
    assert distances.shape == (4, 2, 2, HORIZON)
    assert bool((distances > 0).all())
    assert bool((distances[:, :, 1] >= distances[:, :, 0]).all())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16))
def test_extents_are_never_negative_and_do_not_fall_with_the_level(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half, spreads = rng.exponential(size=(2, HORIZON)), rng.exponential(size=(5, 2, 2, HORIZON))
    for found in (extents(half), extents(half, spreads)):
        assert (found >= 0).all()
        assert (np.diff(found, axis=-2) >= 0).all()


def test_a_head_starts_with_the_quantiles_of_a_normal_distribution() -> None:
    distances = SpreadHead(5, 3, HORIZON, LEVELS)(torch.randn(2, 5, 3))
    expected = torch.tensor([1.2816, 1.9600]) / 2
    torch.testing.assert_close(distances, expected[:, None].expand(2, 2, 2, HORIZON), rtol=0.01, atol=0.003)


def test_the_loss_is_the_pinball_loss() -> None:
    torch.manual_seed(0)
    network, head = torch.nn.Flatten(), SpreadHead(HORIZON, 1, HORIZON, LEVELS)
    with torch.no_grad():
        head.out.weight.normal_()
    x, y = torch.randn(6, HORIZON, 1), torch.randn(6, HORIZON)
    weight = (torch.rand(6, HORIZON) < 0.7).float()
    task = QuantileTask.__new__(QuantileTask)
    task.levels, task._network = LEVELS, network
    found = task.loss(QuantileNetwork(network, head), Batch(x, y * weight, weight))
    m, d = x[..., 0], head(x)
    bounds = torch.stack([m - d[:, 0, 1], m - d[:, 0, 0], m, m + d[:, 1, 0], m + d[:, 1, 1]], dim=-1)
    actual = np.where(weight.numpy() > 0, y.numpy(), np.nan)
    expected = metrics.pinball(actual, bounds.detach().numpy(), (0.025, 0.1, 0.5, 0.9, 0.975))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


def made_plan(values: np.ndarray) -> tuple[Plan, np.ndarray, np.ndarray]:
    """A plan, the true mean as forecast, and the true deviations as distances."""
    data = panel(values)
    made = plan(data, replace(CONTEXT, period=8), BacktestConfig())
    steps = made.origins[0][:, None] + np.arange(HORIZON)
    point = 20 + 3 * np.sin(2 * np.pi * (steps % 8) / 8)
    deviation = np.where(steps % 8 < 4, 0.2, 1.0)
    spreads = np.stack([np.stack([z * deviation for z in (1.28, 1.96)], axis=1)] * 2, axis=1)
    return made, point, spreads


def test_learnt_distances_cover_as_promised_and_are_narrower() -> None:
    made, point, spreads = made_plan(uneven(0, 2400))
    actual = actuals(made.panel.series[0], made.origins[0], HORIZON)
    found = {}
    for name, given_spreads in (("residual", None), ("quantile", {"s0": spreads})):
        calibration = calibrate(made, {"s0": point}, {"s0": 1.0}, ConformalConfig(), given_spreads)
        apart = calibration.extents("s0")
        ready = np.isfinite(apart).all(axis=(1, 2, 3))
        error = (actual - point)[ready, None]
        inside = (error >= -apart[ready, 0]) & (error <= apart[ready, 1])
        noisy = (made.origins[0][ready, None] + np.arange(HORIZON)) % 8 >= 4
        found[name] = (
            inside.mean(axis=(0, 2)),
            apart[ready].sum(axis=1).mean(axis=(0, 2)),
            inside[:, 0][noisy].mean(),
        )
        np.testing.assert_allclose(found[name][0], LEVELS, atol=0.03)
    assert (found["quantile"][1] < [0.96, 0.8] * found["residual"][1]).all()
    assert found["residual"][2] < 0.7 < 0.76 < found["quantile"][2] < 0.84


def test_the_unit_of_distances_does_not_matter() -> None:
    made, point, spreads = made_plan(uneven(1, 600))
    apart = [
        calibrate(made, {"s0": point}, {"s0": 1.0}, ConformalConfig(), {"s0": c * spreads}).extents("s0")
        for c in (1.0, 40.0)
    ]
    np.testing.assert_allclose(apart[0], apart[1], rtol=1e-9)


def test_equal_distances_are_the_residual_way() -> None:
    made, point, spreads = made_plan(uneven(2, 600))
    forecasts, scales = {"s0": point}, {"s0": 1.0}
    plain = calibrate(made, forecasts, scales, ConformalConfig())
    ones = calibrate(made, forecasts, scales, ConformalConfig(), {"s0": np.ones_like(spreads)})
    np.testing.assert_allclose(ones.extents("s0"), plain.extents("s0"), rtol=1e-12)
    np.testing.assert_allclose(extents(ones.next["s0"]), extents(plain.next["s0"]), rtol=1e-12)


@pytest.mark.parametrize("name", ["tpgn", "s5", "lstnet", "es-rnn"])
def test_networks_learn_distances_and_keep_them(name: str) -> None:
    target = MODELS.load(name)
    method = target(config_class(target)())
    data = panel(uneven(3, 160), uneven(4, 160))
    method.fit(data, CONTEXT)
    origins = [np.array([100, 120, 160]), np.array([90])]
    spreads = method.spreads(data, origins)
    assert spreads is not None
    assert [one.shape for one in spreads] == [(3, 2, 2, HORIZON), (1, 2, 2, HORIZON)]
    assert all((one > 0).all() for one in spreads)
    again = target(from_dict(config_class(target), {}))
    again.restore(method.state(), replace(CONTEXT, quantiles=()))
    restored = again.spreads(data, origins)
    assert restored is not None
    for one, other in zip(spreads, restored, strict=True):
        np.testing.assert_array_equal(one, other)
    method.fit(data, replace(CONTEXT, quantiles=()))
    assert method.spreads(data, origins) is None


def test_auto_calibrates_the_distances_of_its_choice() -> None:
    config = AutoConfig(methods=("tpgn",), choose="tpgn", budget=None)
    result = auto.run(panel(uneven(5, 400)), replace(CONTEXT, period=8, epochs=2), config)
    (forecast,) = result.portfolio.predict(panel(uneven(5, 400)))
    below, above = forecast.point - forecast.lower, forecast.upper - forecast.point
    assert (below >= 0).all()
    assert (above >= 0).all()
    assert (np.diff(below, axis=0) >= 0).all()
    assert not np.allclose(below, above)  # the sides are learnt apart
    assert result.calibration.spreads
    parts = coverage_ahead(result)
    assert [(one.first, one.last) for one in parts] == [(1, 1), (2, 2), (3, 3)]
    score = result.row("auto", "test").score
    assert score is not None
    assert np.mean([one.coverage[0] for one in parts]) == pytest.approx(score.coverage[0], abs=0.02)


def test_a_track_advances_with_distances() -> None:
    base, spreads = np.full((2, 2), 1.0), np.array([[[1.0, 1.0], [2.0, 2.0]], [[3.0, 3.0], [4.0, 4.0]]])
    track = Track(base, ConformalConfig(adapt=0.1))
    track.say(np.array([10.0, 10.0]), spreads)
    track.see(12.5)  # above: 3 at the lower level, 4 at the higher
    assert track.inside == (1.0, 1.0)
    track.say(np.array([10.0, 10.0]), spreads)
    track.see(8.5)  # below: 1 at the lower level, 2 at the higher
    assert track.inside == (0.5, 1.0)
    assert track.half[0, 0] > base[0, 0] > track.half[1, 0]
    again = Track.restore(track.state(), ConformalConfig(adapt=0.1))
    np.testing.assert_array_equal(again.apart, track.apart)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantiles")
    pl.DataFrame({"ds": days(240), "y": uneven(6, 240)}).write_csv(folder / "data.csv")
    wanted = FitSettings(
        data=(str(folder / "data.csv"),), model="tpgn", horizon=HORIZON, epochs=1, intervals="quantile"
    )
    outcome = fit_run(wanted, out=folder / "run")
    assert outcome.run is not None
    return folder


def test_a_saved_run_has_the_same_intervals(run: Path) -> None:
    table, _ = predict_run(run / "run")
    written = pl.read_csv(run / "run" / "forecast.csv")
    np.testing.assert_allclose(table.forecasts[0].lower[0], written["lo_80"].to_numpy(), rtol=1e-4)
    np.testing.assert_allclose(table.forecasts[0].upper[1], written["hi_95"].to_numpy(), rtol=1e-4)
    assert 'intervals = "quantile"' in (run / "run" / "config.toml").read_text()
    assert "by steps ahead" in (run / "run" / "report.html").read_text()
    saved = load_forecast(run / "run")
    live = LiveForecast(saved.portfolio, saved.panel)
    np.testing.assert_allclose(live.forecasts()[0].lower, table.forecasts[0].lower, rtol=1e-12)


def test_what_learns_no_quantiles_is_refused(run: Path) -> None:
    wanted = FitSettings(data=(str(run / "data.csv"),), model="nlinear", intervals="quantile")
    with pytest.raises(ConfigError, match="learns no quantiles"):
        evaluate_data(wanted)
