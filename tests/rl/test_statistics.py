from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from statewise.rl.statistics import bootstrap_interval, iqm


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_iqm_of_four_copies_is_the_trimmed_mean(values: list[float]):
    copies = np.repeat(np.array(values), 4)
    assert iqm(copies) == pytest.approx(trim_mean(copies, 0.25), rel=1e-9, abs=1e-6)
    assert iqm(np.array(values)) == pytest.approx(iqm(copies), rel=1e-9, abs=1e-6)


def test_iqm_is_deaf_to_outliers_and_borders_count_by_their_part():
    assert iqm(np.array([-1e9, 1, 2, 3, 4, 5, 6, 1e9])) == pytest.approx(3.5)
    assert iqm(np.array([0.0, 1.0, 5.0])) == pytest.approx((0.25 * 0 + 1 + 0.25 * 5) / 1.5)


def test_the_interval_covers_and_grows_with_the_spread_between_runs():
    generator = np.random.default_rng(0)
    alike = [generator.normal(10, 1, 30) for _ in range(4)]
    apart = [values + shift for values, shift in zip(alike, (-6, -2, 2, 6), strict=True)]
    low, high = bootstrap_interval(alike)
    assert low < 10 < high
    assert high - low < 1.5
    wide_low, wide_high = bootstrap_interval(apart)
    assert wide_high - wide_low > 4 * (high - low)
