"""Calendar features: where in the minute, hour, day, week, month and year a step stands, each in [-0.5, 0.5].

The encoding is the field's usual one (Zhou et al., "Informer", AAAI 2021, and the papers after it): a
position counted from zero, divided by the largest position of its cycle, less a half. Which cycles are given
depends on the frequency: those longer than one step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from statewise.timeseries.frequency import Frequency

__all__ = ["features", "names"]

_WITHIN_A_DAY = ("hour", "weekday", "day of month", "day of year")
_CYCLES = {
    "second": ("second", "minute", *_WITHIN_A_DAY),
    "minute": ("minute", *_WITHIN_A_DAY),
    "hour": _WITHIN_A_DAY,
    "day": _WITHIN_A_DAY[1:],
    "week": ("day of month", "week of year"),
    "month": ("month of year",),
}
_KIND = {
    "microsecond": "second",
    "millisecond": "second",
    "business-day": "day",
    "month-end": "month",
    "quarter": "month",
    "quarter-end": "month",
}


def names(frequency: Frequency) -> tuple[str, ...]:
    """The cycles given for a frequency, finest first; none for years and plain steps."""
    return _CYCLES.get(_KIND.get(frequency.unit, frequency.unit), ())


def features(times: np.ndarray, frequency: Frequency) -> np.ndarray:
    """Calendar features of each stamp.

    Args:
        times: stamps, (L,): datetime64 on a wall clock, or int64 for plain steps.
        frequency: decides which cycles are given.

    Returns:
        (L, F) float32 in [-0.5, 0.5], columns as in `names`.
    """
    cycles = names(frequency)
    if not cycles:
        return np.zeros((len(times), 0), dtype=np.float32)
    stamps = np.asarray(times, dtype="datetime64[s]")
    columns = [_POSITION[name](stamps) / _LARGEST[name] - 0.5 for name in cycles]
    return np.stack(columns, axis=1).astype(np.float32)


def _days(stamps: np.ndarray) -> np.ndarray:
    """Whole days since 1970-01-01, a Thursday."""
    return stamps.astype("datetime64[D]").astype(np.int64)


def _seconds(stamps: np.ndarray) -> np.ndarray:
    return stamps.astype(np.int64)


def _since(stamps: np.ndarray, unit: str) -> np.ndarray:
    """Days since the month or year began."""
    return _days(stamps) - _days(stamps.astype(f"datetime64[{unit}]"))


def _week_of_year(stamps: np.ndarray) -> np.ndarray:
    """ISO week less one: a week belongs to the year of its Thursday."""
    days = _days(stamps)
    thursday = days - (days + 3) % 7 + 3
    return _since(thursday.astype("datetime64[D]"), "Y") // 7


_POSITION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "second": lambda stamps: _seconds(stamps) % 60,
    "minute": lambda stamps: _seconds(stamps) // 60 % 60,
    "hour": lambda stamps: _seconds(stamps) // 3_600 % 24,
    "weekday": lambda stamps: (_days(stamps) + 3) % 7,
    "day of month": lambda stamps: _since(stamps, "M"),
    "day of year": lambda stamps: _since(stamps, "Y"),
    "week of year": _week_of_year,
    "month of year": lambda stamps: stamps.astype("datetime64[M]").astype(np.int64) % 12,
}
_LARGEST = {
    "second": 59,
    "minute": 59,
    "hour": 23,
    "weekday": 6,
    "day of month": 30,
    "day of year": 365,
    "week of year": 52,
    "month of year": 11,
}
