"""Event logs that do not fit into memory: streamed once, sorted in shards, kept as memory maps.

    1  a streaming pass finds the ids of users and items, in order of appearance
    2  a second pass replaces ids by codes and writes each event to the shard of its user
    3  each shard alone is sorted by user, time and row, without rows that repeat user, item and time, and
       put behind the ones before it
    4  with --min-user or --min-item the k-core is found by passes over the maps, which are then rewritten

A prepared directory holds `item.i32`, `time.i64` and `starts.i64` (flat arrays), `users.parquet`,
`items.parquet` and `log.json`. Training windows are slices of the maps. Ids, times and the order of equal
times are those of the reader (`data`): the fingerprint of both is the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, DataError
from statewise.core.tables.table import Table
from statewise.recsys.clock import read_times
from statewise.recsys.columns import Columns, find_columns
from statewise.recsys.events import EventLog
from statewise.recsys.kcore import compact, survivors
from statewise.recsys.options import ReadOptions

__all__ = ["is_prepared", "open_prepared", "prepare", "prepared_notes"]

LOG = "log.json"
_FORMAT = 1
_BATCH = 500_000
"""Rows in memory at once."""
_SHARD = 2_000_000
"""Events of a shard, about."""
_RECORD = np.dtype([("user", "<i4"), ("item", "<i4"), ("time", "<i8"), ("row", "<i8")])
_TYPES: dict[str, type] = {"time.i64": np.int64, "row.i64": np.int64}


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file that is read as a stream."""

    path: Path
    frame: pl.LazyFrame
    columns: Columns


def prepare(
    path: str | Path,
    out: str | Path,
    options: ReadOptions | None = None,
    *,
    progress: Callable[[float, str], None] | None = None,
) -> EventLog:
    """Turn a parquet or CSV file of any size into a prepared directory.

    Args:
        path: parquet, or delimited text in UTF-8 with a header.
        out: directory to make.
        options: columns, delimiter, duplicates, bounds of the k-core.
        progress: told the fraction done and a few words.

    Raises:
        DataError: a cell is empty or no time, with its row.
        ConfigError: the directory holds something, or an option does not stream.
    """
    options = options or ReadOptions()
    if options.blanks == "skip" or options.encoding is not None:
        raise ConfigError(
            "does not stream",
            where="--blanks" if options.encoding is None else "--encoding",
            fix="remove the rows and write the file in UTF-8, or use `recsys fit` directly",
        )
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError("holds something already", where=str(folder), fix="name a new directory with --out")
    folder.mkdir(parents=True, exist_ok=True)
    tell = progress or (lambda fraction, words: None)
    source = _open(Path(path), options)
    tell(0.0, "finding users")
    users, sizes = _ids(source, source.columns.user)
    tell(0.15, "finding items")
    items, _ = _ids(source, source.columns.item)
    edges = _shard_edges(sizes)
    shards = folder / "shards"
    shards.mkdir()
    clock = _scatter(source, users, items, edges, shards, int(sizes.sum()), tell)
    starts = _gather(folder, shards, edges, clock, options, tell)
    shutil.rmtree(shards)
    notes = _dropped(int(sizes.sum() - starts[-1]), "repeat user, item and time: left out (--duplicates)")
    if options.min_user > 1 or options.min_item > 1:
        tell(0.9, "finding the k-core")
        before = int(starts[-1])
        starts, users, items = _core(folder, starts, users, items, options)
        notes += _dropped(before - int(starts[-1]), "left out by the k-core (--min-user, --min-item)")
    (folder / "row.i64").unlink()
    if clock == "none":
        (folder / "time.i64").unlink()
    starts.tofile(folder / "starts.i64")
    pl.DataFrame({"user": users}).write_parquet(folder / "users.parquet")
    pl.DataFrame({"item": items}).write_parquet(folder / "items.parquet")
    facts = {"format": _FORMAT, "clock": clock, "events": int(starts[-1]), "source": str(path)}
    (folder / LOG).write_text(json.dumps(facts | {"notes": notes}) + "\n", encoding="utf-8")
    return open_prepared(folder)


def is_prepared(path: Any) -> bool:
    """Whether `path` is a directory that `prepare` has finished."""
    return isinstance(path, str | Path) and (Path(path) / LOG).is_file()


