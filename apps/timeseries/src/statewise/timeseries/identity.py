"""Which columns tell the series of a long file apart: the fewest that, with the time, name each row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.table import Table
from statewise.core.tables.words import shown
from statewise.timeseries.numerals import numbers
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.timestamps import Stamps
from statewise.timeseries.vocabulary import ID_NAMES, ID_WORDS, TARGET_NAMES, words_of

__all__ = ["find_ids"]


def find_ids(
    table: Table, options: ReadOptions, stamps: Stamps | None, used: Sequence[str]
) -> tuple[str, ...]:
    """The columns that tell the series of a long file apart; none for a wide one.

    Raises:
        DataError: when time stamps repeat all over and no column explains it.
    """
    if options.id is not None:
        if options.id == "none" and "none" not in table.frame.columns:
            return ()
        return table.require_joined(options.id, "--id")
    finder = _IdFinder(table, stamps, used)
    names = finder.find()
    if not names and stamps is not None and options.aggregate is None:
        finder.refuse_if_mixed()
    return names


class _IdFinder:
    """The search for the smallest set of columns that, with the time, name each row."""

    def __init__(self, table: Table, stamps: Stamps | None, used: Sequence[str]) -> None:
        self.table, self.used = table, used
        self.times = pl.Series("time stamp", stamps.values) if stamps is not None else None
        self.n = len(table)
        self.distinct = self.times.n_unique() if self.times is not None else self.n
        self.names = [name for name in table.frame.columns if name not in used]
        self._sizes: dict[str, int] = {}

    def find(self) -> tuple[str, ...]:
        """The columns, or none when each row is a step of its own."""
        strong = next(
            (name for name in self.names if name.lower() in ID_NAMES and self._rank(name) == 0), None
        )
        if self.times is None:
            return (strong,) if strong else ()
        if self.distinct == self.n:
            # series that follow each other in time
            return (strong,) if strong and self._size(strong) <= self.n // 3 else ()
        if strong and self._resolves((strong,)):
            return (strong,)
        if self.distinct > 0.8 * self.n:
            return ()
        ordered = sorted(self.ranks, key=lambda name: (self.ranks[name], self._size(name)))
        single = next((name for name in ordered if self._resolves((name,))), None)
        if single is not None:
            return (single,)
        few = [name for name in self.names if name in ordered[:6]]
        return next((some for size in (2, 3) for some in combinations(few, size) if self._resolves(some)), ())

    def refuse_if_mixed(self) -> None:
        """Raise when the rows look like several series that no column tells apart."""
        rows = self._rows if self.distinct < self.n else self.n
        if self.times is None or rows - self.distinct <= 0.2 * rows:
            return
        repeated = np.flatnonzero((~self.times.is_first_distinct()).to_numpy())
        row = int(repeated[0])
        first = int((self.times == self.times[row]).arg_max() or 0)
        likely = max(self.ranks, key=lambda name: self._count((name,)), default=None)
        fix = f"if '{shown(likely)}' tells them apart: --id {likely}" if likely else "name a column with --id"
        raise DataError(
            f"{self.n:,} rows share {self.distinct:,} time stamps, and no column tells series apart",
            where=self.table.place(row, self.used[0] if self.used else None),
            seen=f"the time stamp of row {int(self.table.lines[first])} again",
            expected="one row per step, or a column that names the series",
            fix=f"{fix}; to merge such rows: --aggregate mean or --aggregate sum",
        )

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The columns that may be ids, and how much they look like one."""
        return {name: rank for name in self.names if (rank := self._rank(name)) is not None}

    def _size(self, name: str) -> int:
        if name not in self._sizes:
            self._sizes[name] = self.table.frame[name].n_unique()
        return self._sizes[name]

    def _rank(self, name: str) -> int | None:
        """How much a column looks like an id (0 is most), or None when it does not."""
        column, size = self.table.frame[name], self._size(name)
        if not 1 < size < self.n or column.dtype.is_float():
            return None
        if name.lower() in ID_NAMES:
            return 0
        hinted = bool(set(words_of(name)) & ID_WORDS)
        if column.dtype in (pl.Categorical, pl.Enum) or (
            column.dtype == pl.String and numbers(column.head(200)).share <= 0.5
        ):
            return 1 if hinted else 2
        whole = column.dtype.is_integer() or (
            column.dtype == pl.String and bool(column.str.contains(r"^\s*\d{1,9}\s*$").all())
        )
        if hinted:
            return 3
        return 4 if whole and size <= self.n // 3 and self._spare(name) else None

    def _spare(self, name: str) -> bool:
        """Whether a column of numbers without a telling name may be an id: something is left to forecast."""
        if self.table.frame[name].null_count() or name.lower() in TARGET_NAMES:
            return False
        return any(
            numbers(self.table.frame[other].head(200)).share > 0.5 for other in self.names if other != name
        )

    def _resolves(self, names: tuple[str, ...]) -> bool:
        """Whether nearly every row is a step of its own; a few repetitions are looked at later."""
        count = self._count(names)
        return count == self.n or count >= 0.95 * self._rows

    @cached_property
    def _rows(self) -> int:
        """Rows, exact repetitions counted once."""
        return self.table.frame.n_unique()

    def _count(self, names: tuple[str, ...]) -> int:
        """Distinct combinations of the columns and the time."""
        times = self.times if self.times is not None else pl.Series("time stamp", np.arange(self.n))
        if len(names) == 1 and self._ordered(names[0], times):
            return self.n
        return self.table.frame.select(names).with_columns(times.alias(" time ")).n_unique()

    def _ordered(self, name: str, times: pl.Series) -> bool:
        """Whether the rows stand series by series in order of time, which saves counting."""
        column = self.table.frame[name]
        same = (column == column.shift()).fill_null(False).to_numpy()
        rising = np.diff(times.to_numpy()) > np.zeros(1, dtype=np.diff(times.head(2).to_numpy()).dtype)
        return int((~same).sum()) == self._size(name) and bool(rising[same[1:]].all())
