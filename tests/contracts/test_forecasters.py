"""What every forecasting method keeps: its promises to the backtest, to `auto` and to model files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from safetensors.numpy import load, save

from statewise.core.config import config_class, from_dict, to_dict
from statewise.core.errors import DataError
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models import MODELS
from statewise.timeseries.panel import Panel, Series

DAILY = Frequency("day")
HORIZON, PERIOD = 5, 7
CONTEXT = Context(horizon=HORIZON, period=PERIOD, frequency=DAILY, epochs=2)
JOINT = [name for name in MODELS if MODELS[name].facts.get("joint")]


def build(name: str) -> Forecaster:
    target = MODELS.load(name)
    return target(config_class(target)())


def panel(*values: np.ndarray) -> Panel:
    first = np.datetime64("2024-01-01")
    return Panel(
        series=tuple(
            Series(id=f"series {i}", times=DAILY.range(first, len(v)), values=v) for i, v in enumerate(values)
        ),
        frequency=DAILY,
    )


def seasonal(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 20 + 4 * np.sin(2 * np.pi * np.arange(n) / PERIOD) + rng.normal(size=n)


def gappy(seed: int, n: int) -> np.ndarray:
    values = seasonal(seed, n)
    values[:3] = values[20:32] = values[-1] = np.nan
    values[np.random.default_rng(seed).random(n) < 0.1] = np.nan
    return values


@pytest.fixture(params=list(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def method(name: str) -> Forecaster:
    return build(name)


def one(method: Forecaster, data: Panel, name: str, origin: int) -> np.ndarray:
    """The forecast of one series from one origin; a joint method is handed the others too."""
    if not method.joint:
        return method.predict(data.select([name]), [np.array([origin])])[0][0]
    none = np.array([], dtype=int)
    origins = [np.array([origin]) if series.id == name else none for series in data.series]
    return method.predict(data, origins)[data.ids.index(name)][0]


def assert_forecasts(forecasts: list[np.ndarray], origins: Sequence[np.ndarray]) -> None:
    assert [forecast.shape for forecast in forecasts] == [(len(at), HORIZON) for at in origins]
    assert all(forecast.dtype == np.float64 and np.isfinite(forecast).all() for forecast in forecasts)


@pytest.mark.parametrize(
    "values",
    [
        [gappy(0, 90), seasonal(1, 70)],
        [np.full(80, 3.0), seasonal(2, 80)],
        [np.zeros(80)],
        [np.full(80, np.nan), seasonal(3, 80)],
        [1e9 * seasonal(4, 80), 1e-9 * seasonal(5, 80)],
        [-seasonal(6, 80)],
    ],
    ids=["gaps", "one constant", "zeros", "one without observations", "sizes", "negative"],
)
def test_forecasts_are_finite_whatever_the_series(method: Forecaster, values: list[np.ndarray]):
    data = panel(*values)
    method.fit(data.head([60] * len(data)), CONTEXT)
    origins = [np.array([50, 60, len(series)]) for series in data.series]
    assert_forecasts(method.predict(data, origins), origins)


def test_constant_series_goes_on(method: Forecaster):
    data = panel(np.full(80, 3.0), seasonal(7, 80))
    method.fit(data, CONTEXT)
    forecast = method.predict(data, [np.array([80])] * 2)[0]
    np.testing.assert_allclose(forecast, 3.0, atol=0.5)


def test_shortest_series_that_it_promises_to_work_with(method: Forecaster):
    least = method.minimum(CONTEXT)
    data = panel(seasonal(8, least), seasonal(9, least))
    method.fit(data, CONTEXT)
    origins = [np.array([least])] * 2
    assert_forecasts(method.predict(data, origins), origins)


def test_many_origins_at_once_equal_one_by_one(method: Forecaster):
    data = panel(gappy(10, 90), seasonal(11, 80))
    method.fit(data.head([60, 60]), CONTEXT)
    origins = [np.arange(60, 86, 5), np.array([61, 80])]
    together = method.predict(data, origins)
    for series, at, forecasts in zip(data.series, origins, together, strict=True):
        for origin, forecast in zip(at, forecasts, strict=True):
            np.testing.assert_allclose(one(method, data, series.id, origin), forecast, rtol=1e-5, atol=1e-5)


def test_no_origins_give_no_forecasts(method: Forecaster):
    data = panel(seasonal(12, 70))
    method.fit(data, CONTEXT)
    assert method.predict(data, [np.array([], dtype=int)])[0].shape == (0, HORIZON)


def test_values_at_and_after_the_origin_change_nothing(method: Forecaster):
    values = gappy(13, 90)
    data = panel(values)
    method.fit(data.head([60]), CONTEXT)
    origins = [np.array([60, 70])]
    before = method.predict(data, origins)[0]
    for later in (np.full(20, np.nan), np.full(20, 1e12), -values[70:]):
        changed = panel(np.concatenate((values[:70], later)))
        np.testing.assert_array_equal(method.predict(changed, origins)[0], before)
    np.testing.assert_array_equal(method.predict(data.head([70]), origins)[0], before)


def test_rows_after_the_fit_change_no_fit(name: str):
    forecasts = []
    for later in (seasonal(14, 90)[70:], np.full(20, 1e12)):
        data = panel(np.concatenate((seasonal(14, 70), later)))
        method = build(name)
        method.fit(data.head([70]), CONTEXT)
        forecasts.append(method.predict(data, [np.array([70])])[0])
    np.testing.assert_array_equal(*forecasts)


def test_fit_and_forecast_are_deterministic(name: str):
    data = panel(gappy(15, 80), seasonal(16, 80))
    forecasts = []
    for _ in range(2):
        method = build(name)
        method.fit(data, CONTEXT)
        forecasts.append(np.stack(method.predict(data, [np.array([75, 80])] * 2)))
    np.testing.assert_array_equal(*forecasts)


def test_state_and_settings_restore_the_method(name: str, method: Forecaster):
    data = panel(gappy(17, 80), seasonal(18, 80))
    method.fit(data, CONTEXT)
    state = load(save(method.state()))
    target = MODELS.load(name)
    again = target(from_dict(config_class(target), to_dict(method.config)))
    again.restore(state, CONTEXT)
    origins = [np.array([75, 80])] * 2
    for one, other in zip(method.predict(data, origins), again.predict(data, origins), strict=True):
        np.testing.assert_array_equal(one, other)


def test_series_the_fit_has_not_seen_is_forecast(method: Forecaster):
    data = panel(seasonal(19, 90), 100 + 3 * seasonal(20, 90))
    method.fit(data.select(["series 0"]), CONTEXT)
    if method.joint:
        with pytest.raises(DataError, match="not those that are read together"):
            method.predict(data, [np.array([90])] * 2)
        return
    forecast = method.predict(data.select(["series 1"]), [np.array([90])])[0]
    assert np.abs(forecast - 160).max() < 60


def test_registry_row_is_complete(name: str):
    entry = MODELS[name]
    assert entry.summary
    assert entry.facts["family"] in ("naive", "linear", "statistical", "neural", "combination")
    ranks = [MODELS[other].facts["rank"] for other in MODELS]
    assert len(set(ranks)) == len(ranks)
    assert issubclass(entry.load(), Forecaster)
    assert entry.load().joint == entry.facts.get("joint", False)


@pytest.mark.parametrize("name", JOINT)
def test_a_joint_method_reads_the_others_up_to_the_same_time(name: str):
    method = build(name)
    first, second = seasonal(21, 80), seasonal(22, 90)
    method.fit(panel(first, second), CONTEXT)
    at = [np.array([80]), np.array([], dtype=int)]
    before = method.predict(panel(first, second), at)[0]
    later = np.where(np.arange(90) < 80, second, 1e6)
    np.testing.assert_array_equal(method.predict(panel(first, later), at)[0], before)
    earlier = np.where(np.arange(90) < 80, second[::-1] + 3, second)
    assert not np.array_equal(method.predict(panel(first, earlier), at)[0], before)
