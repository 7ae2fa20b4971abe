"""From stamps as they come to a regular grid: the frequency, found with tolerance, and the step of each row.

Three ways, the first that fits: `exact`, the stamps lie on a calendar grid and some may be missing;
`near`, each is within a third of a step of one; `bins`, they are irregular, and each falls into a step of
the median spacing rounded to a natural unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from statewise.core.errors import ConfigError, DataError
from statewise.timeseries.frequency import MICROSECONDS, Frequency

__all__ = ["Fit", "fit_frequency", "fit_steps", "floor", "positions", "use_frequency", "within_steps"]

_DAY = MICROSECONDS["day"]
_NATURAL = tuple(
    Frequency(unit, multiple)
    for unit, multiples in {
        "microsecond": (1, 2, 5, 10, 20, 50, 100, 200, 500),
        "millisecond": (1, 2, 4, 5, 10, 20, 40, 50, 100, 200, 500),
        "second": (1, 2, 5, 10, 15, 20, 30),
        "minute": (1, 2, 5, 10, 15, 20, 30),
        "hour": (1, 2, 3, 4, 6, 8, 12),
        "day": (1,),
        "week": (1, 2),
        "month": (1,),
        "quarter": (1,),
        "year": (1,),
    }.items()
    for multiple in multiples
)
"""Steps that people use, for series whose own spacing is not regular."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How stamps lie on a frequency."""

    frequency: Frequency
    way: str
    """`exact`, `near` or `bins`."""
    reason: str = ""
    """What made it other than exact, in words."""


def fit_frequency(times: np.ndarray, starts: np.ndarray, unit: str) -> Fit:
    """The frequency of stamps.

    Args:
        times: (n,) datetime64[us], ascending within each series.
        starts: (S,) where each series begins in `times`.
        unit: the finest unit in which the stamps are written; decides when each series has one stamp only.

    Raises:
        DataError: when nothing tells a spacing.
    """
    gaps = _gaps(times, starts)
    if not len(gaps):
        return Fit(frequency=_frequency_of_unit(unit, times), way="exact")
    dates = times.astype("datetime64[D]")
    clocks = np.unique((times - dates).astype(np.int64))
    by_month = _by_month(times, starts, gaps) if np.median(gaps) > 26 * _DAY else None
    if by_month is not None:
        return by_month
    if len(clocks) == 1 and _is_business(dates, starts):
        return Fit(frequency=Frequency("business-day"), way="exact")
    return _by_length(times, starts, gaps)


def fit_steps(numbers: np.ndarray, starts: np.ndarray) -> tuple[Fit, np.ndarray]:
    """The spacing of a column that counts steps or elapsed time, and its values as int64 steps, (n,)."""
    gaps = _gaps(numbers, starts)
    whole = bool((numbers == np.floor(numbers)).all()) and bool((np.abs(numbers) < 2**53).all())
    if whole:
        counts = numbers.astype(np.int64)
        gap = int(np.gcd.reduce(_gaps(counts, starts))) if len(gaps) else 1
        if not len(gaps) or gap >= np.median(gaps) / 3:
            return Fit(frequency=Frequency("step", max(1, gap)), way="exact"), counts
    spacing = float(gaps.min()) if len(gaps) else 1.0
    even = bool((np.abs(gaps / spacing - np.round(gaps / spacing)) < 0.05).all())
    if not even:
        spacing = float(np.median(gaps))
    counts = np.round((numbers - numbers.min()) / spacing).astype(np.int64)
    reason = f"counted in steps of {spacing:.6g}"
    return Fit(frequency=Frequency("step"), way="near" if even else "bins", reason=reason), counts


