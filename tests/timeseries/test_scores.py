"""Rows of the scoreboard by hand."""

from __future__ import annotations

import numpy as np
import pytest

from statewise.timeseries.calibration import from_history
from statewise.timeseries.config import ConformalConfig
from statewise.timeseries.conformal import extents
from statewise.timeseries.scores import average, score


def test_score_by_hand():
    actual = np.array([[10.0, 20.0], [np.nan, 40.0]])
    forecast = np.array([[12.0, 20.0], [30.0, 36.0]])
    half = np.array([[[4.0, 4.0], [8.0, 8.0]], [[1.0, 1.0], [4.0, 4.0]]])
    found = score(actual, forecast, extents(half), 2.0, (0.8, 0.95))
    assert found.mase == pytest.approx((2 + 0 + 4) / 3 / 2)
    assert found.coverage == pytest.approx((2 / 3, 1.0))
    assert found.width == pytest.approx(((8 + 2) / 2 / 2, (16 + 8) / 2 / 2))
    assert found.windows == 2


def test_origins_that_nothing_calibrates_count_for_the_error_only():
    actual, forecast = np.array([[1.0], [2.0]]), np.array([[2.0], [2.0]])
    half = np.array([[[np.nan]], [[3.0]]])
    found = score(actual, forecast, extents(half), 1.0, (0.8,))
    assert found.mase == 0.5
    assert found.coverage == (1.0,)
    assert found.width == (6.0,)
    nothing = score(actual, forecast, np.full((2, 2, 1, 1), np.nan), 1.0, (0.8,))
    assert np.isnan([*nothing.coverage, *nothing.width, nothing.pinball]).all()


def test_pinball_is_least_for_the_right_width():
    actual = np.random.default_rng(0).normal(size=(4000, 1))
    found = {
        width: score(actual, np.zeros((4000, 1)), np.full((4000, 2, 1, 1), width), 1.0, (0.8,)).pinball
        for width in (0.6, 1.2816, 2.5)
    }
    assert min(found, key=found.__getitem__) == 1.2816


def test_average_gives_each_series_the_same_weight():
    half = np.ones((1, 2, 1, 1))
    near = score(np.array([[1.0]]), np.array([[1.0]]), half, 1.0, (0.8,))
    far = score(np.full((9, 1), 4.0), np.zeros((9, 1)), np.full((9, 2, 1, 1), np.nan), 1.0, (0.8,))
    both = average({"near": near, "far": far})
    assert both.mase == 2.0
    assert both.coverage == (1.0,)
    assert both.windows == 10


def widths(values: list[float], horizon: int = 3) -> np.ndarray:
    return from_history(np.array(values), horizon, ConformalConfig())


def test_half_widths_of_a_history_grow_with_the_steps_of_a_walk():
    walk = np.cumsum(np.random.default_rng(1).normal(size=900))
    found = widths(list(walk), 16)
    assert found[0, 0] == pytest.approx(1.2816, rel=0.15)
    assert found[0, 15] > 2.5 * found[0, 0]
    assert (found[1] > found[0]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5.0], 5.0), ([np.nan, -2.0], 2.0), ([np.nan], 0.0), ([], 0.0), ([4.0] * 9, 0.0)],
)
def test_half_widths_where_there_is_next_to_nothing(values: list[float], expected: float):
    np.testing.assert_array_equal(widths(values), np.full((2, 3), expected))


def test_half_widths_of_a_short_history_are_finite():
    assert np.isfinite(widths([1.0, 3.0])).all()
    assert (widths([1.0, 3.0])[0] >= 2).all()
