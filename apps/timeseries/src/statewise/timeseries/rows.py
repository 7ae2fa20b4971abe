"""Rows in order: sorted by series and time, repeated ones dropped or merged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statewise.core.tables.table import Note, Table
from statewise.core.tables.words import stamp
from statewise.timeseries.timestamps import Stamps

__all__ = ["Rows", "merge_repeats", "merged", "sort_rows"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows sorted by series and time; n rows, S series, K columns."""

    starts: np.ndarray
    """First row of each series, (S,)."""
    times: np.ndarray
    """Time stamps, (n,) datetime64[us], or numbers where the file counts steps."""
    columns: dict[str, np.ndarray]
    """K columns of (n,) float64."""
    origin: np.ndarray
    """Which row of the table each row was, (n,)."""

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each series, (S,)."""
        return np.diff(np.append(self.starts, len(self.times)))

    def take(self, which: np.ndarray) -> Rows:
        """The rows of a boolean mask, (n,), that leaves at least one row of each series."""
        before = np.concatenate([[0], np.cumsum(which)])
        return Rows(
            starts=before[self.starts],
            times=self.times[which],
            columns={name: values[which] for name, values in self.columns.items()},
            origin=self.origin[which],
        )


def sort_rows(
    table: Table, codes: np.ndarray, stamps: Stamps | None, columns: dict[str, np.ndarray]
) -> tuple[Rows, list[Note]]:
    """The rows of a table by series and time; without stamps the order of the file is the time.

    Args:
        table: n rows.
        codes: which series each row belongs to, (n,).
        stamps: the time stamps.
        columns: K columns of (n,) float64.
    """
    n, notes = len(codes), []
    order = np.arange(n) if (np.diff(codes) >= 0).all() else np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    if stamps is None:
        times = np.arange(n) - np.repeat(starts, np.diff(np.append(starts, n)))
    else:
        times = stamps.values[order]
        falls = times[1:] < times[:-1]
        falls[starts[1:] - 1] = False
        if falls.any():
            line = int(table.lines[order[int(falls.argmax()) + 1]])
            again = np.lexsort((times, codes[order]))
            order, times = order[again], times[again]
            notes.append(
                Note("order", f"row {line} is earlier than the one before it: all rows are sorted (--time)")
            )
    sorted_columns = {name: values[order] for name, values in columns.items()}
    return Rows(starts=starts, times=times, columns=sorted_columns, origin=order), notes


def merge_repeats(rows: Rows, table: Table, aggregate: str | None) -> tuple[Rows, list[Note]]:
    """Rows with the time stamp of the row before are dropped if they say the same, else merged with it."""
    same = np.zeros(len(rows.times), dtype=bool)
    same[1:] = rows.times[1:] == rows.times[:-1]
    same[rows.starts] = False
    notes = []
    if aggregate is None:
        equal = same & _equal_to_previous(rows)
        if equal.any():
            count, first = int(equal.sum()), int(table.lines[rows.origin[equal][0]])
            text = f"rows that repeat another one: {count:,}, the first is row {first}; dropped (--aggregate)"
            notes.append(Note("duplicates", text))
        rows, same = rows.take(~equal), same[~equal]
    if same.any():
        how, at, count = aggregate or "mean", int(same.argmax()), int(same.sum())
        lines = " and ".join(str(int(table.lines[row])) for row in rows.origin[at - 1 : at + 1])
        where = f"such as rows {lines} ({stamp(rows.times[at])})"
        text = f"rows that share a time stamp with another: {count:,}, {where}; the {how} is taken"
        notes.append(Note("duplicates", f"{text} (--aggregate, --id)"))
        rows = merged(rows, ~same, how)
    return rows, notes


def merged(rows: Rows, groups: np.ndarray, how: str) -> Rows:
    """One row for each group of neighbouring rows.

    Args:
        rows: n rows.
        groups: (n,) bool, where a group begins.
        how: `mean`, `sum`, `first` or `last`; missing values do not count.
    """
    heads = np.flatnonzero(groups)
    if len(heads) == len(groups):
        return rows
    before = np.concatenate([[0], np.cumsum(groups)])
    return Rows(
        starts=before[rows.starts],
        times=rows.times[heads],
        columns={name: _merge(values, heads, how) for name, values in rows.columns.items()},
        origin=rows.origin[heads],
    )


def _equal_to_previous(rows: Rows) -> np.ndarray:
    """Whether a row has the same values as the one before, (n,) bool; missing equals missing."""
    equal = np.ones(len(rows.times), dtype=bool)
    for values in rows.columns.values():
        now, before = values[1:], values[:-1]
        equal[1:] &= (now == before) | (np.isnan(now) & np.isnan(before))
    return equal


def _merge(values: np.ndarray, heads: np.ndarray, how: str) -> np.ndarray:
    if how in ("first", "last"):
        steps = np.arange(len(values))
        filled = ~np.isnan(values)
        if how == "first":
            at = np.minimum.reduceat(np.where(filled, steps, len(values)), heads)
        else:
            at = np.maximum.reduceat(np.where(filled, steps, -1), heads)
        return np.append(values, np.nan)[np.where(at < 0, len(values), at)]
    counts = np.add.reduceat((~np.isnan(values)).astype(np.int64), heads)
    sums = np.add.reduceat(np.where(np.isnan(values), 0.0, values), heads)
    result = np.full(len(heads), np.nan)
    np.divide(sums, counts if how == "mean" else 1, out=result, where=counts > 0)
    return result
