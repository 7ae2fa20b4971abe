"""A report on the data before any training: what is missing, what repeats, what looks wrong.

Nothing here changes the data. A suspicion is not an error: it names what a person should look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from statewise.core.tables.table import Note
from statewise.core.tables.words import shown, stamp
from statewise.timeseries.data import Reading
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.notes import FEW
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.season import default_horizon, find_seasons, main_period

__all__ = ["Report", "SeriesReport", "Suspicion", "check"]

_MOST = 1_000
"""Series described one by one; of larger panels the first ones."""
_PAIRS = 200
"""Largest panel in which each series is compared with each other."""
_FAR = 10.0
"""Robust standard deviations beyond which a value is called an outlier."""


@dataclass(frozen=True, kw_only=True)
class SeriesReport:
    """One series."""

    id: str
    steps: int
    first: str
    last: str
    missing: int
    """Steps without a value, absent rows included."""
    gaps: int
    """Steps for which the file has no row."""
    repeats: int
    """Rows that were merged with another row of their step."""
    outliers: int
    """Values more than ten robust standard deviations from their neighbours."""
    zeros: float
    """Share of values that are exactly zero."""
    period: int
    """Main seasonal period in steps; 1 for none."""
    strength: float
    """How strong that season is, 0 to 1."""
    remarks: tuple[str, ...] = ()
    """`empty`, `short`, `constant`, `intermittent`."""


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """Something in a column that a person should look at."""

    column: str
    kind: str
    """`counter`, `running-total`, `copy`, `shifted-copy`."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is to be said about the data."""

    series: tuple[SeriesReport, ...]
    left_out: int
    """Series that are not described one by one."""
    suspicions: tuple[Suspicion, ...]
    notes: tuple[Note, ...]
    """What the reader assumed, daylight saving and duplicates included."""
    frequency: str
    period: int
    """Main period of the panel."""
    horizon: int
    """Steps that would be forecast by default."""

    HEADER: ClassVar[tuple[str, ...]] = (
        "series", "steps", "first", "last", "missing", "gaps", "repeats", "outliers", "zeros", "season",
        "remarks",
    )  # fmt: skip
    """Titles of the columns of `rows`."""

    def rows(self) -> list[tuple[str, ...]]:
        """A table of strings, one row per series."""
        return [
            (
                shown(one.id),
                f"{one.steps:,}",
                one.first,
                one.last,
                f"{one.missing:,}",
                f"{one.gaps:,}",
                f"{one.repeats:,}",
                f"{one.outliers:,}",
                f"{one.zeros:.0%}",
                f"{one.period} ({one.strength:.2f})" if one.period > 1 else "none",
                ", ".join(one.remarks),
            )
            for one in self.series
        ]


def check(reading: Reading) -> Report:
    """Describe what was read."""
    panel = reading.panel
    period = main_period(panel)
    described = [
        _describe(series, panel.frequency, reading.gaps.get(series.id, 0), reading.repeats.get(series.id, 0))
        for series in panel.series[:_MOST]
    ]
    return Report(
        series=tuple(described),
        left_out=max(0, len(panel) - _MOST),
        suspicions=tuple(_suspicions(panel)),
        notes=reading.notes,
        frequency=panel.frequency.label,
        period=period,
        horizon=default_horizon(panel, period),
    )


def _describe(series: Series, frequency: Frequency, gaps: int, repeats: int) -> SeriesReport:
    values = series.values
    known = values[~np.isnan(values)]
    seasons = find_seasons(values, frequency)
    strongest = max(seasons, key=lambda season: season.strength, default=None)
    zeros = float((known == 0).mean()) if len(known) else 0.0
    tests = {
        "empty": len(known) == 0,
        "short": 0 < len(known) < FEW,
        "constant": len(known) > 1 and np.ptp(known) == 0,
        "intermittent": 0.4 <= zeros < 1 and bool((known >= 0).all()),
    }
    return SeriesReport(
        id=series.id,
        steps=len(series),
        first=stamp(series.times[0]),
        last=stamp(series.times[-1]),
        missing=int(np.isnan(values).sum()),
        gaps=gaps,
        repeats=repeats,
        outliers=_outliers(values, strongest.period if strongest else 1),
        zeros=zeros,
        period=strongest.period if strongest else 1,
        strength=round(strongest.strength, 3) if strongest else 0.0,
        remarks=tuple(remark for remark, holds in tests.items() if holds),
    )


