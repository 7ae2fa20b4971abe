"""Intervals cover what they promise, whatever the errors do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from statewise.core.errors import ConfigError
from statewise.timeseries.config import ConformalConfig
from statewise.timeseries.conformal import half_widths, track

LEVELS = (0.8, 0.95)
ONE = np.ones(1)


def split(errors: np.ndarray, *, scale: np.ndarray = ONE, stride: int = 99) -> np.ndarray:
    return half_widths(errors, LEVELS, scale, stride)


def test_half_width_is_the_conformal_order_statistic():
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    signs = np.where(np.arange(99) % 2, 1, -1)
    # ceil(100 * 0.8) = 80 and ceil(100 * 0.95) = 95, widened by what 99 are short of infinitely many
    wider = [student.ppf((1 + level) / 2, 99) / student.ppf((1 + level) / 2, np.inf) for level in LEVELS]
    widths = split((signs * errors)[:, None, None])
    np.testing.assert_allclose(widths[:, 0, 0], np.array([80, 95]) * wider)


def test_few_residuals_borrow_from_neighbouring_steps():
    # four origins, steps of size 1 .. 9: ten residuals are wanted for a level of 0.8
    errors = np.tile(np.arange(1.0, 10.0), (4, 1))[:, None]
    widths = split(errors)[0, 0]
    assert (np.diff(widths) >= 0).all()
    # three steps together, 12 residuals: the 11th smallest is that of the largest step
    assert widths[4] == pytest.approx(6 * student.ppf(0.9, 4) / student.ppf(0.9, np.inf))


def test_too_few_for_the_level_are_widened_beyond_the_largest():
    errors = np.array([1.0, -2.0, 3.0])[:, None, None]
    spread = np.sqrt(14 / 3)
    expected = [max(3, student.ppf(q, 3) * spread) for q in (0.9, 0.975)]
    np.testing.assert_allclose(split(errors)[:, 0, 0], expected)


def test_overlapping_forecasts_count_as_parts_of_one():
    errors = np.random.default_rng(1).normal(size=(40, 1, 10))
    apart, overlapping = split(errors, stride=10), split(errors, stride=1)
    np.testing.assert_allclose(apart[:, 0, 0], overlapping[:, 0, 0])
    ratio = student.ppf(0.9, 4) / student.ppf(0.9, 40)
    assert overlapping[0, 0, 9] / apart[0, 0, 9] == pytest.approx(ratio)


def test_short_series_share_their_residuals_in_units_of_their_scales():
    rng = np.random.default_rng(2)
    scale = np.array([1.0, 10.0, 100.0])
    errors = rng.normal(size=(5, 3, 4)) * scale[:, None]
    widths = split(errors, scale=scale)
    np.testing.assert_allclose(widths / scale[:, None], np.repeat(widths[:, :1], 3, axis=1))
    # a series with many origins stands for itself
    errors = np.concatenate((np.full((50, 3, 4), np.nan), errors))
    errors[:50, 0] = rng.normal(size=(50, 4)) * 7
    assert split(errors, scale=scale)[0, 0].mean() > 3 * widths[0, 0].mean()


def test_nothing_known_is_nan():
    assert np.isnan(split(np.full((3, 1, 2), np.nan))).all()
    assert split(np.zeros((3, 1, 2))).max() == 0


@given(
    rows=st.integers(1, 40),
    horizon=st.integers(1, 8),
    series=st.integers(1, 3),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
    stride=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_widths_are_never_negative_and_never_cross(
    rows: int, horizon: int, series: int, missing: float, stride: int, seed: int
):
    rng = np.random.default_rng(seed)
    errors = rng.standard_t(2, size=(rows, series, horizon))
    errors[rng.random(errors.shape) < missing] = np.nan
    config = ConformalConfig(levels=(0.5, 0.8, 0.95, 0.99), adapt=0.3)
    widths = track(errors, stride * np.arange(rows), stride * rows + horizon, config, np.ones(series))
    known = np.isfinite(widths)
    assert (widths[known] >= 0).all()
    assert (known.all(axis=1) == known.any(axis=1)).all()
    assert (np.diff(widths, axis=1)[np.broadcast_to(known[:, :1], known[:, 1:].shape)] >= 0).all()


@given(seed=st.integers(0, 2**32 - 1), level=st.sampled_from([0.5, 0.8, 0.95]))
@settings(max_examples=25)
def test_exchangeable_errors_are_covered(seed: int, level: float):
    rng = np.random.default_rng(seed)
    shape = (2000, 1, 1)
    past, later = (np.exp(rng.normal(size=shape)) * rng.choice([-1, 1], size=shape) for _ in range(2))
    width = half_widths(past, (level,), ONE, 1)[0, 0, 0]
    assert np.mean(np.abs(later) <= width) == pytest.approx(
        level, abs=5 * np.sqrt(level * (1 - level) / 1000)
    )


def covered(errors: np.ndarray, adapt: float, *, skip: int = 200) -> np.ndarray:
    """Coverage of the levels when every origin is a forecast, leaving out the first `skip`."""
    config = ConformalConfig(levels=LEVELS, adapt=adapt)
    widths = track(errors, np.arange(len(errors)), len(errors), config, np.ones(errors.shape[1]))[:-1]
    return (np.abs(errors[skip:, None]) <= widths[skip:]).mean(axis=(0, 2, 3))


def test_growing_errors_are_covered_only_by_adapting():
    rng = np.random.default_rng(3)
    errors = rng.normal(size=(3000, 1, 6)) * np.linspace(1, 8, 3000)[:, None, None]
    np.testing.assert_allclose(covered(errors, 0.02), LEVELS, atol=0.02)
    assert covered(errors, 0.0)[0] < 0.7


def test_errors_that_come_and_go_are_covered():
    rng = np.random.default_rng(4)
    size = 1 + 2 * (np.sin(np.arange(4000) / 150) > 0)
    errors = rng.normal(size=(4000, 2, 3)) * size[:, None, None]
    np.testing.assert_allclose(covered(errors, 0.02), LEVELS, atol=0.02)


def test_share_of_misses_follows_from_the_path_of_the_width():
    rng = np.random.default_rng(5)
    errors = np.cumsum(rng.normal(size=(500, 1, 1)), axis=0)
    eta, level = 0.05, 0.9
    config = ConformalConfig(levels=(level,), adapt=eta)
    widths = track(errors, np.arange(500), 500, config, ONE)[:, 0, 0, 0]
    first = int(np.flatnonzero(np.isfinite(widths))[0])
    misses = np.abs(errors[first:, 0, 0]) > widths[first:-1]
    # the quantile that the width starts from is taken again whenever the residuals have grown by a tenth
    counted = 0
    for now in range(1, 501):
        if now >= 1.1 * counted:
            counted = now
    base = half_widths(errors[:counted], (level,), ONE, 1)[0, 0, 0]
    expected = np.log(widths[-1] / base) / (eta * len(misses))
    assert misses.mean() - (1 - level) == pytest.approx(expected, abs=1e-9)


def test_only_what_is_known_by_then_counts():
    rng = np.random.default_rng(6)
    errors = rng.normal(size=(60, 1, 5))
    origins = 2 * np.arange(60)
    config = ConformalConfig(adapt=0.1)
    widths = track(errors, origins, 130, config, ONE)
    for row in (10, 30, 59):
        changed = errors.copy()
        # step h of origin o is known from o + h + 1 on
        unknown = origins[:, None] + np.arange(5) + 1 > origins[row]
        changed[unknown[:, None]] = 1e6
        np.testing.assert_array_equal(track(changed, origins, 130, config, ONE)[: row + 1], widths[: row + 1])
        changed[:] = np.where(unknown[:, None], errors, 0.0)
        assert not np.array_equal(track(changed, origins, 130, config, ONE)[row], widths[row])


@pytest.mark.parametrize("levels", [(), (0.0,), (0.95, 0.8), (0.8, 0.8), (0.5, 1.0)])
def test_impossible_levels_are_refused(levels: tuple[float, ...]):
    with pytest.raises(ConfigError, match="levels"):
        ConformalConfig(levels=levels)
