"""From sorted rows to series on a grid: rows of one step become one, absent steps NaN, blank ends are cut.

All of it works on flat arrays over all series at once; only the final slices are made one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from statewise.core.errors import DataError
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.grid import Fit, positions
from statewise.timeseries.panel import Series
from statewise.timeseries.readings import Readings
from statewise.timeseries.rows import Rows, merged

__all__ = ["Grid", "lay_out", "make_series"]

_MERGED = 2.0  # rows in a step on average, from which a step stands for many and not for one


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Series laid end to end on their grids; T steps in all."""

    frequency: Frequency
    firsts: np.ndarray
    """Stamp of the first step of each series, (S,)."""
    starts: np.ndarray
    """Position of the first step of each series, (S,)."""
    lengths: np.ndarray
    """Steps of each series, (S,)."""
    columns: dict[str, np.ndarray]
    """K columns of (T,) float64; NaN where a step is absent."""
    present: np.ndarray
    """Whether the file has a row for the step, (T,) bool."""
    times: np.ndarray | None = None
    """When each of n rows came, (n,) in steps of the flat grid; None where the rows are regular."""
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    """The columns of these rows, (n,)."""


def lay_out(rows: Rows, fit: Fit, how: str, within: np.ndarray | None = None) -> Grid:
    """Rows on the grid of a frequency; several rows of one step are merged.

    Args:
        rows: n of them.
        fit: how their stamps lie on the frequency.
        how: they are merged: `mean`, `sum`, `first` or `last`.
        within: how far into its step each row lies, (n,), if rows are to be kept as they are too.

    Raises:
        DataError: when nearly the whole grid would be empty.
    """
    index, firsts = positions(fit, rows.times, rows.starts)
    groups = np.ones(len(index), dtype=bool)
    groups[1:] = np.diff(index) != 0
    groups[rows.starts] = True
    apart = within is not None and len(index) <= _MERGED * groups.sum()
    single, steps = rows, index
    rows = merged(rows, groups, how)
    index = index[groups]
    lengths = np.maximum.reduceat(index, rows.starts) + 1
    total = int(lengths.sum())
    if total > 50 * len(index) + 10_000:
        raise _too_sparse(rows, fit, total)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    at = np.repeat(starts, rows.lengths) + index
    columns = {}
    for name, values in rows.columns.items():
        columns[name] = np.full(total, np.nan)
        columns[name][at] = values
    present = np.zeros(total, dtype=bool)
    present[at] = True
    return Grid(
        frequency=fit.frequency,
        firsts=firsts,
        starts=starts,
        lengths=lengths,
        columns=columns,
        present=present,
        times=np.repeat(starts, single.lengths) + steps + within if apart else None,
        rows=single.columns if apart else {},
    )


def make_series(
    grid: Grid, labels: Sequence[str], targets: Sequence[str], covariates: Sequence[str], *, wide: bool
) -> tuple[list[Series], list[int]]:
    """The series, from the first to the last filled step of each target, and how many of their steps are
    absent.

    Args:
        grid: S groups of rows.
        labels: their names, (S,).
        targets: columns; with several, or in a wide file, they name the series too.
        covariates: columns that go along, to the end of the grid.
        wide: whether the columns alone name the series.
    """
    clock = _Clock(grid)
    known = np.stack([grid.columns[name] for name in covariates], axis=1) if covariates else None
    series: list[Series] = []
    absent: list[int] = []
    for name in targets:
        values = grid.columns[name]
        filled = ~np.isnan(values)
        steps = np.arange(len(values))
        firsts = np.minimum.reduceat(np.where(filled, steps, len(values)), grid.starts)
        lasts = np.maximum.reduceat(np.where(filled, steps, -1), grid.starts)
        gaps = np.concatenate([[0], np.cumsum(~grid.present)])
        for s, label in enumerate(labels):
            low, high = int(firsts[s]), int(lasts[s]) + 1
            end = int(grid.starts[s] + grid.lengths[s])
            if high == 0:  # no value at all: the series is kept whole, for its place in reports
                low, high = int(grid.starts[s]), end
            absent.append(int(gaps[high] - gaps[low]))
            series.append(
                Series(
                    id=name if wide else label if len(targets) == 1 else f"{label}/{name}",
                    times=clock.times(s, low, high),
                    values=values[low:high],
                    covariates=None if known is None else known[low:end],
                    readings=_readings(grid, name, low, high),
                )
            )
    return series, absent


def _readings(grid: Grid, column: str, low: int, high: int) -> Readings | None:
    """The rows of a column in steps low .. high - 1 of the flat grid; None where they are regular."""
    if grid.times is None:
        return None
    first, last = np.searchsorted(grid.times, [low, high])
    times, values = grid.times[first:last] - low, grid.rows[column][first:last]
    seen = ~np.isnan(values)
    return Readings(times=times[seen], values=values[seen])


class _Clock:
    """Stamps of the steps; series on the same grid share one array."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.origin = grid.firsts.min()
        offsets = grid.frequency.index_of(grid.firsts, self.origin)
        self.shared = grid.frequency.range(self.origin, int((offsets + grid.lengths).max()))
        self.offsets = np.where(self.shared[offsets] == grid.firsts, offsets, -1)

    def times(self, s: int, low: int, high: int) -> np.ndarray:
        """Stamps of the steps low .. high - 1 of the flat grid, which are in series s."""
        first, offset = int(self.grid.starts[s]), int(self.offsets[s])
        if offset >= 0 and self.grid.frequency.unit not in ("month", "quarter", "year"):
            return self.shared[offset + low - first : offset + high - first]
        return self.grid.frequency.at(self.grid.firsts[s], np.arange(low - first, high - first))


def _too_sparse(rows: Rows, fit: Fit, total: int) -> DataError:
    gaps = np.diff(rows.times).astype(np.int64)
    gaps[rows.starts[1:] - 1] = 0
    widest = int(gaps.argmax())
    before, after = rows.times[widest : widest + 2]
    if rows.times.dtype.kind == "M":
        before, after = before.astype("datetime64[s]"), after.astype("datetime64[s]")
    return DataError(
        f"the grid would be nearly empty: {total:,} steps for {len(rows.times):,} rows",
        seen=f"the widest gap is from {before} to {after}",
        expected=f"mostly regular time stamps ({fit.frequency.label})",
        fix="correct that stamp, cut the file there, or name a longer step with --frequency",
    )
