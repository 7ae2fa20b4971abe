"""Theta and exponential smoothing through the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from statewise.core.errors import ConfigError
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models.statistical import ETS, ETSConfig, Theta, ThetaConfig
from statewise.timeseries.panel import Panel, Series

MONTHLY = Frequency("month")


def forecast(
    method: Forecaster, values: np.ndarray, origin: int, horizon: int = 12, period: int = 12
) -> np.ndarray:
    times = MONTHLY.range(np.datetime64("1949-01-01"), len(values))
    panel = Panel(series=(Series(id="a", times=times, values=values),), frequency=MONTHLY)
    method.fit(panel, Context(horizon=horizon, period=period, frequency=MONTHLY))
    return method.predict(panel, [np.array([origin])])[0][0]


def theta() -> Theta:
    return Theta(ThetaConfig())


def ets(form: str = "ZZZ") -> ETS:
    return ETS(ETSConfig(form=form))


@pytest.mark.parametrize(("method", "error"), [(theta(), 19.4), (ets(), 35.6)])
def test_known_errors_on_airline_passengers(method: Forecaster, error: float, real_data: Path):
    values = np.loadtxt(real_data / "timeseries/airline.csv", delimiter=",", skiprows=1, usecols=1)
    found = np.mean(np.abs(forecast(method, values, 132) - values[132:]))
    assert found == pytest.approx(error, rel=0.03)


@pytest.mark.parametrize("method", [theta(), ets()])
def test_a_line_with_a_season_goes_on(method: Forecaster):
    t = np.arange(84.0)
    values = 200 + 0.1 * t + 10 * np.sin(2 * np.pi * t / 12)
    np.testing.assert_allclose(forecast(method, values, 72), values[72:], atol=1.5)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("method", [theta(), ets("AAN")])
def test_forecasts_follow_the_unit(method: Forecaster, unit: float):
    values = 20 + np.random.default_rng(0).normal(size=60).cumsum()
    once = forecast(method, values, 60, horizon=3, period=1)
    np.testing.assert_allclose(
        forecast(method, unit * values, 60, horizon=3, period=1) / unit, once, rtol=1e-6
    )


@pytest.mark.parametrize("method", [theta(), ets()])
@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0] * 30, 7.0), ([0.0] * 30, 0.0), ([1.0, 3.0, 2.0], 2.0), ([np.nan] * 30, 0.0)],
)
def test_constant_and_short_histories_repeat_their_last_value(
    method: Forecaster, values: list[float], expected: float
):
    np.testing.assert_array_equal(forecast(method, np.array(values), len(values), horizon=2), [expected] * 2)


def test_only_the_tail_is_used():
    values = np.random.default_rng(1).normal(size=400)
    other = np.concatenate((values[:200] + 9, values[200:]))
    for method in (theta(), ets("ANN")):
        np.testing.assert_array_equal(forecast(method, other, 400), forecast(method, values, 400))


@pytest.mark.parametrize("form", ["", "ZZ", "NZZ", "AAX", "zzz"])
def test_impossible_forms_are_refused(form: str):
    with pytest.raises(ConfigError, match="form"):
        ETSConfig(form=form)


def test_the_library_is_not_imported_before_a_forecast():
    import subprocess
    import sys

    code = "import sys, statewise.timeseries.models.statistical; sys.exit('statsforecast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
