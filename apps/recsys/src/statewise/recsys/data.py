"""The reader: an event log from a file as it comes, and notes on all that was assumed.

Ids are strings and stay as they are written (`007` is not `7`). Events are ordered by time; events of one
user at the same time keep the order of the rows, whatever the ids are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.delimited import parse_text
from statewise.core.tables.load import load
from statewise.core.tables.source import Content, open_source
from statewise.core.tables.table import Note, Table, combine
from statewise.recsys.clock import read_times
from statewise.recsys.columns import find_columns
from statewise.recsys.events import EventLog, build_log, codes_of
from statewise.recsys.kcore import k_core
from statewise.recsys.options import ReadOptions
from statewise.recsys.prepare import is_prepared, open_prepared, prepared_notes

__all__ = ["Reading", "read"]

_DOUBLE = b"::"
ABSENT = "check the path, or run `recsys data` for the named public sets"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read, and what was assumed on the way."""

    log: EventLog
    notes: tuple[Note, ...]
    sources: tuple[str, ...]

    @property
    def facts(self) -> str:
        """Size and fingerprint in one line."""
        log = self.log
        sizes = f"{len(log):,} events, {log.n_users:,} users, {log.n_items:,} items"
        return f"{sizes}, fingerprint {log.fingerprint}"


def read(sources: Sequence[Any], options: ReadOptions | None = None) -> Reading:
    """Read files (`-`: standard input) or data frames into a log.

    Args:
        sources: paths of delimited text (also `.gz`, RecBole's `.inter`, MovieLens' `::`) or parquet, or
            frames that speak the Arrow interchange; several are put below each other.
        options: what should not be found out.

    Raises:
        DataError: a file cannot be read or holds no events: with file, row or column, and the fix.
    """
    options = options or ReadOptions()
    if not sources:
        raise DataError("no data file is named", expected="a CSV or parquet file", fix="name one")
    if len(sources) == 1 and is_prepared(sources[0]):
        log = open_prepared(sources[0])
        notes = [Note("file", "a prepared log"), *(Note("file", text) for text in prepared_notes(sources[0]))]
        return Reading(log=log, notes=tuple(notes), sources=(str(sources[0]),))
    table = combine([_loaded(source, options) for source in sources])
    columns = find_columns(table, options)
    notes = [*table.notes, *columns.notes]
    table, more = _without_blanks(table, columns.user, columns.item, options)
    notes += more
    user, item = (_as_ids(table, name) for name in (columns.user, columns.item))
    time, clock = None, "none"
    if columns.time is not None:
        time, absent, clock, words = read_times(table, columns.time)
        notes.append(Note("time", f"times are {words}"))
        if absent.any():
            time = _carried(time, absent, user)
            notes.append(_absent_times(table, absent))
    kept, more = _kept(user, item, time, options)
    notes += more
    if not kept.any():
        raise DataError(
            f"no event is left with --min-user {options.min_user} --min-item {options.min_item}",
            where=table.name,
            seen=f"{len(table):,} events before",
            expected="smaller bounds",
            fix="lower --min-user or --min-item",
        )
    mask = pl.Series(kept)
    log = build_log(user.filter(mask), item.filter(mask), None if time is None else time[kept], clock=clock)
    notes += _ties(log)
    return Reading(log=log, notes=tuple(notes), sources=table.sources)


def _loaded(source: Any, options: ReadOptions) -> Table:
    """One source as a table; `::` becomes a tab before it is parsed."""
    how: dict[str, Any] = {"encoding": options.encoding, "header": options.header}
    if hasattr(source, "__arrow_c_stream__"):
        return load(source)
    content = open_source(source, absent=ABSENT)
    if content.parquet:
        return load(source, absent=ABSENT)
    first = content.data.split(b"\n", 1)[0]
    if options.delimiter == "::" or (options.delimiter is None and first.count(_DOUBLE) >= 2):
        plain = Content(name=content.name, data=content.data.replace(_DOUBLE, b"\t"))
        table = parse_text(plain, delimiter="\t", **how)
        kept = [note for note in table.notes if "separated by" not in note.text]
        return replace(table, notes=(Note("file", "the fields are separated by ::"), *kept))
    return parse_text(content, delimiter=options.delimiter, **how)


