"""The reader: files as they come, to regular series with one frequency, and notes on all that was assumed.

Columns are found (`columns`, `values`), rows are sorted, stamps are laid on a grid (`grid`), rows of one step
become one, absent steps become NaN. Whatever is decided without the user is a note that names the flag to
decide otherwise.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, DataError
from statewise.timeseries.assemble import Grid, Rows, lay_out, make_series, merged
from statewise.timeseries.columns import find_ids, find_times, unpivot
from statewise.timeseries.delimited import parse_text
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.future import fill_covariates, settle_ahead
from statewise.timeseries.grid import Fit, fit_frequency, fit_steps, use_frequency
from statewise.timeseries.notes import (
    daylight_saving,
    gap_notes,
    last_stamp,
    named,
    series_notes,
    stamp,
    time_note,
)
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.source import open_source
from statewise.timeseries.table import Note, Table, coded, combine, shown
from statewise.timeseries.timestamps import Stamps
from statewise.timeseries.values import Values, find_values

__all__ = ["Note", "ReadOptions", "Reading", "read"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read, and what was assumed on the way."""

    panel: Panel
    notes: tuple[Note, ...]
    gaps: Mapping[str, int] = field(default_factory=dict)
    """Steps that the file lacks, by series; they are NaN in the panel."""
    repeats: Mapping[str, int] = field(default_factory=dict)
    """Rows that were merged with another row of their step, by series; in a wide file of all."""


