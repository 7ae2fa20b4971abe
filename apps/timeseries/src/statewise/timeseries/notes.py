"""What the reader has to say about the series it found, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from statewise.core.tables.table import Note
from statewise.core.tables.words import named, stamp
from statewise.timeseries.assemble import Grid
from statewise.timeseries.frequency import MICROSECONDS
from statewise.timeseries.grid import Fit
from statewise.timeseries.panel import Series
from statewise.timeseries.timestamps import Stamps

__all__ = ["FEW", "daylight_saving", "gap_notes", "last_stamp", "series_notes", "time_note"]

FEW = 10
"""A series with fewer values than this is called short."""
_HOUR = MICROSECONDS["hour"]


def last_stamp(grid: Grid) -> Any:
    """The last stamp of all series, found without building the stamps of thousands of them."""
    ends = grid.frequency.index_of(grid.firsts, grid.firsts.min()) + grid.lengths
    latest = np.flatnonzero(ends >= ends.max() - 1)[:50]
    pairs = zip(grid.firsts[latest], grid.lengths[latest], strict=True)
    return max(grid.frequency.at(first, np.array([length - 1]))[0] for first, length in pairs)


def time_note(names: Sequence[str], stamps: Stamps | None, fit: Fit, grid: Grid) -> list[Note]:
    """The time column, the frequency and the range."""
    if stamps is None:
        return [Note("time", "no column tells the time: the rows are steps 0, 1, 2, ... (--time)")]
    what = f"time column {named(names).replace(', ', ' + ')} ({stamps.words})"
    zone = f", {stamps.zone}" if stamps.zone else ""
    text = f"{what}, {grid.frequency.label}, {stamp(grid.firsts.min())} .. {stamp(last_stamp(grid))}{zone}"
    notes = [Note("time", f"{text} (--time, --date-format, --frequency)")]
    if stamps.remark:
        notes.append(Note("zone", stamps.remark))
    if fit.way == "near":
        notes.append(Note("frequency", f"{fit.reason}: each row counts for the nearest step (--frequency)"))
    elif fit.way == "bins":
        rule = f"the rows within a step ({grid.frequency.label}) become one"
        notes.append(Note("frequency", f"{fit.reason}: {rule} (--frequency, --aggregate)"))
        if grid.times is not None:
            text = (
                "s5, lru and mamba read each row at its own time, the other methods these steps (--resample)"
            )
            notes.append(Note("resample", text))
    return notes


def gap_notes(grid: Grid, labels: Sequence[str]) -> list[Note]:
    """Steps for which there is no row."""
    absent = np.flatnonzero(~grid.present)
    if not len(absent):
        return []
    where = np.searchsorted(grid.starts, absent, side="right") - 1
    first = int(where[0])
    time = grid.frequency.at(grid.firsts[first], absent[:1] - grid.starts[first])[0]
    inside = f" in {len(np.unique(where)):,} of {len(labels):,} series" if len(labels) > 1 else ""
    text = f"{len(absent):,} of {len(grid.present):,} steps have no row{inside}, the first {stamp(time)}"
    return [Note("gaps", f"{text}: they count as unknown (--frequency)")]


def series_notes(series: Sequence[Series], absent: Mapping[str, int], last: Any) -> list[Note]:
    """What is special about single series.

    Args:
        series: all of them.
        absent: steps without a row, by series.
        last: the last stamp of the file, or None when rows after the last value are there for covariates.
    """
    counts = np.array([int((~np.isnan(one.values)).sum()) for one in series])
    ids = [one.id for one in series]
    empty = [name for name, n in zip(ids, counts, strict=True) if n == 0]
    short = [name for name, n in zip(ids, counts, strict=True) if 0 < n < FEW]
    same = [
        n >= FEW and np.nanmin(one.values) == np.nanmax(one.values)
        for one, n in zip(series, counts, strict=True)
    ]
    constant = [name for name, holds in zip(ids, same, strict=True) if holds]
    lacking = [
        name
        for name, n, one in zip(ids, counts, series, strict=True)
        if 0 < n < len(one) - absent.get(name, 0)
    ]
    notes = []
    if lacking:
        notes.append(
            Note("missing", f"cells are blank in {named(lacking)}: they count as unknown (--missing)")
        )
    if empty:
        text = f"no values at all in {named(empty)}: there is nothing to forecast from (--target)"
        notes.append(Note("empty", text))
    if short:
        text = f"fewer than {FEW} values in {named(short)}: only the simplest methods apply (--target)"
        notes.append(Note("short", text))
    if constant:
        notes.append(
            Note("constant", f"always the same value in {named(constant)}: it is repeated (--target)")
        )
    return notes + _ends(series, last)


def _ends(series: Sequence[Series], last: Any) -> list[Note]:
    """Series that end before the last step of all."""
    if last is None:
        return []
    early = [one.id for one in series if one.times[-1] < last]
    if not early:
        return []
    verb = "ends" if len(early) == 1 else "end"
    text = f"{named(early)} {verb} before {stamp(last)}: a forecast begins after the last value of its series"
    return [Note("ends", text)]


def daylight_saving(times: np.ndarray, starts: np.ndarray) -> str:
    """Words on a local clock with daylight saving in hourly or finer stamps (n,), or nothing.

    Such a clock leaves out an hour on a Sunday in spring and shows one twice on a Sunday in autumn.
    """
    if times.dtype.kind != "M" or len(times) < 3:
        return ""
    gaps = np.diff(times).astype(np.int64)
    gaps[starts[1:] - 1] = 1
    positive = gaps[gaps > 0]
    usual = int(np.median(positive)) if len(positive) else 0
    if not 0 < usual <= _HOUR:
        return ""
    days = times[:-1].astype("datetime64[D]").astype(np.int64)
    hours = (times[:-1].astype(np.int64) // _HOUR) % 24
    at_night = ((days + 3) % 7 == 6) & (hours <= 3)
    lost = np.flatnonzero(at_night & (gaps == _HOUR + usual))
    twice = np.flatnonzero(at_night & (gaps == 0))
    if not len(lost) or not len(twice):
        return ""
    skip, again = stamp(times[int(lost[0])]), stamp(times[int(twice[0])])
    return (
        f"the clock skips an hour after {skip} and shows one twice at {again}, as local time with daylight "
        "saving does: the skipped hour counts as unknown, the double one is averaged"
    )
