"""The naive rules by hand."""

from __future__ import annotations

import numpy as np
import pytest

from statewise.core.config import config_class
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models import MODELS
from statewise.timeseries.panel import Panel, Series

NAN = np.nan
STEP = Frequency("step")


def forecast(name: str, values: list[float], origins: list[int], *, season: int | None = None) -> np.ndarray:
    history = np.array(values, dtype=float)
    panel = Panel(series=(Series(id="a", times=np.arange(len(history)), values=history),), frequency=STEP)
    settings = {} if season is None else {"period": season}
    method = MODELS.load(name)(config_class(MODELS.load(name))(**settings))
    method.fit(panel, Context(horizon=4, period=3, frequency=STEP))
    return method.predict(panel, [np.array(origins)])[0]


@pytest.mark.parametrize(
    ("name", "values", "origins", "expected"),
    [
        ("naive", [1, 2, NAN], [1, 3], [[1] * 4, [2] * 4]),
        ("seasonal-naive", [1, 2, 3, 4, 5, 6], [6, 5], [[4, 5, 6, 4], [3, 4, 5, 3]]),
        ("seasonal-naive", [1, 2, 3, 4, NAN, 6], [6], [[4, 2, 6, 4]]),
        ("seasonal-naive", [1, 2], [2], [[2, 1, 2, 2]]),
        ("drift", [1, 9, 5], [3], [[7, 9, 11, 13]]),
        ("drift", [NAN, 1, 3, NAN, NAN], [5, 2], [[9, 11, 13, 15], [1, 1, 1, 1]]),
    ],
)
def test_rule_by_hand(name: str, values: list[float], origins: list[int], expected: list[list[float]]):
    np.testing.assert_allclose(forecast(name, values, origins), expected)


@pytest.mark.parametrize("name", ["naive", "seasonal-naive", "drift"])
def test_nothing_seen_is_zero(name: str):
    np.testing.assert_array_equal(forecast(name, [NAN, NAN, 5], [1, 2]), np.zeros((2, 4)))
    assert forecast(name, [NAN, NAN], []).shape == (0, 4)


def test_season_can_be_set():
    np.testing.assert_allclose(forecast("seasonal-naive", [1, 2, 3, 4], [4], season=2), [[3, 4, 3, 4]])