def read(sources: Sequence[Any], options: ReadOptions | None = None) -> Reading:
    """Read files (`-`: standard input) or data frames into a panel.

    Args:
        sources: paths of delimited text or parquet, or frames that speak the Arrow interchange. Files
            with the same columns are put below each other; those that cover the same time are series of
            their own.
        options: what should not be found out.

    Raises:
        DataError: when a file cannot be read or does not hold series: with file, row or column, and the fix.
        ConfigError: when something can be read in two ways and only the user knows.
    """
    options = options or ReadOptions()
    if not sources:
        raise DataError(
            "no data file is named", expected="a CSV or parquet file", fix="name one, or - for standard input"
        )
    tables = [_load(source, options) for source in sources]
    table, notes = unpivot(combine(tables))
    if len(table) < 2:
        raise DataError(
            "holds a single row of data" if len(table) else "holds no rows of data",
            where=table.place(0) if len(table) else table.name,
            expected="at least two rows, better hundreds",
            fix="give a file with a longer history",
        )
    time_names, stamps = find_times(table, options)
    id_names, codes, labels = _find_series(table, options, stamps, time_names)
    values = find_values(table, options, stamps, (*time_names, *id_names), long=len(labels) > 0)
    reader = _Reader(table, options, stamps, values, codes, labels)
    try:
        series, absent, grid, fit = reader.read()
    except DataError as error:
        raise _placed(error, table) from None
    if all(np.isnan(one.values).all() for one in series):
        raise DataError(
            "no column has a value",
            where=f"{table.name}, column '{shown(series[0].id)}'",
            seen=f"{len(table):,} rows, all blank",
            fix="check the export, or name another column with --target",
        )
    panel = Panel(
        series=tuple(series),
        frequency=grid.frequency,
        zone=stamps.zone if stamps else None,
        covariate_names=reader.covariates,
        id_name="+".join(id_names) or "unique_id",
        time_name="+".join(time_names) or "ds",
        fingerprint=_fingerprint(series),
        sources=table.sources,
    )
    gaps = {one.id: n for one, n in zip(series, absent, strict=True) if n}
    said = [
        *table.notes,
        *notes,
        *time_note(time_names, stamps, fit, grid),
        *_series_note(panel, id_names, labels, values),
        *values.notes,
        *reader.notes,
        *series_notes(series, gaps, None if reader.covariates else last_stamp(grid)),
    ]
    repeats = reader.repeats if labels else np.repeat(reader.repeats, len(series))
    per_series = np.tile(repeats, len(series) // len(repeats))
    return Reading(
        panel=panel,
        notes=tuple(said),
        gaps=gaps,
        repeats={one.id: int(n) for one, n in zip(series, per_series, strict=True) if n},
    )


def _series_note(panel: Panel, id_names: Sequence[str], labels: Sequence[str], values: Values) -> list[Note]:
    """How many series there are and what names them."""
    lengths = [len(series) for series in panel.series]
    steps = (
        f"{min(lengths):,} steps"
        if min(lengths) == max(lengths)
        else f"{min(lengths):,} to {max(lengths):,} steps"
    )
    if not labels:
        how = "the column named" if values.named else "one per numeric column"
        kind = f"{len(lengths):,} series, {how}" if len(lengths) > 1 or values.named else "one series"
        return [Note("target", f"{kind}: {named(panel.ids)}, {steps} (--target)")]
    what = " + ".join(f"'{shown(name)}'" for name in id_names) if id_names else "the file"
    return [
        Note("id", f"{len(lengths):,} series, told apart by {what}: {named(panel.ids, 3)}, {steps} (--id)")
    ]


class _Reader:
    """The way from settled columns to a panel; each step adds its notes."""

    def __init__(
        self,
        table: Table,
        options: ReadOptions,
        stamps: Stamps | None,
        values: Values,
        codes: np.ndarray,
        labels: Sequence[str],
    ) -> None:
        self.table, self.options, self.stamps, self.values = table, options, stamps, values
        self.codes, self.labels = codes, labels
        self.how = options.aggregate or "mean"
        self.notes: list[Note] = []
        self.repeats = np.zeros(max(1, len(labels)), dtype=np.int64)

    def read(self) -> tuple[list[Series], list[int], Grid, Fit]:
        """The series, the absent steps of each, their grid and how the stamps lie on it."""
        rows = self._sorted()
        saving = daylight_saving(rows.times, rows.starts)
        rows = self._without_repeats(rows)
        fit, rows = self._fitted(rows)
        wide = not self.labels
        ahead = settle_ahead(self.values, rows, self.table, wide=wide)
        before = rows.lengths
        grid = lay_out(rows, fit, self.how)
        self.repeats += before - np.add.reduceat(grid.present.astype(np.int64), grid.starts)
        columns, filled = fill_covariates(grid, ahead.covariates)
        grid = replace(grid, columns=columns)
        series, absent = make_series(grid, self.labels or [""], ahead.targets, ahead.covariates, wide=wide)
        self.notes += [*ahead.notes, *filled, *gap_notes(grid, self.labels)]
        self.notes += [Note("daylight-saving", saving)] if saving else []
        self.covariates = ahead.covariates
        return series, absent, grid, fit

    def _sorted(self) -> Rows:
        """The rows by series and time."""
        n = len(self.table)
        order = np.arange(n) if (np.diff(self.codes) >= 0).all() else np.argsort(self.codes, kind="stable")
        codes = self.codes[order]
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        if self.stamps is None:
            times = np.arange(n) - np.repeat(starts, np.diff(np.append(starts, n)))
        else:
            times = self.stamps.values[order]
            falls = np.diff(times) < np.zeros(1, dtype=np.diff(times[:1]).dtype)
            falls[starts[1:] - 1] = False
            if falls.any():
                again = np.lexsort((times, codes))
                order, times = order[again], times[again]
                self.notes.append(
                    Note("order", f"{int(falls.sum()):,} rows were not in order of time: sorted")
                )
        columns = {name: values[order] for name, values in self.values.columns.items()}
        return Rows(starts=starts, times=times, columns=columns, origin=order)

    def _without_repeats(self, rows: Rows) -> Rows:
        """Rows with the stamp of the row before are dropped if they say the same, else merged."""
        if self.stamps is None:
            return rows
        same = np.zeros(len(rows.times), dtype=bool)
        same[1:] = rows.times[1:] == rows.times[:-1]
        same[rows.starts] = False
        if not same.any():
            return rows
        before = rows.lengths
        if self.options.aggregate is None:
            equal = same.copy()
            for values in rows.columns.values():
                equal[1:] &= (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
            if equal.any():
                line = int(self.table.lines[rows.origin[equal][0]])
                text = (
                    f"{int(equal.sum()):,} rows repeat another one, first row {line}: dropped (--aggregate)"
                )
                self.notes.append(Note("duplicates", text))
            rows, same = rows.take(~equal), same[~equal]
        if same.any():
            at = int(same.argmax())
            lines = " and ".join(str(int(self.table.lines[row])) for row in rows.origin[at - 1 : at + 1])
            when = stamp(rows.times[at]) if rows.times.dtype.kind == "M" else f"{rows.times[at]:g}"
            text = (
                f"{int(same.sum()):,} rows share their time stamp with another, first rows {lines} ({when})"
            )
            self.notes.append(Note("duplicates", f"{text}: their {self.how} is taken (--aggregate, --id)"))
            rows = merged(rows, ~same, self.how)
        self.repeats += before - rows.lengths
        return rows

    def _fitted(self, rows: Rows) -> tuple[Fit, Rows]:
        """The frequency; columns of steps become whole numbers."""
        if self.stamps is None:
            return Fit(frequency=Frequency("step"), way="exact"), rows
        wanted = Frequency.parse(self.options.frequency) if self.options.frequency else None
        if self.stamps.unit == "step":
            if wanted is not None and wanted.unit != "step":
                raise ConfigError(
                    f"the time column counts steps, it has no dates for a frequency of {wanted.code}",
                    where="--frequency",
                    fix="leave --frequency out, or name a column of dates with --time",
                )
            fit, counts = fit_steps(rows.times, rows.starts)
            return fit, replace(rows, times=counts)
        if wanted is not None:
            return use_frequency(wanted, rows.times, rows.starts), rows
        return fit_frequency(rows.times, rows.starts, self.stamps.unit), rows


def _placed(error: DataError, table: Table) -> DataError:
    """An error about the rows as a whole, with the file that they are from."""
    where = error.where or table.name
    return DataError(error.what, where=where, seen=error.seen, expected=error.expected, fix=error.fix)


def _load(source: Any, options: ReadOptions) -> Table:
    """One source as a table."""
    if hasattr(source, "__arrow_c_stream__"):
        return _typed(pl.DataFrame(source), "data frame")
    content = open_source(source)
    if not content.parquet:
        return parse_text(content, options)
    try:
        frame = pl.read_parquet(io.BytesIO(content.data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"is a damaged parquet file ({shown(error)})", where=content.name, fix="write or copy it again"
        ) from None
    return _typed(frame, content.name)


def _typed(frame: pl.DataFrame, name: str) -> Table:
    """A table with columns of types; those that hold lists or records are left out."""
    odd = [
        column
        for column, dtype in frame.schema.items()
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object)
    ]
    notes = (Note("ignored", f"{named(odd)} hold lists, records or bytes and are not used"),) if odd else ()
    words = [column for column, dtype in frame.schema.items() if dtype in (pl.Categorical, pl.Enum)]
    frame = frame.drop(odd).with_columns(pl.col(words).cast(pl.String))
    n = len(frame)
    return Table(
        frame=frame,
        lines=np.arange(1, n + 1),
        files=np.zeros(n, dtype=np.int64),
        sources=(name,),
        notes=notes,
    )


def _find_series(
    table: Table, options: ReadOptions, stamps: Stamps | None, used: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """The id columns, the series of each row (n,), and the names of the series; none if wide."""
    if options.id is None and _files_overlap(table, stamps):
        return (), table.files, _stems(table.sources)
    names = find_ids(table, options, stamps, used)
    if not names:
        return (), np.zeros(len(table), dtype=np.int64), []
    for name in names:
        if table.frame[name].null_count():
            row = int(table.frame[name].is_null().arg_max() or 0)
            raise DataError(
                "has no id", where=table.place(row, name), fix="fill the cell, or name another --id"
            )
    text = table.frame.select(pl.concat_str([pl.col(name).cast(pl.String) for name in names], separator="/"))
    codes, distinct = coded(text.to_series())
    return names, codes, [str(label) for label in distinct]


def _files_overlap(table: Table, stamps: Stamps | None) -> bool:
    """Whether several files, each without repeated stamps, cover the same time: then each is a series."""
    if len(table.sources) == 1:
        return False
    if stamps is None:
        return True
    times = pl.DataFrame({"file": table.files, "time": stamps.values})
    return times.n_unique() == len(times) and times["time"].n_unique() < len(times)


def _stems(sources: Sequence[str]) -> list[str]:
    """Names of files without folder and ending, or the whole paths where those are not unique."""
    stems = [Path(source).name.split(".")[0] for source in sources]
    return stems if len(set(stems)) == len(stems) else list(sources)


def _fingerprint(series: Sequence[Series]) -> str:
    """First 16 hex digits of the sha256 of ids, times and values, whatever their order."""
    digest = hashlib.sha256()
    for one in sorted(series, key=lambda one: one.id):
        digest.update(one.id.encode())
        digest.update(np.ascontiguousarray(one.times).view(np.int64).tobytes())
        digest.update(np.where(np.isnan(one.values), np.nan, one.values + 0.0).tobytes())
    return digest.hexdigest()[:16]
