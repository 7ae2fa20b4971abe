"""The frequency of stamps, found with tolerance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import ConfigError, DataError
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.grid import Fit, fit_frequency, fit_steps, floor, positions, use_frequency

ONE = np.array([0])
STARTS = {
    "W-MON": "2018-12-31", "2W-THU": "2019-01-03", "ME": "2019-01-31", "QE-DEC": "2019-03-31",
    "QE-NOV": "2019-02-28", "YE-DEC": "2018-12-31", "YS-JUL": "2018-07-01", "MS-15": "2019-01-15",
}  # fmt: skip
CODES = (
    "h", "2h", "3h", "15min", "10min", "min", "30s", "s", "250ms", "D", "2D", "B", "W-MON", "2W-THU", "MS",
    "ME", "MS-15", "QS-JAN", "QE-DEC", "QE-NOV", "2QS-JAN", "YS-JAN", "YE-DEC", "YS-JUL", "5YS-JAN",
)  # fmt: skip


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]")


@given(st.sampled_from(CODES), st.sets(st.integers(0, 59), min_size=40))
def test_a_regular_grid_with_holes_is_found_exactly(code: str, kept: set[int]):
    frequency = Frequency.parse(code)
    times = frequency.range(np.datetime64(STARTS.get(code, "2019-01-01"), "us"), 60)[sorted(kept)]
    fit = fit_frequency(times, ONE, "time")
    assert (fit.frequency.code, fit.way) == (code, "exact")
    index, firsts = positions(fit, times, ONE)
    assert np.array_equal(fit.frequency.at(firsts[0], index), times)
    assert np.array_equal(index, np.array(sorted(kept)) - min(kept))


def test_series_with_origins_of_their_own():
    one, other = (
        Frequency("month").range(np.datetime64("2020-01-01"), 5),
        Frequency("month").range(np.datetime64("2019-05-01"), 7),
    )
    times, starts = np.concatenate([one, other]), np.array([0, 5])
    index, firsts = positions(fit_frequency(times, starts, "month"), times, starts)
    assert index.tolist() == [*range(5), *range(7)]
    assert firsts.tolist() == [one[0].item(), other[0].item()]


def test_months_by_their_last_or_first_day_of_trade():
    days = Frequency("business-day").range(np.datetime64("2019-01-01"), 600)
    months = days.astype("datetime64[M]")
    change = months[1:] != months[:-1]
    last, first = days[np.append(change, False)], days[np.append(False, change)]
    assert fit_frequency(last, ONE, "day").frequency.code == "ME"
    assert fit_frequency(first, ONE, "day").frequency.code == "M"
    assert fit_frequency(last, ONE, "day").way == "near"
    index, firsts = positions(fit_frequency(last, ONE, "day"), last, ONE)
    assert index.tolist() == list(range(len(last)))
    assert str(firsts[0])[:10] == "2019-01-31"


def test_business_days_and_days():
    business = Frequency("business-day").range(np.datetime64("2020-01-01"), 60)
    assert fit_frequency(business, ONE, "day").frequency.code == "B"
    assert fit_frequency(business[::2], ONE, "day").frequency.code == "B"
    assert fit_frequency(business[:3], ONE, "day").frequency.code == "D"
    daily = Frequency("day").range(np.datetime64("2020-01-01"), 60)
    assert fit_frequency(daily, ONE, "day").frequency.code == "D"
    weekly = Frequency("week").range(np.datetime64("2020-01-01"), 60)
    assert fit_frequency(weekly, ONE, "day").frequency.code == "W-WED"


def test_steps_of_28_days_do_not_follow_the_months():
    times = np.datetime64("2020-01-01", "us") + 28 * np.arange(20).astype("timedelta64[D]")
    assert fit_frequency(times, ONE, "day").frequency.code == "4W-WED"


def test_a_week_moved_by_a_holiday_keeps_its_grid():
    times = Frequency("week").range(np.datetime64("2020-01-06"), 40)
    times[[5, 20]] += np.timedelta64(1, "D")
    fit = fit_frequency(times, ONE, "day")
    assert (fit.frequency.unit, fit.way) == ("week", "near")
    assert positions(fit, times, ONE)[0].tolist() == list(range(40))


@pytest.mark.parametrize("spread", [3, 60])
def test_jitter(spread: int):
    rng = np.random.default_rng(0)
    noise = rng.integers(-spread, spread, 80).astype("timedelta64[s]")
    times = np.datetime64("2020-01-01T00:00", "us") + 600 * np.arange(1, 81).astype("timedelta64[s]") + noise
    fit = fit_frequency(times, ONE, "time")
    assert (fit.frequency.code, fit.way) == ("10min", "near")
    index, firsts = positions(fit, times, ONE)
    assert index.tolist() == list(range(80))
    assert str(firsts[0]) == "2020-01-01T00:10:00.000000"


@pytest.mark.parametrize(
    ("mean", "code"), [(40, "30s"), (4_000, "h"), (100_000, "D"), (9e6, "QS"), (4e7, "YS")]
)
def test_irregular_stamps_get_the_natural_step_nearest_to_their_median(mean: float, code: str):
    rng = np.random.default_rng(0)
    gaps = rng.integers(int(0.2 * mean), int(1.8 * mean), 300).astype("timedelta64[s]")
    times = np.datetime64("2000-01-01", "us") + np.cumsum(gaps)
    fit = fit_frequency(times, ONE, "time")
    assert (fit.frequency.code, fit.way) == (code, "bins")
    index, firsts = positions(fit, times, ONE)
    begins = fit.frequency.at(firsts[0], index)
    assert (begins <= times).all()
    assert (times < fit.frequency.at(firsts[0], index + 1)).all()


@pytest.mark.parametrize(
    ("code", "time", "expected"),
    [
        ("2h", "2020-02-29T13:05", "2020-02-29T12:00"),
        ("D", "2020-02-29T13:05", "2020-02-29"),
        ("W", "2020-02-29", "2020-02-24"),
        ("W-SUN", "2020-02-29", "2020-02-23"),
        ("B", "2020-02-29", "2020-02-28"),
        ("M", "2020-02-29", "2020-02-01"),
        ("ME", "2020-02-10", "2020-02-29"),
        ("QS", "2020-02-29", "2020-01-01"),
        ("QS-FEB", "2020-01-29", "2019-11-01"),
        ("QE", "2020-02-29", "2020-03-31"),
        ("QE-NOV", "2020-02-29", "2020-02-29"),
        ("YS-JUL", "2020-02-29", "2019-07-01"),
        ("YE-JUN", "2020-02-29", "2020-06-30"),
    ],
)
def test_the_step_that_holds_a_moment(code: str, time: str, expected: str):
    assert floor(Frequency.parse(code), stamps(time)).tolist() == stamps(expected).tolist()


def test_a_single_stamp():
    assert fit_frequency(stamps("2020-01-01"), ONE, "month").frequency == Frequency("month")
    with pytest.raises(DataError, match="a single time stamp does not tell"):
        fit_frequency(stamps("2020-01-01T05:00"), ONE, "time")


def test_the_users_frequency():
    daily = Frequency("day").range(np.datetime64("2020-01-01"), 60)
    assert use_frequency(Frequency("day"), daily, ONE) == Fit(frequency=Frequency("day"), way="exact")
    assert use_frequency(Frequency("week"), daily, ONE).way == "bins"
    ends = Frequency("month-end").range(np.datetime64("2020-01-31"), 12)
    assert use_frequency(Frequency.parse("M"), ends, ONE).frequency.unit == "month-end"
    with pytest.raises(ConfigError, match="a step of s is too fine"):
        use_frequency(Frequency("second"), daily, ONE)


@pytest.mark.parametrize(
    ("numbers", "multiple", "way", "steps"),
    [
        ([0, 1, 2, 5], 1, "exact", [0, 1, 2, 5]),
        ([10, 20, 40], 10, "exact", [10, 20, 40]),
        ([0.1, 0.2, 0.4], 1, "near", [0, 1, 3]),
        ([0, 1, 2.4, 3.5], 1, "bins", [0, 1, 2, 3]),
        ([7], 1, "exact", [7]),
    ],
)
def test_counted_steps(numbers: list[float], multiple: int, way: str, steps: list[int]):
    fit, counts = fit_steps(np.array(numbers, dtype=float), ONE)
    assert (fit.frequency, fit.way) == (Frequency("step", multiple), way)
    assert counts.tolist() == steps
