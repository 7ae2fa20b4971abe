"""The reader: files as they come, to regular series with one frequency, and notes on all that was assumed.

Columns are found (`columns`, `values`), rows sorted (`rows`), stamps laid on a grid (`grid`, `assemble`):
rows of one step become one, absent steps become NaN. Whatever is decided without the user is a note that
names the flag to decide otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, DataError
from statewise.core.tables.load import load
from statewise.core.tables.table import Note, Table, coded, combine
from statewise.core.tables.words import named, shown
from statewise.timeseries.assemble import Grid, lay_out, make_series
from statewise.timeseries.columns import find_times, unpivot
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.future import fill_covariates, settle_ahead
from statewise.timeseries.grid import Fit, fit_frequency, fit_steps, use_frequency, within_steps
from statewise.timeseries.holiday import holiday_note, with_holidays
from statewise.timeseries.identity import find_ids
from statewise.timeseries.notes import daylight_saving, gap_notes, last_stamp, series_notes, time_note
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.rows import Rows, merge_repeats, sort_rows
from statewise.timeseries.static import require_static, with_categories
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
    """Rows that were merged with another row of their step, by series; in a wide file the same for all."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Which columns are what."""

    table: Table
    times: tuple[str, ...]
    stamps: Stamps | None
    ids: tuple[str, ...]
    codes: np.ndarray
    """Which series each row belongs to, (n,)."""
    labels: list[str]
    """Names of the series; none for a wide file, whose columns name them."""
    values: Values


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
    table, notes = unpivot(combine([_loaded(source, options) for source in sources]))
    if len(table) < 2:
        raise DataError(
            "holds a single row of data" if len(table) else "holds no rows of data",
            where=table.place(0) if len(table) else table.name,
            expected="at least two rows, better hundreds",
            fix="give a file with a longer history",
        )
    table, options = with_categories(table, options)
    found = _find(table, options)
    try:
        return _assembled(found, options, [*table.notes, *notes])
    except DataError as error:
        where = error.where or table.name
        raise DataError(
            error.what, where=where, seen=error.seen, expected=error.expected, fix=error.fix
        ) from None


def _loaded(source: Any, options: ReadOptions) -> Table:
    return load(
        source,
        encoding=options.encoding,
        delimiter=options.delimiter,
        header=options.header,
        absent="check the path, or run `forecast data` for the named public sets",
    )


def _find(table: Table, options: ReadOptions) -> _Found:
    """Settle the columns of time, id and values."""
    times, stamps = find_times(table, options)
    ids, codes, labels = _find_series(table, options, stamps, times)
    values = find_values(table, options, stamps, (*times, *ids), long=len(labels) > 0)
    return _Found(table=table, times=times, stamps=stamps, ids=ids, codes=codes, labels=labels, values=values)


def _assembled(found: _Found, options: ReadOptions, notes: list[Note]) -> Reading:
    """The panel of settled columns."""
    wide, how = not found.labels, options.aggregate or "mean"
    require_static(found.table, found.codes, found.labels, options.static)
    rows, order = sort_rows(found.table, found.codes, found.stamps, found.values.columns)
    saving, given = daylight_saving(rows.times, rows.starts), rows.lengths
    rows, repeated = merge_repeats(rows, found.table, options.aggregate) if found.stamps else (rows, [])
    fit, stamped = _fitted(rows, found.stamps, options)
    within = None if options.resample or how == "sum" else within_steps(fit, rows.times, rows.starts)
    rows = stamped
    ahead = settle_ahead(found.values, rows, found.table, wide=wide)
    grid = lay_out(rows, fit, how, within)
    columns, filled = fill_covariates(grid, ahead.covariates)
    grid = replace(grid, columns=columns)
    series, absent = make_series(grid, found.labels or [""], ahead.targets, ahead.covariates, wide=wide)
    _require_values(series, found.table)
    gaps = {one.id: n for one, n in zip(series, absent, strict=True) if n}
    notes = [
        *notes,
        *time_note(found.times, found.stamps, fit, grid),
        _series_note(series, found),
        *found.values.notes,
        *order,
        *repeated,
        *ahead.notes,
        *filled,
        *gap_notes(grid, found.labels),
        *([Note("daylight-saving", saving)] if saving else []),
        *series_notes(series, gaps, None if ahead.covariates else last_stamp(grid)),
    ]
    panel = _panel(series, grid, found, ahead.covariates)
    if options.holidays is not None:
        panel = with_holidays(panel, options.holidays)
        notes.append(holiday_note(panel, options.holidays))
    return Reading(panel=panel, notes=tuple(notes), gaps=gaps, repeats=_repeats(given, grid, series))


