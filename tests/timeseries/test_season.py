"""Seasons: found where there are some, not found where there are none, whatever the trend and the holes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from statewise.timeseries.data import read
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.season import default_horizon, find_period, find_seasons, main_period, strength

HOUR, DAY, MONTH, STEP = Frequency("hour"), Frequency("day"), Frequency("month", 1, 1), Frequency("step")


def wave(n: int, period: int, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=period)
    return np.tile(shape, n // period + 1)[:n] + noise * rng.normal(size=n)


def panel_of(*values: np.ndarray, frequency: Frequency) -> Panel:
    first = 0 if frequency.unit == "step" else np.datetime64("2020-01-01", "us")
    series = (Series(id=str(i), times=frequency.range(first, len(v)), values=v) for i, v in enumerate(values))
    return Panel(series=tuple(series), frequency=frequency)


@pytest.mark.parametrize(
    ("frequency", "period", "n"),
    [(HOUR, 24, 240), (HOUR, 168, 1_000), (DAY, 7, 60), (DAY, 365, 1_200), (MONTH, 12, 60), (STEP, 11, 200)],
)
def test_a_season_is_found_under_trend_and_holes(frequency: Frequency, period: int, n: int):
    values = wave(n, period) + 0.02 * np.arange(n) + 100
    values[np.random.default_rng(1).random(n) < 0.1] = np.nan
    assert find_period(values, frequency) == period


@pytest.mark.parametrize("kind", ["noise", "walk", "trend", "autoregression"])
@pytest.mark.parametrize("frequency", [HOUR, DAY, MONTH, STEP], ids=lambda frequency: frequency.code)
def test_no_season_is_found_where_there_is_none(frequency: Frequency, kind: str):
    def draw(rng: np.random.Generator, n: int = 300) -> np.ndarray:
        noise = rng.normal(size=n)
        if kind == "walk":
            return np.cumsum(noise)
        if kind == "trend":
            return 0.1 * np.arange(n) + noise
        if kind == "autoregression":
            for i in range(1, n):
                noise[i] += 0.7 * noise[i - 1]
        return noise

    rng = np.random.default_rng(2)
    found = [find_period(draw(rng), frequency) > 1 for _ in range(60)]
    assert sum(found) <= 4


def test_the_shortest_season_is_the_main_one():
    days = wave(2_000, 24, noise=0.1)
    weeks = 0.5 * wave(2_000, 168, noise=0.0, seed=3)
    assert [season.period for season in find_seasons(days + weeks, HOUR)] == [24, 168]
    assert find_period(days + weeks, HOUR) == 24
    assert find_period(0.05 * days + weeks, HOUR) == 168
    assert find_period(weeks, HOUR, longest=100) == 1


@pytest.mark.parametrize("values", [[], [1.0], [2.0] * 50, [np.nan] * 50, [1.0, 2.0, 1.0, 2.0]])
def test_too_little_to_tell(values: list[float]):
    assert find_seasons(np.array(values), DAY) == ()
    assert find_period(np.array(values), DAY) == 1


def test_two_and_a_half_seasons_must_be_seen():
    assert find_period(wave(29, 12, noise=0.01), MONTH) == 1
    assert find_period(wave(48, 12, noise=0.01), MONTH) == 12


def test_strength_does_not_see_level_and_scale():
    values = wave(300, 12)
    at, between = strength(values, 12)
    assert 0.7 < at <= 1
    assert between < at
    assert strength(1e6 + 1e3 * values, 12) == pytest.approx((at, between), abs=1e-6)


def test_the_period_of_a_panel_needs_a_third_of_its_series():
    rng = np.random.default_rng(4)
    noise = [rng.normal(size=200) for _ in range(5)]
    assert main_period(panel_of(*noise, frequency=MONTH)) == 1
    assert main_period(panel_of(wave(200, 12), *noise, frequency=MONTH)) == 1
    assert (
        main_period(panel_of(wave(200, 12), wave(200, 12, seed=5), wave(90, 12), *noise, frequency=MONTH))
        == 12
    )


@pytest.mark.parametrize(
    ("frequency", "n", "period", "horizon"),
    [
        (HOUR, 500, 24, 24),
        (HOUR, 60, 24, 12),
        (HOUR, 500, 1, 24),
        (DAY, 500, 1, 7),
        (DAY, 2_000, 365, 7),
        (MONTH, 144, 12, 12),
        (Frequency("minute", 15), 2_000, 96, 96),
        (Frequency("year"), 300, 11, 11),
        (STEP, 300, 1, 10),
        (STEP, 3, 1, 1),
    ],
)
def test_the_default_horizon(frequency: Frequency, n: int, period: int, horizon: int):
    panel = panel_of(np.zeros(n), frequency=frequency)
    assert default_horizon(panel, period) == horizon


def test_real_seasons(real_data: Path):
    expected = {"ETTh1": 24, "airline": 12, "seatbelts": 12, "exchange_rate": 1, "nab_art_daily_jumpsup": 288}
    for name, period in expected.items():
        panel = read([real_data / "timeseries" / f"{name}.csv"]).panel
        assert main_period(panel) == period