def prepared_notes(path: str | Path) -> list[str]:
    """What was left out of a prepared log, in words."""
    return json.loads((Path(path) / LOG).read_text(encoding="utf-8")).get("notes", [])


def open_prepared(path: str | Path) -> EventLog:
    """The log of a prepared directory, its events as memory maps.

    Raises:
        DataError: a file is missing or has another size.
    """
    folder = Path(path)
    try:
        facts = json.loads((folder / LOG).read_text(encoding="utf-8"))
        users = pl.read_parquet(folder / "users.parquet")["user"]
        items = pl.read_parquet(folder / "items.parquet")["item"]
        starts = np.fromfile(folder / "starts.i64", dtype=np.int64)
        item = np.memmap(folder / "item.i32", dtype=np.int32, mode="r")
        timed = facts["clock"] != "none"
        time = np.memmap(folder / "time.i64", dtype=np.int64, mode="r") if timed else None
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"is a damaged prepared log ({error})", where=str(folder), fix="run `recsys prepare` again"
        ) from None
    if (
        len(item) != facts["events"]
        or starts[-1] != len(item)
        or (time is not None and len(time) != len(item))
    ):
        raise DataError(
            "is a damaged prepared log",
            where=str(folder),
            seen=f"{len(item):,} events",
            expected=f"{facts['events']:,}",
            fix="run `recsys prepare` again",
        )
    return EventLog(users=users, items=items, starts=starts, item=item, time=time, clock=facts["clock"])


def _dropped(count: int, words: str) -> list[str]:
    return [f"{count:,} rows {words}"] if count else []


def _open(path: Path, options: ReadOptions) -> _Source:
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), fix="check the path")
    if path.suffix.lower() in (".parquet", ".pq"):
        frame = pl.scan_parquet(path)
    else:
        separator = options.delimiter or ("\t" if path.suffix.lower() in (".tsv", ".inter") else ",")
        frame = pl.scan_csv(
            path, separator=separator, infer_schema=False, has_header=options.header is not False
        )
    try:
        head = frame.head(1_000).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot be read ({error})", where=str(path), fix="write the file again") from None
    if not len(head):
        raise DataError("holds no rows", where=str(path), fix="check that the export has finished")
    return _Source(path=path, frame=frame, columns=find_columns(_table(path, head, 0), options))


def _table(path: Path, frame: pl.DataFrame, first: int) -> Table:
    """A batch as a table whose rows know their place in the file."""
    header = 0 if path.suffix.lower() in (".parquet", ".pq") else 1
    return Table(
        frame=frame,
        lines=np.arange(len(frame)) + first + header + 1,
        files=np.zeros(len(frame), dtype=np.int64),
        sources=(str(path),),
    )


def _ids(source: _Source, name: str) -> tuple[pl.Series, np.ndarray]:
    """Distinct ids of a column in order of appearance, and how often each occurs."""
    found = (
        source.frame.select(pl.col(name).cast(pl.String).str.strip_chars().alias("id"))
        .with_row_index("row")
        .group_by("id")
        .agg(pl.col("row").min(), pl.len().alias("count"))
        .sort("row")
        .collect(engine="streaming")
    )
    blank = found.filter(pl.col("id").is_null() | (pl.col("id") == ""))
    if len(blank):
        raise DataError(
            "is empty",
            where=_table(source.path, blank, 0)
            .place(0, name)
            .replace("row 2,", f"row {blank['row'][0] + 2},"),
            seen=f"{int(blank['count'].sum()):,} such rows",
            expected="an id",
            fix="complete or remove the rows",
        )
    return found["id"], found["count"].to_numpy().astype(np.int64)