def _outliers(values: np.ndarray, period: int) -> int:
    """Values far from the median of their neighbours, measured in median absolute deviations.

    With a season the series is first freed of the median of each phase.
    """
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 20:
        return 0
    rest = values.copy()
    if period > 1:
        for phase in range(period):
            some = rest[phase::period]
            if not np.isnan(some).all():
                rest[phase::period] = some - np.nanmedian(some)
    rest = rest[known]
    window = np.lib.stride_tricks.sliding_window_view(np.pad(rest, 5, mode="reflect"), 11)
    off = np.abs(rest - np.median(window, axis=1))
    # a series that is mostly flat has a median deviation of nearly zero: the mean one then sets the scale
    scale = max(1.4826 * float(np.median(off)), float(off.mean()))
    return int((off > _FAR * scale).sum()) if scale > 0 else 0


def _suspicions(panel: Panel) -> list[Suspicion]:
    columns = {series.id: series.values for series in panel.series[:_MOST]}
    found = [suspicion for name, values in columns.items() if (suspicion := _alone(name, values)) is not None]
    if len(panel) <= _PAIRS:
        found += _copies(_aligned(panel))
    return found


def _aligned(panel: Panel) -> dict[str, np.ndarray]:
    """All series, and the covariates where they are common to all, on one clock, NaN outside of each."""
    origin = min(series.times[0] for series in panel.series)
    begins = [int(panel.frequency.index_of(series.times[:1], origin)[0]) for series in panel.series]
    end = max(begin + len(series) for begin, series in zip(begins, panel.series, strict=True))
    columns = {}
    for begin, series in zip(begins, panel.series, strict=True):
        columns[series.id] = np.full(end, np.nan)
        columns[series.id][begin : begin + len(series)] = series.values
    known = panel.series[0].covariates
    if known is not None and len(panel) == 1:
        columns |= {name: known[:end, i] for i, name in enumerate(panel.covariate_names)}
    return columns


def _alone(name: str, values: np.ndarray) -> Suspicion | None:
    """What a column shows by itself: a counter or a running total."""
    known = values[~np.isnan(values)]
    steps = np.diff(known)
    if len(known) < 20 or (steps < 0).any() or np.ptp(known) == 0:
        return None
    if (steps == 1).all():
        return Suspicion(
            column=name, kind="counter", text=f"'{shown(name)}' counts up by one: a row number, perhaps"
        )
    if 0 <= known[0] <= 5 * steps.mean() and len(np.unique(steps)) > 2:
        text = f"'{shown(name)}' starts near zero and never falls: a running total? Forecast its differences"
        return Suspicion(column=name, kind="running-total", text=text)
    return None


def _copies(columns: dict[str, np.ndarray]) -> list[Suspicion]:
    """Pairs of columns whose changes are the same, at once or one step apart."""
    names = [name for name, values in columns.items() if np.isfinite(values).sum() > 20]
    changes = {name: np.diff(columns[name]) for name in names}
    found = []
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            if _alike(changes[name], changes[other]):
                text = f"'{shown(other)}' moves exactly as '{shown(name)}': a copy, perhaps in another unit"
                found.append(Suspicion(column=other, kind="copy", text=text))
            elif _alike(changes[name][1:], changes[other][:-1]) or _alike(
                changes[name][:-1], changes[other][1:]
            ):
                text = f"'{shown(other)}' is '{shown(name)}' one step apart: as a covariate it would leak"
                found.append(Suspicion(column=other, kind="shifted-copy", text=text))
    return found


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    both = np.isfinite(one) & np.isfinite(other)
    one, other = one[both], other[both]
    if len(one) < 20:
        return False
    one, other = one - one.mean(), other - other.mean()
    norm = np.sqrt(float(one @ one) * float(other @ other))
    return norm > 0 and abs(float(one @ other)) / norm > 0.99999
