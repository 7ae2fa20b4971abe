"""Many series in little memory: a parquet file turned into one flat array on disk that is mapped, not read.

The file is streamed twice (polars): once for where each series begins and ends, once to put every value
where it belongs. Neither pass holds the table, and a panel of the store holds views: what is not looked at
stays on the disk.

Letters: S series, N steps of all series together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.config import from_dict, to_dict
from statewise.core.errors import DataError
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.panel import Panel, Series

__all__ = ["Columns", "Store", "build_store"]

VALUES, INDEX, FACTS = "values.npy", "series.parquet", "store.json"
_ROWS = 1_000_000  # of the file in memory at a time


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a long file."""

    id: str = "unique_id"
    time: str = "ds"
    target: str = "y"


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder that holds the series of a file."""

    path: Path
    frequency: Frequency
    columns: Columns

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """The store in a folder.

        Raises:
            DataError: there is none.
        """
        folder = Path(path)
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            fix = "make a store of a parquet file"
            raise DataError("holds no series", where=str(folder), fix=fix) from None
        frequency = from_dict(Frequency, facts["frequency"], where=str(folder))
        columns = from_dict(Columns, facts["columns"], where=FACTS)
        return cls(path=folder, frequency=frequency, columns=columns)

    @cached_property
    def index(self) -> pl.DataFrame:
        """Of each series its id, its first stamp as a whole number, its offset and its length, by id."""
        return pl.read_parquet(self.path / INDEX)

    def __len__(self) -> int:
        return len(self.index)

    def panel(self, begin: int = 0, end: int | None = None) -> Panel:
        """The series from place `begin` to before `end`, as views of the file."""
        values = np.asarray(np.load(self.path / VALUES, mmap_mode="r"))
        # stamps of series that begin together and are equally long are one array
        stamps: dict[tuple[int, int], np.ndarray] = {}
        series = []
        for name, first, offset, length in self.index[begin:end].iter_rows():
            key = (first, length)
            if key not in stamps:
                stamps[key] = self.frequency.range(_stamp(first, self.frequency), length)
            own = values[offset : offset + length]
            series.append(Series(id=name, times=stamps[key], values=own))
        names = self.columns
        return Panel(
            series=tuple(series), frequency=self.frequency, id_name=names.id, time_name=names.time,
            sources=(str(self.path),),
        )  # fmt: skip


def build_store(
    sources: Sequence[str | Path], folder: str | Path, frequency: str, columns: Columns | None = None
) -> Store:
    """Stream long parquet files into a folder.

    Args:
        sources: files with one row per series and step, in any order.
        folder: where the store goes; it is made.
        frequency: spacing of the steps, such as `D`; `step` where the time column counts them.
        columns: names of the three columns.

    Raises:
        DataError: a column is missing, a step stands there twice or lies between two steps.
    """
    path, names, spacing = Path(folder), columns or Columns(), Frequency.parse(frequency)
    path.mkdir(parents=True, exist_ok=True)
    rows = _rows(sources, names, spacing)
    index = _index(rows, spacing)
    _fill(rows, index, path / VALUES, spacing)
    index.select("id", "first", "offset", "length").write_parquet(path / INDEX)
    facts = {"frequency": to_dict(spacing), "columns": to_dict(names)}
    (path / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return Store.open(path)


def _rows(sources: Sequence[str | Path], names: Columns, frequency: Frequency) -> pl.LazyFrame:
    """The three columns: id as text, time as a whole number, value as a float."""
    table = pl.scan_parquet([str(source) for source in sources])
    found = table.collect_schema().names()
    for name in (names.id, names.time, names.target):
        if name not in found:
            raise DataError(
                f"has no column '{name}'", where=str(sources[0]), seen=", ".join(found[:8]),
                fix="name the columns of ids, times and values",
            )  # fmt: skip
    time = pl.col(names.time)
    if frequency.unit != "step":
        time = time.cast(pl.Datetime("us"))
    return table.select(
        pl.col(names.id).cast(pl.String).alias("id"),
        time.cast(pl.Int64).alias("time"),
        pl.col(names.target).cast(pl.Float64).alias("value"),
    )


def _index(rows: pl.LazyFrame, frequency: Frequency) -> pl.DataFrame:
    """Where each series begins and how long it is, (S, 4), sorted by id."""
    spans = rows.group_by("id").agg(pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
    index = spans.sort("id").collect(engine="streaming")
    if not len(index):
        raise DataError("the files hold no row", fix="check the export")
    firsts, lasts = (index[name].to_numpy() for name in ("first", "last"))
    base = _stamp(int(firsts.min()), frequency)
    begin, end = (frequency.index_of(_stamps(times, frequency), base) for times in (firsts, lasts))
    lengths = end - begin + 1
    return index.select("id", "first").with_columns(
        offset=pl.Series(np.cumsum(lengths) - lengths), length=pl.Series(lengths), begin=pl.Series(begin)
    )


def _fill(rows: pl.LazyFrame, index: pl.DataFrame, path: Path, frequency: Frequency) -> None:
    """Write every value at its place; what is missing stays NaN."""
    total = int(index["length"].sum())
    base = _stamp(int(index["first"].min()), frequency)  # pyright: ignore[reportArgumentType]  # not empty
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(total,))
    values[:] = np.nan
    taken = np.zeros(total, dtype=bool)
    places = index.select("id", "offset", "begin")
    for batch in rows.collect_batches(chunk_size=_ROWS, maintain_order=False, engine="streaming"):
        found = batch.join(places, on="id", how="left", maintain_order="left")
        stamps = _stamps(found["time"].to_numpy(), frequency)
        steps = frequency.index_of(stamps, base)
        off = np.flatnonzero(frequency.at(base, steps) != stamps)
        if len(off):
            raise _broken("lies between two steps", found, int(off[0]), frequency)
        at = found["offset"].to_numpy() + steps - found["begin"].to_numpy()
        again = taken[at]
        taken[at] = True
        if again.any() or len(np.unique(at)) < len(at):
            first = np.unique(at, return_index=True)[1]
            twice = np.flatnonzero(again) if again.any() else np.setdiff1d(np.arange(len(at)), first)
            raise _broken("stands there twice", found, int(twice[0]), frequency)
        values[at] = found["value"].to_numpy()
    values.flush()


def _broken(what: str, rows: pl.DataFrame, row: int, frequency: Frequency) -> DataError:
    stamp = _stamps(rows["time"].to_numpy()[row : row + 1], frequency)[0]
    return DataError(
        f"a step {what}", where=f"series '{rows['id'][row]}'", seen=str(stamp),
        expected=f"one row for each step, {frequency.label}", fix="aggregate the rows of a step first",
    )  # fmt: skip


def _stamps(times: np.ndarray, frequency: Frequency) -> Any:
    return times if frequency.unit == "step" else times.view("datetime64[us]")


def _stamp(time: int, frequency: Frequency) -> Any:
    return time if frequency.unit == "step" else np.datetime64(time, "us")