def _shard_edges(sizes: np.ndarray) -> np.ndarray:
    """Codes of users at which shards begin, and the number of users at the end."""
    total = np.cumsum(sizes)
    count = max(1, -(-int(total[-1]) // _SHARD))
    inner = np.searchsorted(total, np.arange(1, count) * total[-1] // count, side="right")
    return np.unique(np.concatenate([[0], inner, [len(sizes)]]))


def _batches(source: _Source) -> Iterator[tuple[int, pl.DataFrame]]:
    columns = [source.columns.user, source.columns.item]
    columns += [source.columns.time] if source.columns.time else []
    first = 0
    for batch in source.frame.select(columns).collect_batches(chunk_size=_BATCH, maintain_order=True):
        yield first, batch
        first += len(batch)


def _scatter(
    source: _Source,
    users: pl.Series,
    items: pl.Series,
    edges: np.ndarray,
    shards: Path,
    rows: int,
    tell: Callable[[float, str], None],
) -> str:
    """Write every event to the shard of its user; the clock of the times."""
    codes = [
        pl.DataFrame({"id": names, "code": np.arange(len(names), dtype=np.int32)}) for names in (users, items)
    ]
    names = source.columns.user, source.columns.item
    clock = "none"
    files = [open(shards / str(number), "wb") for number in range(len(edges) - 1)]  # noqa: SIM115  # closed below
    try:
        for first, batch in _batches(source):
            tell(0.3 + 0.4 * first / rows, "sorting into shards")
            who, what = (
                batch.select(pl.col(name).cast(pl.String).str.strip_chars().alias("id"))
                .join(table, on="id", how="left", maintain_order="left")["code"]
                .to_numpy()
                for name, table in zip(names, codes, strict=True)
            )
            records = np.empty(len(batch), dtype=_RECORD)
            records["user"], records["item"], records["time"] = who, what, 0
            records["row"] = np.arange(first, first + len(batch))
            if source.columns.time is not None:
                time, absent, clock, _ = read_times(_table(source.path, batch, first), source.columns.time)
                if absent.any():
                    row = int(np.flatnonzero(absent)[0])
                    raise DataError(
                        "has no time",
                        where=_table(source.path, batch, first).place(row, source.columns.time),
                        fix="complete or remove the rows, or give --time none",
                    )
                records["time"] = time
            shard = np.searchsorted(edges, who, side="right") - 1
            for number in np.unique(shard):
                files[number].write(records[shard == number].tobytes())
    finally:
        for file in files:
            file.close()
    return clock


def _gather(
    folder: Path,
    shards: Path,
    edges: np.ndarray,
    clock: str,
    options: ReadOptions,
    tell: Callable[[float, str], None],
) -> np.ndarray:
    """Sort the shards one by one and put them behind each other; the starts of the users."""
    sizes = np.zeros(edges[-1], dtype=np.int64)
    names = {"item": "item.i32", "time": "time.i64", "row": "row.i64"}
    files = {field: open(folder / name, "wb") for field, name in names.items()}  # noqa: SIM115  # closed below
    try:
        for number in range(len(edges) - 1):
            tell(0.7 + 0.2 * number / len(edges), "sorting")
            records = np.fromfile(shards / str(number), dtype=_RECORD)
            if clock != "none" and options.duplicates == "drop":
                records = records[~_repeats(records)]
            records = records[np.lexsort((records["time"], records["user"]))]
            sizes += np.bincount(records["user"], minlength=len(sizes))
            for field, file in files.items():
                records[field].tofile(file)
    finally:
        for file in files.values():
            file.close()
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _repeats(records: np.ndarray) -> np.ndarray:
    """Which records are a row further down with the user, the item and the time of another, (n,) bool."""
    order = np.lexsort((records["item"], records["time"], records["user"]))
    ordered = records[["user", "item", "time"]][order]
    repeats = np.zeros(len(records), dtype=bool)
    repeats[order[1:]] = ordered[1:] == ordered[:-1]
    return repeats


def _core(
    folder: Path, starts: np.ndarray, users: pl.Series, items: pl.Series, options: ReadOptions
) -> tuple[np.ndarray, pl.Series, pl.Series]:
    """Reduce the maps to the k-core: starts, users and items that are left."""
    item = np.memmap(folder / "item.i32", dtype=np.int32, mode="r")
    row = np.memmap(folder / "row.i64", dtype=np.int64, mode="r")
    kept = survivors(starts, item, row, len(items), options.min_user, options.min_item)
    if not len(kept.users):
        raise DataError(
            f"no event is left with --min-user {options.min_user} --min-item {options.min_item}",
            where=str(folder),
            seen=f"{len(item):,} events before",
            expected="smaller bounds",
            fix="lower --min-user or --min-item, and name a new directory",
        )
    return compact(folder, _TYPES, starts, kept), users.gather(kept.users), items.gather(kept.items)
