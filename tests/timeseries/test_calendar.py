"""Calendar features against the standard library's calendar, stamp by stamp."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.timeseries import calendar
from statewise.timeseries.frequency import UNITS, Frequency


def by_hand(stamp: dt.datetime, cycle: str) -> float:
    position, largest = {
        "second": (stamp.second, 59),
        "minute": (stamp.minute, 59),
        "hour": (stamp.hour, 23),
        "weekday": (stamp.weekday(), 6),
        "day of month": (stamp.day - 1, 30),
        "day of year": (stamp.timetuple().tm_yday - 1, 365),
        "week of year": (stamp.isocalendar().week - 1, 52),
        "month of year": (stamp.month - 1, 11),
    }[cycle]
    return position / largest - 0.5


@settings(max_examples=25)
@given(st.lists(st.datetimes(dt.datetime(1899, 1, 1), dt.datetime(2101, 1, 1)), min_size=1, max_size=20))
@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit not in ("step", "year", "year-end")])
def test_every_feature_equals_the_standard_librarys(unit: str, stamps: list[dt.datetime]):
    frequency = Frequency(unit)
    values = calendar.features(np.array(stamps, dtype="datetime64[us]"), frequency)
    expected = [[by_hand(stamp, cycle) for cycle in calendar.names(frequency)] for stamp in stamps]
    np.testing.assert_allclose(values, expected, atol=1e-7)
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("unit", "count"),
    [("minute", 5), ("hour", 4), ("day", 3), ("business-day", 3), ("week", 2), ("quarter", 1), ("year", 0)],
)
def test_number_of_features(unit: str, count: int):
    assert len(calendar.names(Frequency(unit))) == count


def test_plain_steps_have_no_calendar():
    assert calendar.features(np.arange(7), Frequency("step")).shape == (7, 0)