def use_frequency(frequency: Frequency, times: np.ndarray, starts: np.ndarray) -> Fit:
    """How stamps lie on a frequency that the user has named.

    Raises:
        ConfigError: when it is so fine that nearly all steps would be empty.
    """
    ends = _month_ends(times)
    if frequency.unit in ("month", "quarter", "year") and frequency.anchor is None and ends:
        frequency = replace(frequency, unit=f"{frequency.unit}-end")
    exact = _on_grid(frequency, times, starts)
    index, _ = positions(Fit(frequency=frequency, way="exact" if exact else "bins"), times, starts)
    lengths = np.maximum.reduceat(index, starts) + 1
    if int(lengths.sum()) > 50 * len(times) + 1_000:
        gaps = _gaps(times, starts)
        typical = _natural(float(np.median(gaps))).label
        raise ConfigError(
            f"a step of {frequency.code} is too fine: {int(lengths.sum()):,} steps for {len(times):,} rows",
            where="--frequency",
            seen=f"rows that are mostly {typical}",
            fix="name a longer step, or leave --frequency out",
        )
    return Fit(
        frequency=frequency, way="exact" if exact else "bins", reason="" if exact else "as --frequency asks"
    )


def positions(fit: Fit, times: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The step of each row, (n,) int64 from 0 in each series, and the stamp of the first step, (S,)."""
    frequency = fit.frequency
    lengths = np.diff(np.append(starts, len(times)))
    if frequency.unit == "step":
        firsts = times[starts]
        return (times - np.repeat(firsts, lengths)) // frequency.multiple, firsts
    if fit.way == "bins":
        times = floor(frequency, times)
    firsts = times[starts]
    if fit.way == "near" and frequency.unit in MICROSECONDS:
        firsts = _rounded(firsts, frequency, times)
        width = int(frequency.microseconds)
        index = (times - np.repeat(firsts, lengths)).astype(np.int64)
        return (index + width // 2) // width, firsts
    if fit.way == "near":
        firsts = floor(frequency, firsts)
    return _relative(frequency, times, firsts, lengths), firsts


def within_steps(fit: Fit, times: np.ndarray, starts: np.ndarray) -> np.ndarray | None:
    """How far into its step each row lies, (n,) from 0 to below 1; None where that says nothing.

    Args:
        fit: how the stamps lie on the frequency.
        times: (n,) as they came: stamps, or the numbers that `fit_steps` was given.
        starts: (S,) where each series begins in `times`.
    """
    if fit.way != "bins":
        return None
    if fit.frequency.unit == "step" and times.dtype.kind == "f":
        counts = (times - times.min()) / float(np.median(_gaps(times, starts)))
        into = counts - np.round(counts) + 0.5
    elif fit.frequency.unit in MICROSECONDS:
        into = (times - floor(fit.frequency, times)).astype(np.int64) / fit.frequency.microseconds
    else:
        return None  # months are not equally long
    return np.clip(into, 0, 1 - 1e-9)


def floor(frequency: Frequency, times: np.ndarray) -> np.ndarray:
    """The beginning of the step that holds each stamp, (n,); month-end steps are named by their last day."""
    unit, multiple = frequency.unit, frequency.multiple
    if unit == "week":
        monday = np.datetime64("1970-01-05", "us") + np.timedelta64((frequency.anchor or 0) * _DAY, "us")
        width = multiple * MICROSECONDS["week"]
        return times - ((times - monday).astype(np.int64) % width).astype("timedelta64[us]")
    if unit in MICROSECONDS:
        width = multiple * MICROSECONDS[unit]
        return times - (times.astype(np.int64) % width).astype("timedelta64[us]")
    if unit == "business-day":
        return np.busday_offset(times.astype("datetime64[D]"), 0, roll="backward").astype("datetime64[us]")
    step = {"month": 1, "quarter": 3, "year": 12}[unit.removesuffix("-end")] * multiple
    shift = (frequency.anchor or 1) - 1 if unit in ("quarter", "year") else 0
    if unit in ("quarter-end", "year-end"):
        shift = (frequency.anchor or 12) % 12
    months = times.astype("datetime64[M]").astype(np.int64)
    first = ((months - shift) // step * step + shift).astype("datetime64[M]")
    if unit.endswith("-end"):
        return ((first + step).astype("datetime64[D]") - 1).astype("datetime64[us]")
    return first.astype("datetime64[us]")


def _gaps(times: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Positive distances between neighbouring stamps of one series."""
    gaps = np.diff(times)
    if gaps.dtype.kind == "m":
        gaps = gaps.astype(np.int64)
    inner = np.ones(len(gaps), dtype=bool)
    inner[starts[1:] - 1] = False
    return gaps[inner & (gaps > 0)]


def _frequency_of_unit(unit: str, times: np.ndarray) -> Frequency:
    units = {"year": "year", "quarter": "quarter", "month": "month", "week": "week", "day": "day"}
    if unit not in units:
        raise DataError(
            "a single time stamp does not tell how far apart the steps are",
            seen=f"{len(times)} rows, all of {times[0].astype('datetime64[s]')}",
            expected="at least two time stamps in a series",
            fix="give --frequency, or more rows",
        )
    return Frequency(units[unit])


def _by_month(times: np.ndarray, starts: np.ndarray, gaps: np.ndarray) -> Fit | None:
    """A grid of months, quarters or years, if the stamps keep to the same place in the month."""
    months = times.astype("datetime64[M]").astype(np.int64)
    days = (times.astype("datetime64[D]") - times.astype("datetime64[M]")).astype(np.int64) + 1
    same, ends = len(np.unique(days)) == 1, _month_ends(times)
    values, counts = np.unique(gaps, return_counts=True)
    # steps of exactly 28 or 30 days do not follow the months
    if counts.max() > 0.9 * len(gaps) and values[counts.argmax()] % _DAY == 0 and not (same or ends):
        return None
    steps = _gaps(months, starts)
    step = int(np.gcd.reduce(steps)) if len(steps) else 0
    values, counts = np.unique(steps, return_counts=True)
    usual = int(values[counts.argmax()]) if len(steps) else 0
    if len(steps) < len(gaps) or step * 3 < usual:
        return None
    unit, size = next(
        (unit, size) for unit, size in (("year", 12), ("quarter", 3), ("month", 1)) if step % size == 0
    )
    if ends and not (same and days[0] < 28):
        frequency = Frequency(f"{unit}-end", step // size, _place(months, f"{unit}-end"))
        return Fit(frequency=frequency, way="exact")
    if same:
        anchor = int(days[0]) if unit == "month" else _place(months, unit)
        return Fit(frequency=Frequency(unit, step // size, anchor), way="exact")
    late = bool((days >= 24).all())
    frequency = Frequency(f"{unit}-end" if late else unit, step // size)
    return Fit(
        frequency=frequency, way="near", reason=f"the day of the month varies ({days.min()} to {days.max()})"
    )


def _place(months: np.ndarray, unit: str) -> int | None:
    """The month of the year in which steps begin or end, if all series agree on it."""
    size = {"quarter": 3, "quarter-end": 3, "year": 12, "year-end": 12}.get(unit)
    places = np.unique(months % size) if size else ()
    if len(places) != 1:
        return None
    return int(places[0]) + (10 if unit == "quarter-end" else 1)


def _month_ends(times: np.ndarray) -> bool:
    dates = times.astype("datetime64[D]")
    following = (dates.astype("datetime64[M]") + 1).astype("datetime64[D]")
    return bool((dates + 1 == following).all())


def _is_business(dates: np.ndarray, starts: np.ndarray) -> bool:
    """Whether stamps are days without a weekend although weekends lie between them, and mostly there."""
    if ((dates.astype(np.int64) + 3) % 7 >= 5).any():
        return False
    inner = np.ones(len(dates) - 1, dtype=bool)
    inner[starts[1:] - 1] = False
    days = np.diff(dates).astype(np.int64)[inner]
    business = np.busday_count(dates[:-1], dates[1:])[inner]
    moves = business > 0
    crossings = int((days > business).sum())
    return int(moves.sum()) >= 5 and crossings > 0 and 2 * int(moves.sum()) >= int(business.sum())


def _by_length(times: np.ndarray, starts: np.ndarray, gaps: np.ndarray) -> Fit:
    """A grid of a fixed length in time."""
    values, counts = np.unique(gaps, return_counts=True)
    usual, share = int(values[counts.argmax()]), counts.max() / len(gaps)
    divisor = int(np.gcd.reduce(values))
    span = int(gaps.sum())
    # gaps may be long, but a grid that is nearly empty is none
    if usual == divisor and (share > 0.5 or span // usual < 4 * len(gaps)):
        return Fit(frequency=_of_length(usual, times), way="exact")
    if 3 * divisor >= usual and span // divisor < 4 * len(gaps) and divisor % MICROSECONDS["second"] == 0:
        return Fit(frequency=_of_length(divisor, times), way="exact")
    spacing = float(np.median(gaps))
    near = _natural(spacing)
    if near.unit in MICROSECONDS and abs(near.microseconds / spacing - 1) < 0.1:
        candidate = Fit(frequency=near, way="near", reason="the stamps are a little off the grid")
        if _misfit(candidate, times, starts) < 0.02:
            return candidate
    reason = f"the spacing is irregular, with a median of {_in_words(spacing)}"
    return Fit(frequency=near, way="bins", reason=reason)


def _misfit(fit: Fit, times: np.ndarray, starts: np.ndarray) -> float:
    """Share of the stamps that are more than a third of a step off the grid."""
    index, firsts = positions(fit, times, starts)
    lengths = np.diff(np.append(starts, len(times)))
    width = fit.frequency.microseconds
    off = (times - np.repeat(firsts, lengths)).astype(np.int64) - index * width
    return float((np.abs(off) > width / 3).mean())


def _rounded(firsts: np.ndarray, frequency: Frequency, times: np.ndarray) -> np.ndarray:
    """The first stamps moved to the nearest natural boundary, if the stamps gather around boundaries."""
    width = int(frequency.microseconds)
    phase = (times.astype(np.int64) + width // 2) % width - width // 2
    if np.median(np.abs(phase)) > 0.15 * width:
        return firsts
    index = (firsts.astype(np.int64) + width // 2) // width
    return (index * width).astype("datetime64[us]")


def _on_grid(frequency: Frequency, times: np.ndarray, starts: np.ndarray) -> bool:
    index, firsts = positions(Fit(frequency=frequency, way="exact"), times, starts)
    lengths = np.diff(np.append(starts, len(times)))
    if frequency.unit in MICROSECONDS:
        width = int(frequency.microseconds)
        return bool((np.repeat(firsts, lengths) + (index * width).astype("timedelta64[us]") == times).all())
    return all(
        bool((frequency.at(first, index[low : low + n]) == times[low : low + n]).all())
        for first, low, n in zip(firsts, starts, lengths, strict=True)
    )


def _relative(frequency: Frequency, times: np.ndarray, firsts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Steps of each stamp from the first one of its own series."""
    if frequency.unit in MICROSECONDS:
        width = int(frequency.microseconds)
        return (times - np.repeat(firsts, lengths)).astype(np.int64) // width
    single = replace(frequency, multiple=1)
    origin = firsts.min()
    units = single.index_of(times, origin) - np.repeat(single.index_of(firsts, origin), lengths)
    return units // frequency.multiple


def _of_length(length: int, times: np.ndarray) -> Frequency:
    """The frequency of a step of `length` microseconds, in the largest unit that divides it."""
    unit = next(name for name in reversed(MICROSECONDS) if length % MICROSECONDS[name] == 0)
    anchor = None
    if unit == "week":
        weekdays = np.unique((times.astype("datetime64[D]").astype(np.int64) + 3) % 7)
        anchor = int(weekdays[0]) if len(weekdays) == 1 else None
    return Frequency(unit, length // MICROSECONDS[unit], anchor)


def _natural(spacing: float) -> Frequency:
    """The natural step whose length is nearest to `spacing` microseconds, by ratio."""
    return min(_NATURAL, key=lambda frequency: abs(np.log(frequency.microseconds / spacing)))


def _in_words(microseconds: float) -> str:
    units = {
        "days": _DAY,
        "hours": MICROSECONDS["hour"],
        "minutes": MICROSECONDS["minute"],
        "seconds": 1_000_000,
    }
    name, size = next(
        ((name, size) for name, size in units.items() if microseconds >= size), ("microseconds", 1)
    )
    return f"{microseconds / size:.3g} {name}"
