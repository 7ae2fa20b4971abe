"""The ways in which people write dates, as a table of patterns, and the arithmetic from their parts to
datetime64[us].

Each pattern names its parts: `y m d` year, month, day; `a b` the two numbers of a date whose order is open;
`mon` a month's name; `q` quarter; `w` ISO week with `u` its weekday; `H M S f p` time of day; `z` offset, `n`
name of a zone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from statewise.timeseries.numerals import stripped

__all__ = [
    "DIGITS", "EPOCHS", "FORMS", "Composed", "Form", "best_form", "compose", "digit_form", "fits",
    "parts_to_days", "recognise",
]  # fmt: skip

_TIME = (
    r"(?:(?:[Tt,;_] *| +)(?P<H>\d{1,2})(?::?(?P<M>\d{2})(?::?(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)?"
    r" ?(?P<p>[AaPp])?\.?(?:[Mm]\.?)?"
    r" ?(?P<z>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?(?:\[(?P<n>[A-Za-z_/+-]+)\])?)?$"
)
_MONTH = r"(?P<mon>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[A-Za-z]*)\.?"
_WEEKDAY = r"^(?:(?i:mon|tue|wed|thu|fri|sat|sun)[A-Za-z]*,? +)?"
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, start=1)}
_SECOND = 1_000_000


@dataclass(frozen=True)
class Form:
    """One way of writing a date."""

    words: str
    """How notes and messages call it."""
    pattern: str
    unit: str
    """The finest unit it tells: year, quarter, month, week, day (or a time of day, where one is written)."""


FORMS = {
    "ymd": Form("year-month-day", r"^(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})" + _TIME, "day"),
    "ab-y": Form(
        "day, month and year as numbers",
        r"^(?P<a>\d{1,2})(?P<s>[-/.])(?P<b>\d{1,2})[-/.](?P<y>\d{4}|\d{2})" + _TIME,
        "day",
    ),
    "d-mon-y": Form(
        "day, name of the month, year",
        _WEEKDAY + r"(?P<d>\d{1,2})(?:st|nd|rd|th)?[-/. ]*" + _MONTH + r"[-/., ]*(?P<y>\d{4}|\d{2})" + _TIME,
        "day",
    ),
    "mon-d-y": Form(
        "name of the month, day, year",
        _WEEKDAY + _MONTH + r"[- ]*(?P<d>\d{1,2})(?:st|nd|rd|th)?,?[- ]+(?P<y>\d{4})" + _TIME,
        "day",
    ),
    "y-mon-d": Form(
        "year, name of the month, day",
        r"^(?P<y>\d{4})[-/. ]*" + _MONTH + r"[-/. ]*(?P<d>\d{1,2})" + _TIME,
        "day",
    ),
    "ym": Form("year-month", r"^(?P<y>\d{4})(?:[-/ ]?[Mm]|[-/])(?P<m>\d{1,2})$", "month"),
    "my": Form("month/year", r"^(?P<m>\d{1,2})[-/](?P<y>\d{4})$", "month"),
    "mon-y": Form("name of the month and year", r"^" + _MONTH + r"[-/., ']*(?P<y>\d{4}|\d{2})$", "month"),
    "y-mon": Form("year and name of the month", r"^(?P<y>\d{4})[-/., ]*" + _MONTH + r"$", "month"),
    "yq": Form("year and quarter", r"^(?P<y>\d{4})[-/:. ]*[Qq](?P<q>[1-4])$", "quarter"),
    "qy": Form("quarter and year", r"^[Qq](?P<q>[1-4])[-/:.,' ]*(?P<y>\d{4})$", "quarter"),
    "yw": Form("year and ISO week", r"^(?P<y>\d{4})[-/ ]*[Ww](?P<w>\d{1,2})(?:-?(?P<u>[1-7]))?$", "week"),
    "wy": Form("ISO week and year", r"^[Ww](?P<w>\d{1,2})[-/ ]+(?P<y>\d{4})$", "week"),
    "compact": Form("YYYYMMDD with a time", r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})" + _TIME, "day"),
}
"""Ways that are told by their look."""

DIGITS = {
    "year": Form("years", r"^(?P<y>\d{4})$", "year"),
    "yyyymm": Form("YYYYMM", r"^(?P<y>\d{4})(?P<m>\d{2})$", "month"),
    "yyyymmdd": Form("YYYYMMDD", r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})$", "day"),
    "yyyymmddhh": Form("YYYYMMDDHH", r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})$", "time"),
    "yyyymmddhhmm": Form(
        "YYYYMMDDHHMM", r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})$", "time"
    ),
    "yyyymmddhhmmss": Form(
        "YYYYMMDDHHMMSS",
        r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})$",
        "time",
    ),
}
"""Ways that are plain whole numbers."""

EPOCHS = {
    "epoch": (1e8, 1e11, 1_000_000.0),
    "epoch-ms": (1e11, 1e14, 1_000.0),
    "epoch-us": (1e14, 1e17, 1.0),
    "epoch-ns": (1e17, 1e19, 1e-3),
}
"""Counts since 1970: smallest and largest plausible value, and microseconds in one unit."""


@dataclass(frozen=True, kw_only=True)
class Composed:
    """Dates put together from their parts, n of them."""

    values: np.ndarray
    """Wall clock, (n,) datetime64[us]; meaningless where not `valid`."""
    valid: np.ndarray
    """Whether the calendar has such a date, (n,) bool."""
    offset: np.ndarray
    """Microseconds ahead of UTC, (n,) int64."""
    zoned: np.ndarray
    """Whether an offset or Z is written, (n,) bool."""
    zone: str | None
    """Name of the zone, where each row names the same one."""
    timed: bool
    """Whether any row has a time of day."""


def compose(parts: pl.DataFrame) -> Composed:
    """Dates from the parts that a pattern has found (strings, null where absent)."""
    year = _ints(parts, "y", 0)
    short = parts["y"].str.len_chars().fill_null(0).to_numpy() == 2
    if short.any():
        # 69 .. 99 are of the last century; so are all when the others would lie far in the future
        old = (year >= 69) | (year[short].max(initial=0, where=year[short] < 69) > 40)
        year = np.where(short, np.where(old, year + 1900, year + 2000), year)
    if "w" in parts.columns:
        days, valid = _week_days(year, _ints(parts, "w", 1), _ints(parts, "u", 1))
    else:
        month = 3 * _ints(parts, "q", 1) - 2 if "q" in parts.columns else _ints(parts, "m", 1)
        if "mon" in parts.columns:
            names = parts["mon"].str.slice(0, 3).str.to_lowercase()
            month = names.replace_strict(_MONTHS, default=0, return_dtype=pl.Int64).fill_null(0).to_numpy()
        days, valid = parts_to_days(year, month, _ints(parts, "d", 1))
    clock, on_clock = _time_of_day(parts)
    offset, zoned = _offsets(parts)
    names = parts["n"].drop_nulls().unique() if "n" in parts.columns else pl.Series([], dtype=pl.String)
    return Composed(
        values=days.astype("datetime64[us]") + clock.astype("timedelta64[us]"),
        valid=valid & on_clock,
        offset=offset,
        zoned=zoned,
        zone=str(names[0]) if len(names) == 1 else None,
        timed="H" in parts.columns and parts["H"].null_count() < len(parts),
    )


def parts_to_days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dates (n,) datetime64[D] of year, month and day, and which of them the calendar has."""
    in_year = (month >= 1) & (month <= 12) & (year >= 1)
    months = ((year - 1970) * 12 + np.where(in_year, month, 1) - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    length = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    return first + (day - 1).astype("timedelta64[D]"), in_year & (day >= 1) & (day <= length)


def digit_form(values: np.ndarray) -> str | None:
    """How whole numbers (n,) tell dates: a name of `DIGITS` or `EPOCHS`, or None when they do not.

    One wrong number in ten is let through here: it is reported with its row later.
    """
    numbers = values[np.abs(values) < 9e18]
    if not len(numbers):
        return None
    whole = numbers[numbers == np.floor(numbers)].astype(np.int64)
    for name, form in reversed(DIGITS.items()):
        length = len(name)
        if form.unit == "year":
            continue
        if len(whole) >= 0.9 * len(numbers) and _calendar_like(whole, length).mean() >= 0.9:
            return name
    if len(whole) == len(numbers) and ((whole >= 1000) & (whole < 3000)).all():
        return "year"
    middle = float(np.median(numbers))
    return next((name for name, (low, high, _) in EPOCHS.items() if low <= middle < high), None)


def recognise(column: pl.Series, *, hinted: bool, leading: bool) -> str | None:
    """How a column tells dates: a name of `FORMS`, `DIGITS` or `EPOCHS`, `typed`, or None.

    Args:
        column: (n,) of any type.
        hinted: its name says that it is a time; plain numbers need that, or
        leading: it is the first column.
    """
    if column.dtype in (pl.Date, pl.Datetime):
        return "typed"
    if column.dtype.is_numeric():
        sample = column.drop_nulls().cast(pl.Float64).to_numpy()
    elif column.dtype == pl.String:
        text = _sample(column)
        if not len(text):
            return None
        sample = text.cast(pl.Float64, strict=False)
        if sample.null_count() > 0.1 * len(text):
            name, share = best_form(text)
            return name if share >= (0.5 if hinted else 0.8) else None
        sample = stripped(column).cast(pl.Float64, strict=False).drop_nulls().to_numpy()
    else:
        return None
    return _digits(sample, hinted, leading)


def best_form(texts: pl.Series) -> tuple[str, float]:
    """The way of writing that fits most cells, and the share that it fits."""
    n = max(1, len(texts))
    shares = {name: int(texts.str.contains(form.pattern).sum()) / n for name, form in FORMS.items()}
    best = max(shares, key=lambda name: shares[name])
    return best, shares[best]


def fits(cell: object, form: Form) -> bool:
    """Whether a single cell is written in this way."""
    return bool(pl.Series([str(cell)]).str.contains(form.pattern)[0])


def _calendar_like(whole: np.ndarray, length: int) -> np.ndarray:
    """Whether each number has `length` digits that begin like a date of 1800 .. 2199, (n,) bool."""
    scale = 10 ** (length - 6)
    year, month = whole // (100 * scale), whole // scale % 100
    good = (year >= 1800) & (year < 2200) & (month >= 1) & (month <= 12)
    if length >= 8:
        day = whole // 10 ** (length - 8) % 100
        good &= (day >= 1) & (day <= 31)
    if length >= 10:
        good &= whole // 10 ** (length - 10) % 100 < 24
    return good


def _time_of_day(parts: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds since midnight, and whether the clock has such a time; 24:00 is the end of the day."""
    hour, minute, second = (_ints(parts, name, 0) for name in "HMS")
    good = (minute < 60) & (second <= 60) & ((hour < 24) | ((hour == 24) & (minute == 0) & (second == 0)))
    if "p" in parts.columns:
        half = parts["p"].str.to_lowercase()
        twelve = half.is_not_null().to_numpy()
        good &= ~twelve | ((hour >= 1) & (hour <= 12))
        hour = np.where(twelve, hour % 12 + 12 * (half == "p").fill_null(False).to_numpy(), hour)
    clock = (hour * 3_600 + minute * 60 + second) * _SECOND
    if "f" in parts.columns:
        clock = clock + _ints(parts.with_columns(pl.col("f").str.pad_end(6, "0").str.slice(0, 6)), "f", 0)
    return clock, good


def _offsets(parts: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    if "z" not in parts.columns:
        return np.zeros(len(parts), dtype=np.int64), np.zeros(len(parts), dtype=bool)
    text = parts["z"]
    digits = text.str.extract_groups(r"^(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?$").struct.unnest()
    sign = np.where((digits["sign"] == "-").fill_null(False).to_numpy(), -1, 1)
    minutes = _ints(digits, "hours", 0) * 60 + _ints(digits, "minutes", 0)
    return sign * minutes * 60 * _SECOND, text.is_not_null().to_numpy()


def _week_days(year: np.ndarray, week: np.ndarray, weekday: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dates of ISO weeks: week 1 is the one that holds 4 January."""
    fourth, ok = parts_to_days(year, np.ones_like(year), np.full_like(year, 4))
    monday = fourth - ((fourth.astype(np.int64) + 3) % 7).astype("timedelta64[D]")
    following, _ = parts_to_days(year + 1, np.ones_like(year), np.full_like(year, 4))
    weeks = (following - ((following.astype(np.int64) + 3) % 7).astype("timedelta64[D]") - monday).astype(
        np.int64
    ) // 7
    return monday + ((week - 1) * 7 + weekday - 1).astype("timedelta64[D]"), ok & (week >= 1) & (
        week <= weeks
    )


def _ints(parts: pl.DataFrame, name: str, default: int) -> np.ndarray:
    if name not in parts.columns:
        return np.full(len(parts), default, dtype=np.int64)
    return parts[name].cast(pl.Int64, strict=False).fill_null(default).to_numpy()


def _digits(sample: np.ndarray, hinted: bool, leading: bool) -> str | None:
    """How plain numbers tell dates: they need a telling name, or to be first and look the part."""
    sample = sample[np.isfinite(sample)]
    form = digit_form(sample)
    if form is None or hinted or not leading:
        return form if hinted else None
    steps = np.diff(sample)
    if form == "year":
        return form if len(steps) > 1 and (steps == 1).all() else None
    return form if (steps >= 0).all() and (steps > 0).any() else None


def _sample(column: pl.Series) -> pl.Series:
    """Up to 400 filled cells from the beginning, the middle and the end."""
    n = len(column)
    rows = np.unique(np.concatenate([np.arange(min(n, 150)), np.linspace(0, n - 1, 100).astype(int),
                                     np.arange(max(0, n - 150), n)]))  # fmt: skip
    return stripped(column.gather(rows)).drop_nulls()
