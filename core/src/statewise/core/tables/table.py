"""A file as a table: a polars frame whose rows still know the line of the file they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from statewise.core.errors import DataError, suggestion
from statewise.core.tables.words import shown

__all__ = ["Note", "Table", "coded", "combine"]


@dataclass(frozen=True)
class Note:
    """Something the reader assumed or did."""

    kind: str
    """What it is about: `time`, `id`, `target`, `gaps`, `duplicates` ..."""
    text: str
    """The finding in plain words, with the flag that overrides it."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of one or several files.

    Columns are strings where the source was text, and typed where it was parquet or a frame.
    """

    frame: pl.DataFrame
    lines: np.ndarray
    """Line of its file on which each row stands, counted from 1, (n,)."""
    files: np.ndarray
    """Which of `sources` each row is from, (n,)."""
    sources: tuple[str, ...]
    delimiter: str | None = None
    """What separated the fields of a text; None for typed sources."""
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return self.frame.height

    @property
    def name(self) -> str:
        """The sources in a few words."""
        return (
            self.sources[0]
            if len(self.sources) == 1
            else f"{self.sources[0]} and {len(self.sources) - 1} more"
        )

    def place(self, row: int, column: str | None = None) -> str:
        """Where a row stands, for messages: `data.csv, row 7, column 'y'`."""
        where = f"{self.sources[int(self.files[row])]}, row {int(self.lines[row])}"
        return where if column is None else f"{where}, column '{shown(column)}'"

    def keep(self, rows: np.ndarray) -> Table:
        """Only the rows of a boolean mask, (n,)."""
        return replace(
            self, frame=self.frame.filter(pl.Series(rows)), lines=self.lines[rows], files=self.files[rows]
        )

    def require(self, name: str, flag: str) -> str:
        """The column that the user named, also in another case.

        Raises:
            DataError: when there is no such column; the nearest one is offered.
        """
        names = self.frame.columns
        if name in names:
            return name
        same = [known for known in names if known.lower() == name.lower().strip()]
        if len(same) == 1:
            return same[0]
        raise DataError(
            f"there is no column '{shown(name)}'",
            where=f"{self.name}, {flag}",
            expected=f"one of {', '.join(shown(known) for known in names[:20])}",
            fix=suggestion(name, names) or f"give {flag} the name of a column of the file",
        )

    def require_joined(self, names: str, flag: str) -> tuple[str, *tuple[str, ...]]:
        """The columns that an option names, joined by `+` unless one is called so."""
        if names in self.frame.columns or "+" not in names:
            return (self.require(names, flag),)
        first, *others = (self.require(name.strip(), flag) for name in names.split("+"))
        return first, *others


def combine(tables: Sequence[Table]) -> Table:
    """The rows of several files below each other.

    Raises:
        DataError: when their columns differ.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    for other in tables[1:]:
        _require_same_columns(first, other)
    names = first.frame.columns
    frames = [table.frame.select(names) for table in tables]
    if len({tuple(frame.dtypes) for frame in frames}) > 1:
        frames = [frame.cast(pl.String) for frame in frames]
    return Table(
        frame=pl.concat(frames, rechunk=True),
        lines=np.concatenate([table.lines for table in tables]),
        files=np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        sources=tuple(table.sources[0] for table in tables),
        delimiter=first.delimiter,
        notes=tuple(dict.fromkeys(note for table in tables for note in table.notes)),
    )


def coded(column: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """The distinct values in order of appearance, and which of them each row holds, (n,) int64."""
    distinct = column.unique(maintain_order=True)
    if len(distinct) == len(column):
        return np.arange(len(column)), distinct
    index = pl.DataFrame({"value": distinct, "index": np.arange(len(distinct))})
    found = pl.DataFrame({"value": column}).join(index, on="value", how="left", maintain_order="left")
    return found["index"].to_numpy(), distinct


def _require_same_columns(first: Table, other: Table) -> None:
    mine, theirs = set(first.frame.columns), set(other.frame.columns)
    if mine == theirs:
        return
    absent = ", ".join(f"'{shown(name)}'" for name in first.frame.columns if name not in theirs)
    added = ", ".join(f"'{shown(name)}'" for name in other.frame.columns if name not in mine)
    raise DataError(
        f"has other columns than {first.name}",
        where=other.name,
        seen="; ".join(
            part for part in (absent and f"no column {absent}", added and f"also {added}") if part
        ),
        expected="files with the same columns, whose rows are put below each other",
        fix="check that the right files are named, or read them one by one",
    )
