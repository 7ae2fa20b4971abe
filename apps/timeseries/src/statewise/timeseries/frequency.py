"""The spacing of a series in time: one unit, how many of it, and where in the calendar a step stands.

Stamps are datetime64[us] on a wall clock, or int64 for plain steps. A unit has a fixed length (microsecond to
week), or a length in calendar months (month, quarter, year, each marked at its start or its end), or it is a
business day, or a bare step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from statewise.core.errors import ConfigError, suggestion

__all__ = ["MICROSECONDS", "UNITS", "Frequency"]

MICROSECONDS = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 604_800_000_000,
}
"""Units of a fixed length."""

_MONTHS = {"month": 1, "month-end": 1, "quarter": 3, "quarter-end": 3, "year": 12, "year-end": 12}
UNITS = ("step", *MICROSECONDS, "business-day", *_MONTHS)
"""Every unit, from the smallest to the largest kind."""

_YEAR = 365.2425 * MICROSECONDS["day"]
_CODES = {
    "step": "step", "microsecond": "us", "millisecond": "ms", "second": "s", "minute": "min", "hour": "h",
    "day": "D", "week": "W", "business-day": "B", "month": "MS", "month-end": "ME", "quarter": "QS",
    "quarter-end": "QE", "year": "YS", "year-end": "YE",
}  # fmt: skip
_ALIASES = {
    **{code.lower(): unit for unit, code in _CODES.items() if code != "ms"},
    **{unit: unit for unit in UNITS},
    **{f"{unit}s": unit for unit in UNITS},
    "micro": "microsecond", "l": "millisecond", "milli": "millisecond", "sec": "second", "t": "minute",
    "m": "minute", "hourly": "hour", "hr": "hour", "daily": "day", "weekly": "week", "bd": "business-day",
    "bday": "business-day", "business": "business-day", "mo": "month", "monthly": "month", "bm": "month-end",
    "q": "quarter", "quarterly": "quarter", "y": "year", "a": "year", "as": "year", "ae": "year-end",
    "yearly": "year", "annual": "year",
}  # fmt: skip
_DAY_NAMES = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_LABELS = {
    "step": "plain steps", "hour": "hourly", "day": "daily", "business-day": "business days",
    "week": "weekly", "month": "monthly", "month-end": "monthly (month ends)", "quarter": "quarterly",
    "quarter-end": "quarterly (quarter ends)", "year": "yearly", "year-end": "yearly (year ends)",
}  # fmt: skip
_DEFAULT_HORIZONS = {"hour": 24, "day": 7, "week": 52, "month": 12, "quarter": 4}
_CYCLES = (
    # cycle in microseconds, and the fewest and most steps of it that make a season worth looking for
    (MICROSECONDS["minute"], 10, 120),
    (MICROSECONDS["hour"], 12, 3_600),
    (MICROSECONDS["day"], 2, 86_400),
    (MICROSECONDS["week"], 3, 20_160),
    (_YEAR, 2, 1_500),
)
_CODE = re.compile(
    r"\s*(\d*)\s*([A-Za-z][A-Za-z-]*?)(?:-(\d{1,2}|" + "|".join((*_DAY_NAMES, *_MONTH_NAMES)) + r"))?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Frequency:
    """`multiple` units between neighbouring steps.

    `Frequency("hour")`, `Frequency("minute", 15)`, `Frequency("week", anchor=0)`, `Frequency("quarter-end")`.
    """

    unit: str
    """One of `UNITS`."""
    multiple: int = 1
    """Units per step."""
    anchor: int | None = None
    """Where a step stands: weekday 0 (Monday) .. 6 of a week, day 1 .. 31 of a month (cut to the month's
    length), month 1 .. 12 of a quarter or year; None: wherever the first stamp stands."""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError(
                f"there is no unit of time '{self.unit}'",
                expected=f"one of {', '.join(UNITS)}",
                fix=suggestion(self.unit, UNITS),
            )
        if self.multiple < 1:
            raise ConfigError(
                "a step is at least one unit",
                seen=str(self.multiple),
                expected="a multiple of 1 or more",
                fix="give the frequency a positive number, such as 15min",
            )
        low, high = _anchor_bounds(self.unit)
        if self.anchor is not None and not low <= self.anchor <= high:
            raise ConfigError(
                f"a {self.unit} has no place {self.anchor}",
                expected=f"{low} to {high}" if high > 0 else "no place",
                fix="leave the place out: it is then taken from the data",
            )

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """The frequency that a code or a word stands for.

        Accepts `15min h D B W W-MON MS ME QS QE-NOV YS YE-JUN`, the older `T H M Q A`, polars' `1h 1mo 1q 1y`
        and words such as `hourly`. `MS-15` is monthly on day 15. Only `ms` (milliseconds) and `MS` (month
        starts), `m` (minutes) and `M` (months) differ by case.

        Raises:
            ConfigError: when it is none of these.
        """
        found = _CODE.fullmatch(text)
        if found is None:
            raise _unknown(text)
        digits, word, place = found.groups()
        unit = {"ms": "millisecond", "MS": "month", "M": "month"}.get(word) or _ALIASES.get(word.lower())
        if unit is None:
            raise _unknown(text)
        return cls(unit, int(digits or 1), _anchor(unit, word, place, text))

    @property
    def code(self) -> str:
        """The short form that `parse` reads back: `15min`, `W-MON`, `QE-DEC`."""
        number = "" if self.multiple == 1 else str(self.multiple)
        if self.unit == "month" and self.anchor in (None, 1):
            return number + ("M" if self.anchor is None else "MS")
        if self.anchor is None:
            return number + _CODES[self.unit]
        if self.unit == "month":
            return f"{number}MS-{self.anchor}"
        place = _DAY_NAMES[self.anchor] if self.unit == "week" else _MONTH_NAMES[self.anchor - 1]
        return f"{number}{_CODES[self.unit]}-{place}"

    @property
    def label(self) -> str:
        """In words: `hourly`, `every 15 minutes`, `weekly on Mondays`."""
        if self.multiple > 1:
            head = f"every {self.multiple} {self.unit}s"
        else:
            head = _LABELS.get(self.unit, f"every {self.unit}")
        if self.anchor is None or (self.unit, self.anchor) in {("month", 1), ("year", 1), ("year-end", 12)}:
            return head
        if self.unit == "week":
            return f"{head} on {_DAYS[self.anchor]}"
        if self.unit == "month":
            return f"{head} on day {self.anchor}"
        if {"quarter": 1, "quarter-end": 0}.get(self.unit) == self.anchor % 3:
            return head
        return f"{head}, {_MONTH_NAMES[self.anchor - 1].title()}"

    @cached_property
    def microseconds(self) -> float:
        """Length of one step, on average over the calendar; 0 for plain steps, which have none."""
        if self.unit == "step":
            return 0.0
        if self.unit == "business-day":
            return self.multiple * MICROSECONDS["week"] / 5
        if self.unit in _MONTHS:
            return self.multiple * _MONTHS[self.unit] * _YEAR / 12
        return float(self.multiple * MICROSECONDS[self.unit])

    @property
    def periods(self) -> tuple[int, ...]:
        """Seasonal periods, in steps, that the calendar suggests, ascending: hours have (24, 168)."""
        if self.unit == "step":
            return ()
        if self.unit == "business-day":
            return tuple(n // self.multiple for n in (5, 261) if n >= 2 * self.multiple)
        counts = ((cycle / self.microseconds, low, high) for cycle, low, high in _CYCLES)
        # a year holds no whole number of days or weeks, and the nearest one serves
        return tuple(
            round(n) for n, low, high in counts if low <= round(n) <= high and (n % 1 == 0 or high == 1_500)
        )

    @property
    def default_period(self) -> int:
        """The season to expect without looking at data: a day, for days a week, else a year; 1 for none."""
        day = MICROSECONDS["day"]
        within_a_day = [n for n in self.periods if n <= 1_440 and n * self.microseconds <= day]
        return max(within_a_day, default=next(iter(self.periods), 1))

    @property
    def default_horizon(self) -> int:
        """Steps to forecast without a season: 24 hours, 7 days, 52 weeks, 12 months, 4 quarters, else 10."""
        return _DEFAULT_HORIZONS.get(self.unit.removesuffix("-end"), 10) if self.multiple == 1 else 10

    def range(self, first: np.datetime64 | int, n: int) -> np.ndarray:
        """Stamps of `n` steps from `first` on, (n,): int64 for plain steps, else datetime64[us]."""
        return self.at(first, np.arange(n))

    def future(self, last: np.datetime64 | int, n: int) -> np.ndarray:
        """Stamps of the `n` steps after `last`, (n,)."""
        return self.at(last, np.arange(1, n + 1))

    def at(self, first: np.datetime64 | int, steps: np.ndarray) -> np.ndarray:
        """Stamps that lie `steps` (an int array, negative ones too) away from `first`."""
        units = np.asarray(steps, dtype=np.int64) * self.multiple
        if self.unit == "step":
            return np.int64(first) + units
        start = _stamp(first)
        if self.unit in MICROSECONDS:
            return start + (units * MICROSECONDS[self.unit]).astype("timedelta64[us]")
        date = start.astype("datetime64[D]")
        if self.unit == "business-day":
            return np.busday_offset(date, units, roll="forward").astype("datetime64[us]") + (start - date)
        month = date.astype("datetime64[M]")
        day = int((date - month).astype(int)) + 1
        if self.unit == "month" and self.anchor is not None:
            day = self.anchor
        days = _days_of(month + units * _MONTHS[self.unit], 31 if self.unit.endswith("-end") else day)
        return days.astype("datetime64[us]") + (start - date)

    def index_of(self, times: np.ndarray, first: np.datetime64 | int) -> np.ndarray:
        """Number of whole steps from `first` to each stamp, (n,) int64: the inverse of `range`.

        A stamp between two steps counts for the earlier one; a weekend day for the Friday before.
        """
        if self.unit == "step":
            return (np.asarray(times, dtype=np.int64) - np.int64(first)) // self.multiple
        stamps, start = np.asarray(times, dtype="datetime64[us]"), _stamp(first)
        if self.unit in MICROSECONDS:
            return (stamps - start).astype(np.int64) // (self.multiple * MICROSECONDS[self.unit])
        if self.unit == "business-day":
            dates = np.busday_offset(stamps.astype("datetime64[D]"), 0, roll="backward")
            origin = np.busday_offset(start.astype("datetime64[D]"), 0, roll="forward")
            return np.busday_count(origin, dates).astype(np.int64) // self.multiple
        months = (stamps.astype("datetime64[M]") - start.astype("datetime64[M]")).astype(np.int64)
        return months // (self.multiple * _MONTHS[self.unit])


def _stamp(time: np.datetime64 | int) -> np.datetime64:
    return np.asarray([time], dtype="datetime64[us]")[0]


def _days_of(months: np.ndarray, day: int) -> np.ndarray:
    """The `day`-th day of each month, or its last one where it is shorter."""
    first, following = months.astype("datetime64[D]"), (months + 1).astype("datetime64[D]")
    return np.minimum(first + (day - 1), following - 1)


def _anchor_bounds(unit: str) -> tuple[int, int]:
    if unit == "week":
        return 0, 6
    if unit == "month":
        return 1, 31
    return (1, 12) if unit in _MONTHS and unit != "month-end" else (0, -1)


def _anchor(unit: str, word: str, place: str | None, text: str) -> int | None:
    """The anchor that a code states: `place` is what follows the hyphen."""
    if place is None:
        return 1 if unit == "month" and word.upper() == "MS" else None
    place = place.upper()
    if unit == "week" and place in _DAY_NAMES:
        return _DAY_NAMES.index(place)
    if unit == "month" and place.isdigit():
        return int(place)
    if unit in _MONTHS and not unit.startswith("month") and place in _MONTH_NAMES:
        return _MONTH_NAMES.index(place) + 1
    raise _unknown(text)


def _unknown(text: str) -> ConfigError:
    words = ["hourly", "daily", "weekly", "monthly", "quarterly", "yearly", "15min", "business"]
    return ConfigError(
        f"'{text}' is no frequency",
        where="--frequency",
        expected="a number and a unit: 15min, h, D, B (business days), W-MON, MS (month starts), ME, QS",
        fix=suggestion(text, words) or "leave --frequency out: it is then found in the data",
    )
