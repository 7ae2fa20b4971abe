"""Times as they come (seconds, milliseconds, dates, date-times) to int64.

Whole numbers that can be seconds, milli-, micro- or nanoseconds since 1970 become microseconds; smaller ones
(1, 2, 3, ...) only order the events. Without a time zone a time counts as UTC.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.table import Table
from statewise.core.tables.words import shown

__all__ = ["read_times"]

_UNITS = ((10**8, 10**11, 10**6, "seconds"), (10**11, 10**14, 10**3, "milliseconds"))
_FINE = ((10**14, 10**17, 1, "microseconds"), (10**17, 10**19, 1000, "nanoseconds"))
_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d",
    "%Y%m%d",
    "%d.%m.%Y %H:%M:%S%.f",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
)
_ZONE = r"\s?(Z|UTC|[+-]\d{2}:?\d{2})$"


def read_times(table: Table, name: str) -> tuple[np.ndarray, np.ndarray, str, str]:
    """The times of a column.

    Returns:
        int64 of each row (0 where absent), whether it is absent, the clock (`epoch` or `order`), and how it
        was read, in words.

    Raises:
        DataError: a cell is no time.
    """
    column = table.frame[name]
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        column = column.set(column.is_in(["", "NA", "NaN", "null", "None", "\\N"]), None)
        numbers = column.cast(pl.Float64, strict=False)
        odd = numbers.is_null() & column.is_not_null()
        if odd.any():
            if 2 * odd.sum() > len(column) - column.null_count():
                return _written(table, name, column)
            raise _no_time(table, name, odd)  # a column of numbers with a word in it
        column = column.cast(pl.Int64, strict=False) if _whole(column) else numbers
    if column.dtype in (pl.Datetime, pl.Date):
        if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        times = column.cast(pl.Datetime("us")).to_physical()
        return times.fill_null(0).to_numpy(), column.is_null().to_numpy(), "epoch", "date-times"
    if not column.dtype.is_numeric():
        raise DataError(
            f"holds {column.dtype}, which is no time",
            where=f"{table.name}, column '{shown(name)}'",
            expected="numbers, dates or date-times",
            fix="name another column with --time, or --time none",
        )
    return _numbers(table, name, column)


def _whole(column: pl.Series) -> bool:
    return bool(column.drop_nulls().str.contains(r"^[+-]?\d+$").all())


def _numbers(table: Table, name: str, column: pl.Series) -> tuple[np.ndarray, np.ndarray, str, str]:
    absent = column.is_null().to_numpy()
    if column.dtype.is_float():
        values = column.fill_null(0.0).to_numpy()
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                "is no finite number", where=table.place(row, name), seen=str(values[row]), fix="correct it"
            )
        size = float(np.median(np.abs(values[~absent]))) if (~absent).any() else 0.0
        unit = next((u for u in (*_UNITS, *_FINE) if u[0] <= size < u[1]), None)
        scale = unit[2] if unit and unit[3] != "nanoseconds" else 1
        if unit is None:
            whole = (values == np.round(values)).all()
            # ranks keep the order of fractions that int64 would merge
            times = values.astype(np.int64) if whole else np.unique(values, return_inverse=True)[1]
            return times, absent, "order", "plain numbers: only their order counts"
        return (
            np.round(values * scale).astype(np.int64),
            absent,
            "epoch",
            f"{unit[3]} since 1970",
        )
    values = column.cast(pl.Int64).fill_null(0).to_numpy()
    size = float(np.median(np.abs(values[~absent]))) if (~absent).any() else 0.0
    unit = next((u for u in (*_UNITS, *_FINE) if u[0] <= size < u[1]), None)
    if unit is None:
        return values, absent, "order", "plain numbers: only their order counts"
    times = values // 1000 if unit[3] == "nanoseconds" else values * unit[2]
    return times, absent, "epoch", f"{unit[3]} since 1970"


def _written(table: Table, name: str, column: pl.Series) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Dates and date-times; a zone at the end is taken into account."""
    plain = column.str.replace("T", " ", literal=True)
    zone = plain.str.extract(_ZONE, 1)
    plain = plain.str.replace(_ZONE, "")
    found = pl.Series(name, [None] * len(column), dtype=pl.Datetime("us"))
    for form in _FORMATS:
        left = found.is_null() & plain.is_not_null()
        if not left.any():
            break
        found = found.zip_with(found.is_not_null(), plain.str.to_datetime(form, strict=False, time_unit="us"))
    wrong = found.is_null() & column.is_not_null()
    if wrong.any():
        raise _no_time(table, name, wrong)
    times = found.to_physical().fill_null(0).to_numpy() - _offset(zone)
    return times, column.is_null().to_numpy(), "epoch", "date-times"


def _no_time(table: Table, name: str, wrong: pl.Series) -> DataError:
    """The error for the first of some cells."""
    rows = np.flatnonzero(wrong.to_numpy())
    return DataError(
        "is no time",
        where=table.place(int(rows[0]), name),
        seen=f"'{shown(table.frame[name][int(rows[0])])}'; {len(rows):,} such cells",
        expected="2024-01-31 13:00:00, 2024-01-31T13:00:00Z, 31.01.2024, or numbers since 1970",
        fix="correct it, name another column with --time, or --time none for the order of the rows",
    )


def _offset(zone: pl.Series) -> np.ndarray:
    """Microseconds that each zone is ahead of UTC, (n,)."""
    digits = zone.str.replace_all(r"[^0-9]", "")
    hours = digits.str.slice(0, 2).cast(pl.Int64, strict=False).fill_null(0).to_numpy()
    minutes = digits.str.slice(2, 2).cast(pl.Int64, strict=False).fill_null(0).to_numpy()
    sign = np.where(zone.str.starts_with("-").fill_null(False).to_numpy(), -1, 1)
    return sign * (hours * 60 + minutes) * 60_000_000