def _panel(series: list[Series], grid: Grid, found: _Found, covariates: tuple[str, ...]) -> Panel:
    return Panel(
        series=tuple(series),
        frequency=grid.frequency,
        zone=found.stamps.zone if found.stamps else None,
        covariate_names=covariates,
        unknown_ahead=tuple(name for name in covariates if name in found.values.unknown_ahead),
        id_name="+".join(found.ids) or "unique_id",
        time_name="+".join(found.times) or "ds",
        fingerprint=_fingerprint(series),
        sources=found.table.sources,
    )


def _fitted(rows: Rows, stamps: Stamps | None, options: ReadOptions) -> tuple[Fit, Rows]:
    """The frequency; columns of steps become whole numbers."""
    if stamps is None:
        return Fit(frequency=Frequency("step"), way="exact"), rows
    wanted = Frequency.parse(options.frequency) if options.frequency else None
    if stamps.unit == "step":
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
    return fit_frequency(rows.times, rows.starts, stamps.unit), rows


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


def _require_values(series: Sequence[Series], table: Table) -> None:
    if all(np.isnan(one.values).all() for one in series):
        raise DataError(
            "no column has a value",
            where=f"{table.name}, column '{shown(series[0].id)}'",
            seen=f"{len(table):,} rows, all blank",
            fix="check the export, or name another column with --target",
        )


def _series_note(series: Sequence[Series], found: _Found) -> Note:
    """How many series there are and what names them."""
    ids, lengths = [one.id for one in series], [len(one) for one in series]
    steps = f"{min(lengths):,}" if min(lengths) == max(lengths) else f"{min(lengths):,} to {max(lengths):,}"
    if found.labels:
        what = " + ".join(f"'{shown(name)}'" for name in found.ids) or "the file"
        return Note("id", f"{len(ids):,} series, told apart by {what}: {named(ids, 3)}, {steps} steps (--id)")
    if found.values.named:
        kind = f"{len(ids):,} series, as named"
    else:
        kind = f"{len(ids):,} series, one per numeric column" if len(ids) > 1 else "one series"
    return Note("target", f"{kind}: {named(ids)}, {steps} steps (--target)")


def _repeats(given: np.ndarray, grid: Grid, series: Sequence[Series]) -> dict[str, int]:
    """Rows that went into another one of their step, by series.

    Args:
        given: rows of each group of rows in the file, (S,).
        grid: what became of them.
        series: S of them for each target, or one per column of a wide file.
    """
    merged = given - np.add.reduceat(grid.present.astype(np.int64), grid.starts)
    return {one.id: int(n) for one, n in zip(series, np.resize(merged, len(series)), strict=True) if n}


def _fingerprint(series: Sequence[Series]) -> str:
    """First 16 hex digits of the sha256 of ids, times and values, whatever their order."""
    digest = hashlib.sha256()
    for one in sorted(series, key=lambda one: one.id):
        digest.update(one.id.encode())
        digest.update(np.ascontiguousarray(one.times).view(np.int64).tobytes())
        digest.update(np.where(np.isnan(one.values), np.nan, one.values + 0.0).tobytes())
        if one.readings is not None:
            digest.update(one.readings.times.tobytes() + one.readings.values.tobytes())
    return digest.hexdigest()[:16]
