"""Metrics against numbers worked out by hand, and what must hold for any numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from statewise.timeseries import metrics

NAN = np.nan
finite = st.floats(-1e6, 1e6)


def vectors(*more: st.SearchStrategy[float]):
    """As many arrays of one length as there are strategies."""
    return st.integers(1, 20).flatmap(
        lambda n: st.tuples(*(arrays(float, n, elements=each) for each in more))
    )


def test_errors_by_hand():
    actual, forecast = np.array([1.0, 2.0, NAN, 4.0]), np.array([2.0, 2.0, 9.0, 1.0])
    assert metrics.mse(actual, forecast) == pytest.approx(10 / 3)
    assert metrics.mae(actual, forecast) == pytest.approx(4 / 3)
    assert metrics.mase(actual, forecast, 2.0) == pytest.approx(2 / 3)
    assert metrics.smape(actual, forecast) == pytest.approx(200 * (1 / 3 + 0 + 3 / 5) / 3)


def test_nothing_observed_is_nan():
    nothing = np.array([NAN, NAN])
    assert np.isnan(metrics.mae(nothing, np.zeros(2)))
    assert np.isnan(metrics.coverage(nothing, np.zeros(2), np.ones(2)))
    assert np.isnan(metrics.width(np.zeros(0), np.zeros(0)))


def test_seasonal_scale_by_hand():
    history = np.array([1.0, 5.0, 2.0, 7.0, NAN, 8.0])
    assert metrics.seasonal_scale(history, 2) == pytest.approx((1 + 2 + 1) / 3)
    assert metrics.seasonal_scale(history, 1) == pytest.approx((4 + 3 + 5) / 3)


@pytest.mark.parametrize(
    ("history", "scale"),
    [
        ([5.0, 9.0, 5.0, 9.0], 4.0),  # no error at the season: the steps
        ([3.0, 3.0, 3.0], 3.0),  # constant: its level
        ([-3.0], 3.0),
        ([0.0, 0.0, 0.0], 1.0),
        ([NAN, NAN], 1.0),
        ([], 1.0),
    ],
)
def test_seasonal_scale_of_a_degenerate_history(history: list[float], scale: float):
    assert metrics.seasonal_scale(np.array(history), 2) == scale


def test_smape_where_both_are_zero_is_zero():
    assert metrics.smape(np.array([0.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(100)


def test_pinball_by_hand():
    actual = np.array([10.0, 0.0])
    quantiles = np.array([[6.0, 12.0], [6.0, 12.0]])
    # the first: 0.1 * 4 and 0.1 * 2; the second: 0.9 * 6 and 0.1 * 12
    assert metrics.pinball(actual, quantiles, (0.1, 0.9)) == pytest.approx((0.4 + 0.2 + 5.4 + 1.2) / 4)


def test_interval_by_hand():
    actual, lower, upper = np.array([0.0, 5.0, 13.0, NAN]), np.full(4, 1.0), np.full(4, 9.0)
    assert metrics.coverage(actual, lower, upper) == pytest.approx(1 / 3)
    assert metrics.width(lower, upper) == 8
    assert metrics.interval_score(actual, lower, upper, 0.8) == pytest.approx(8 + 10 * (1 + 0 + 4) / 3)


@given(vectors(finite, finite))
def test_errors_vanish_only_at_the_truth(pair: tuple[np.ndarray, np.ndarray]):
    actual, forecast = pair
    assert metrics.mse(actual, actual) == metrics.mae(actual, actual) == metrics.smape(actual, actual) == 0
    assert (metrics.mae(actual, forecast) > 0) == (not np.array_equal(actual, forecast))
    assert 0 <= metrics.smape(actual, forecast) <= 200 * (1 + 1e-12)
    assert metrics.mae(actual, forecast) ** 2 <= metrics.mse(actual, forecast) * (1 + 1e-9) + 1e-300


@given(vectors(finite, finite), st.floats(1e-3, 1e3))
def test_mase_and_smape_know_no_units(pair: tuple[np.ndarray, np.ndarray], unit: float):
    actual, forecast = pair
    scale = metrics.seasonal_scale(actual, 1)
    scaled = metrics.seasonal_scale(unit * actual, 1)
    if min(scale, scaled) > 1e-90 and 1.0 not in (scale, scaled):  # zeros have no scale of their own
        once = metrics.mase(actual, forecast, scale)
        assert metrics.mase(unit * actual, unit * forecast, scaled) == pytest.approx(once, rel=1e-6)


@given(vectors(finite, finite))
def test_pinball_at_the_median_is_half_the_mae(pair: tuple[np.ndarray, np.ndarray]):
    actual, forecast = pair
    half = metrics.mae(actual, forecast) / 2
    assert metrics.pinball(actual, forecast[:, None], (0.5,)) == pytest.approx(half)


@given(arrays(float, 40, elements=st.floats(-100, 100)), st.sampled_from([0.1, 0.5, 0.8]))
def test_pinball_and_interval_score_are_least_at_the_quantiles(sample: np.ndarray, level: float):
    candidates = np.unique(sample)
    losses = [metrics.pinball(sample, np.full((40, 1), c), (level,)) for c in candidates]
    quantile = np.quantile(sample, level, method="inverted_cdf")
    assert metrics.pinball(sample, np.full((40, 1), quantile), (level,)) <= min(losses) + 1e-9
    tail = (1 - level) / 2
    low, high = (np.quantile(sample, q, method="inverted_cdf") for q in (tail, 1 - tail))
    wide = metrics.interval_score(sample, np.full(40, low - 5), np.full(40, high + 5), level)
    assert metrics.interval_score(sample, np.full(40, low), np.full(40, high), level) <= wide + 1e-9