def _as_ids(table: Table, name: str) -> pl.Series:
    """A column as strings; numbers of parquet files as they would be written."""
    column = table.frame[name]
    if column.dtype == pl.String:
        return column.str.strip_chars()
    if column.dtype.is_float():
        whole = column == column.round()
        if not bool(whole.all()):
            row = int(np.flatnonzero(~whole.to_numpy())[0])
            raise DataError(
                "an id is no whole number",
                where=table.place(row, name),
                seen=str(column[row]),
                expected="ids that are text or whole numbers",
                fix="write the column as text, or name another with --user or --item",
            )
        column = column.cast(pl.Int64)
    return column.cast(pl.String)


def _without_blanks(table: Table, user: str, item: str, options: ReadOptions) -> tuple[Table, list[Note]]:
    """Rows that name both a user and an item."""
    blank = np.zeros(len(table), dtype=bool)
    for name in (user, item):
        column = table.frame[name]
        empty = column.is_null()
        if column.dtype == pl.String:
            empty = empty | (column.str.strip_chars() == "").fill_null(True)
        elif column.dtype.is_float():
            empty = empty | column.is_nan().fill_null(True)
        here = empty.to_numpy()
        if here.any() and options.blanks == "refuse":
            row = int(np.flatnonzero(here)[0])
            raise DataError(
                "is empty",
                where=table.place(row, name),
                seen=f"{int(here.sum()):,} such rows of {len(table):,}",
                expected="an id",
                fix="complete or remove the rows, or leave them out with --blanks skip",
            )
        blank |= here
    if blank.all():
        raise DataError(
            "holds no row with a user and an item", where=table.name, fix="check --user and --item"
        )
    if not blank.any():
        return table, []
    note = Note("blanks", f"{int(blank.sum()):,} rows without a user or an item left out, as asked")
    return table.keep(~blank), [note]


def _carried(time: np.ndarray, absent: np.ndarray, user: pl.Series) -> np.ndarray:
    """An event without a time takes that of the user's row before it, or of the next one that has one."""
    who, _ = codes_of(user)
    frame = pl.DataFrame({"user": who, "time": pl.Series(time).set(pl.Series(absent), None)})
    filled = pl.col("time").forward_fill().backward_fill().over("user").fill_null(0)
    return frame.select(filled)["time"].to_numpy()


def _absent_times(table: Table, absent: np.ndarray) -> Note:
    row = int(np.flatnonzero(absent)[0])
    text = (
        f"{int(absent.sum()):,} events have no time (the first in {table.place(row)}): "
        "each keeps its place behind the user's row before it"
    )
    return Note("time", text)


def _kept(
    user: pl.Series, item: pl.Series, time: np.ndarray | None, options: ReadOptions
) -> tuple[np.ndarray, list[Note]]:
    """Which rows stay, (n,) bool: no duplicates, and the k-core."""
    kept, notes = np.ones(len(user), dtype=bool), []
    frame = pl.DataFrame({"user": user, "item": item})
    if time is not None and options.duplicates == "drop":
        first = frame.with_columns(time=pl.Series(time)).is_duplicated()
        if first.any():
            marked = frame.with_columns(time=pl.Series(time)).with_row_index("row")
            rows = marked.unique(["user", "item", "time"], keep="first")["row"].to_numpy()
            kept[:] = False
            kept[rows] = True
            dropped = int((~kept).sum())
            notes.append(
                Note("duplicates", f"{dropped:,} rows repeat user, item and time: left out (--duplicates)")
            )
    if options.min_user > 1 or options.min_item > 1:
        who, what = codes_of(user)[0], codes_of(item)[0]
        before = int(kept.sum())
        kept = k_core(who, what, kept, options.min_user, options.min_item)
        if before > kept.sum():
            text = f"{before - int(kept.sum()):,} of {before:,} events left out by the k-core"
            notes.append(Note("core", f"{text} (--min-user, --min-item)"))
    return kept, notes


def _ties(log: EventLog) -> list[Note]:
    """How many events share their time with the user's event before: their order is that of the rows."""
    if log.time is None or len(log) < 2:
        return []
    same = log.time[1:] == log.time[:-1]
    same[log.starts[1:-1] - 1] = False
    share = same.sum() / len(log)
    if share < 0.01:
        return []
    text = (
        f"{share:.0%} of the events have the time of the user's event before: "
        "equal times keep the order of the rows"
    )
    return [Note("ties", text)]
