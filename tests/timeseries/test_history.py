"""Gaps are filled from the past alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from statewise.timeseries.history import fill_missing, first_observed, last_observed, windows

NAN = np.nan
gappy = arrays(float, st.integers(0, 40), elements=st.one_of(st.just(NAN), st.floats(-1e6, 1e6)))


@pytest.mark.parametrize(
    ("values", "period", "filled"),
    [
        ([1, NAN, 3, NAN], 1, [1, 1, 3, 3]),
        ([1, 2, NAN, NAN, NAN, 6], 2, [1, 2, 1, 2, 1, 6]),
        ([NAN, 2, NAN, 4, NAN, NAN], 2, [2, 2, 2, 4, 4, 4]),
        ([NAN, NAN, 7], 2, [7, 7, 7]),
        ([NAN, NAN], 3, [0, 0]),
        ([], 3, []),
        ([1, NAN, np.inf], 1, [1, 1, 1]),
    ],
)
def test_fill_by_hand(values: list[float], period: int, filled: list[float]):
    np.testing.assert_array_equal(fill_missing(np.array(values, dtype=float), period), filled)


@given(gappy, st.integers(1, 9))
def test_fill_keeps_what_was_observed_and_leaves_no_gap(values: np.ndarray, period: int):
    filled = fill_missing(values, period)
    observed = np.isfinite(values)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[observed], values[observed])


@given(gappy, st.integers(1, 9), st.data())
def test_fill_never_looks_ahead(values: np.ndarray, period: int, data: st.DataObject):
    cut = data.draw(st.integers(first_observed(values) + 1, max(first_observed(values) + 1, len(values))))
    np.testing.assert_array_equal(fill_missing(values, period)[:cut], fill_missing(values[:cut], period))


def test_first_and_last_observed():
    values = np.array([NAN, 1.0, NAN, 2.0])
    assert first_observed(values) == 1
    assert first_observed(np.array([NAN])) == 1
    np.testing.assert_array_equal(last_observed(values), [-1, 1, 1, 3])


def test_windows_end_before_their_origin_and_repeat_the_first_value():
    values = np.arange(10.0, 15.0)
    np.testing.assert_array_equal(windows(values, np.array([1, 4]), 3), [[10, 10, 10], [11, 12, 13]])
