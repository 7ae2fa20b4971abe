"""Frequencies: codes, calendars, and the round trip between steps and stamps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.config import from_dict, to_dict
from statewise.core.errors import ConfigError
from statewise.timeseries.frequency import MICROSECONDS, UNITS, Frequency

ENDS = ("month-end", "quarter-end", "year-end")


@st.composite
def frequencies(draw: st.DrawFn) -> Frequency:
    unit = draw(st.sampled_from(UNITS))
    anchors = {"week": st.integers(0, 6), "month": st.integers(1, 31)}
    anchors |= dict.fromkeys(("quarter", "quarter-end", "year", "year-end"), st.integers(1, 12))
    anchor = draw(st.none() | anchors[unit]) if unit in anchors else None
    return Frequency(unit, draw(st.integers(1, 13)), anchor)


@st.composite
def grids(draw: st.DrawFn) -> tuple[Frequency, np.datetime64 | int]:
    """A frequency and a stamp that lies on its grid."""
    frequency = draw(frequencies())
    if frequency.unit == "step":
        return frequency, draw(st.integers(-1_000, 1_000))
    clock = np.timedelta64(draw(st.integers(0, 86_399_999_999)), "us")
    day = np.datetime64("1970-01-01", "D") + draw(st.integers(-30_000, 30_000))
    if frequency.unit == "business-day":
        day = np.busday_offset(day, 0, roll="forward")
    month = day.astype("datetime64[M]")
    last = (month + 1).astype("datetime64[D]") - 1
    if frequency.unit in ENDS:
        day = last
    elif frequency.unit == "month" and frequency.anchor is not None:
        day = min(month.astype("datetime64[D]") + frequency.anchor - 1, last)
    elif frequency.unit in ("month", "quarter", "year"):
        day = min(day, month.astype("datetime64[D]") + 27)
    return frequency, day.astype("datetime64[us]") + clock


@given(frequencies())
def test_a_code_is_read_back(frequency: Frequency):
    assert Frequency.parse(frequency.code) == frequency
    assert from_dict(Frequency, to_dict(frequency)) == frequency


@given(grids(), st.integers(1, 200), st.integers(1, 50))
def test_ranges_are_regular_and_index_of_undoes_them(grid, n: int, more: int):
    frequency, first = grid
    times = frequency.range(first, n)
    assert times.shape == (n,)
    assert times.dtype == (np.int64 if frequency.unit == "step" else np.dtype("datetime64[us]"))
    assert times[0] == first
    assert (np.diff(times) > np.zeros(1, dtype=np.diff(times[:1]).dtype)).all()
    assert np.array_equal(frequency.index_of(times, first), np.arange(n))
    assert np.array_equal(frequency.future(times[-1], more), frequency.range(first, n + more)[n:])
    assert np.array_equal(frequency.at(times[-1], -np.arange(n))[::-1], times)


@given(grids(), st.integers(1, 100))
def test_a_range_in_two_pieces_is_the_range(grid, cut: int):
    frequency, first = grid
    whole = frequency.range(first, 120)
    assert np.array_equal(frequency.index_of(whole[cut:], whole[cut]), np.arange(120 - cut))


@pytest.mark.parametrize(
    ("code", "first", "expected"),
    [
        ("h", "2020-02-28T23", ["2020-02-28T23", "2020-02-29T00", "2020-02-29T01"]),
        ("B", "2020-01-02", ["2020-01-02", "2020-01-03", "2020-01-06"]),
        ("W-MON", "2020-01-06", ["2020-01-06", "2020-01-13", "2020-01-20"]),
        ("MS", "2019-12-01", ["2019-12-01", "2020-01-01", "2020-02-01"]),
        ("ME", "2019-12-31", ["2019-12-31", "2020-01-31", "2020-02-29"]),
        ("MS-31", "2019-12-31", ["2019-12-31", "2020-01-31", "2020-02-29"]),
        ("MS-15", "2020-01-15", ["2020-01-15", "2020-02-15", "2020-03-15"]),
        ("QS", "2019-10-01", ["2019-10-01", "2020-01-01", "2020-04-01"]),
        ("QE-NOV", "2019-11-30", ["2019-11-30", "2020-02-29", "2020-05-31"]),
        ("YE", "2019-12-31", ["2019-12-31", "2020-12-31", "2021-12-31"]),
        ("YS-JUL", "2019-07-01", ["2019-07-01", "2020-07-01", "2021-07-01"]),
        ("2W", "2020-01-01", ["2020-01-01", "2020-01-15", "2020-01-29"]),
        ("15min", "2020-01-01T23:45", ["2020-01-01T23:45", "2020-01-02T00:00", "2020-01-02T00:15"]),
    ],
)
def test_the_calendar(code: str, first: str, expected: list[str]):
    times = Frequency.parse(code).range(np.datetime64(first), 3)
    assert np.array_equal(times, np.array(expected, dtype="datetime64[us]"))


@pytest.mark.parametrize(
    ("text", "unit", "multiple", "anchor"),
    [
        ("15min", "minute", 15, None),
        ("15m", "minute", 15, None),
        ("T", "minute", 1, None),
        ("ms", "millisecond", 1, None),
        ("MS", "month", 1, 1),
        ("M", "month", 1, None),
        ("1mo", "month", 1, None),
        ("Q", "quarter", 1, None),
        ("A", "year", 1, None),
        ("w-sun", "week", 1, 6),
        ("hourly", "hour", 1, None),
        ("business", "business-day", 1, None),
        (" 2 weeks ", "week", 2, None),
        ("month-end", "month-end", 1, None),
    ],
)
def test_codes_and_words(text: str, unit: str, multiple: int, anchor: int | None):
    assert Frequency.parse(text) == Frequency(unit, multiple, anchor)


@pytest.mark.parametrize(
    ("code", "periods", "default", "horizon", "label"),
    [
        ("h", (24, 168), 24, 24, "hourly"),
        ("D", (7, 365), 7, 7, "daily"),
        ("B", (5, 261), 5, 10, "business days"),
        ("W-MON", (52,), 52, 52, "weekly on Mondays"),
        ("MS", (12,), 12, 12, "monthly"),
        ("ME", (12,), 12, 12, "monthly (month ends)"),
        ("QS", (4,), 4, 4, "quarterly"),
        ("YS", (), 1, 10, "yearly"),
        ("30min", (48, 336), 48, 10, "every 30 minutes"),
        ("15min", (96, 672), 96, 10, "every 15 minutes"),
        ("10min", (144, 1008), 144, 10, "every 10 minutes"),
        ("5min", (12, 288, 2016), 288, 10, "every 5 minutes"),
        ("min", (60, 1440, 10080), 1440, 10, "every minute"),
        ("6h", (4, 28, 1461), 4, 10, "every 6 hours"),
        ("3MS", (4,), 4, 10, "every 3 months"),
        ("step", (), 1, 10, "plain steps"),
    ],
)
def test_seasons_of_the_calendar(code: str, periods: tuple, default: int, horizon: int, label: str):
    frequency = Frequency.parse(code)
    assert frequency.periods == periods
    assert frequency.default_period == default
    assert frequency.default_horizon == horizon
    assert frequency.label == label


def test_lengths():
    assert Frequency("week", 2).microseconds == 2 * MICROSECONDS["week"]
    assert Frequency("business-day").microseconds * 5 == MICROSECONDS["week"]
    assert Frequency("year").microseconds == pytest.approx(4 * Frequency("quarter").microseconds)
    assert Frequency("step").microseconds == 0


def test_a_stamp_between_steps_counts_for_the_earlier_one():
    hour = Frequency("hour")
    first = np.datetime64("2020-01-01T00", "us")
    assert hour.index_of(np.array([first + 3_599_999_999, first - 1]), first).tolist() == [0, -1]
    saturday = np.array(["2020-01-04"], dtype="datetime64[us]")
    assert Frequency("business-day").index_of(saturday, np.datetime64("2020-01-03", "us")).tolist() == [0]


@pytest.mark.parametrize(
    "text", ["", "houly", "0h", "W-JAN", "h-MON", "MS-40", "ME-3", "-1D", "D 2", "YS-MON"]
)
def test_nonsense_is_refused(text: str):
    with pytest.raises(ConfigError):
        Frequency.parse(text)


def test_the_nearest_word_is_offered():
    with pytest.raises(ConfigError, match="did you mean 'hourly'"):
        Frequency.parse("houly")
    with pytest.raises(ConfigError, match="did you mean 'business-day'"):
        Frequency("busines-day")
