"""A column of time stamps, however they are written, as datetime64[us] on a wall clock.

What can be read in two ways is asked about, never guessed: day and month are told apart by a number above 12,
or by `--date-format`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, DataError, UserError
from statewise.core.tables.table import Table, coded
from statewise.core.tables.words import shown
from statewise.timeseries.dateforms import (
    DIGITS,
    EPOCHS,
    FORMS,
    Composed,
    Form,
    best_form,
    compose,
    digit_form,
    fits,
)
from statewise.timeseries.numerals import stripped
from statewise.timeseries.vocabulary import says_excel

__all__ = ["Stamps", "clock_of", "parse_stamps"]

_MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_ORDERS = {"dmy": ("b", "a"), "mdy": ("a", "b")}
_DAY, _EXCEL_EPOCH = 86_400_000_000, np.datetime64("1899-12-30", "us")
_FIX = "correct the cell, or say how dates are written with --date-format: dmy, mdy, ymd or like %d.%m.%Y"


@dataclass(frozen=True, kw_only=True)
class Stamps:
    """The time stamps of the rows."""

    values: np.ndarray
    """(n,) datetime64[us] wall clock of `zone`; float64 where the column counts steps or elapsed time."""
    zone: str | None = None
    """Name of the zone, such as `UTC` or `+02:00`; None when none is written."""
    words: str = "steps"
    """How they are written."""
    unit: str = "step"
    """The finest unit written: year, quarter, month, week, day, time or step."""
    remark: str = ""
    """What was done about differing offsets."""


def parse_stamps(table: Table, name: str, date_format: str | None = None) -> Stamps:
    """Read the column `name` of a table as time stamps.

    Raises:
        DataError: naming row and cell, on a blank or unreadable stamp, a date that the calendar lacks, two
        ways of
            writing in one column, stamps with and without a zone.
        ConfigError: when day and month cannot be told apart, or `date_format` is no pattern.
    """
    column = table.frame[name]
    reader = _StampReader(table, name, column)
    if column.dtype in (pl.Date, pl.Datetime):
        return reader.typed()
    texts = stripped(column) if column.dtype == pl.String else column
    if texts.null_count():
        row = int(texts.is_null().arg_max() or 0)
        raise DataError(
            "has no time stamp",
            where=table.place(row, name),
            fix="fill the cell, or remove the row (a row of totals, perhaps)",
        )
    reader.use(texts)
    return reader.read(date_format.strip() if date_format else None)


def clock_of(column: pl.Series) -> np.ndarray | None:
    """A column of times of day (`13:45`, `1:45 PM`, hours 0 .. 24) in microseconds, (n,) int64; else None."""
    text = stripped(column.cast(pl.String))
    parts = text.str.extract_groups(
        r"^(?P<H>\d{1,2})(?:[:.](?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)?"
        r" ?(?P<p>[AaPp])?\.?(?:[Mm]\.?)?$"
    ).struct.unnest()
    if parts["H"].null_count():
        return None
    dates = parts.with_columns(y=pl.lit("1970"))
    composed = compose(dates)
    return composed.values.astype(np.int64) if composed.valid.all() else None


class _StampReader:
    """One column on its way to stamps: works on its distinct cells, and remembers their rows for messages."""

    def __init__(self, table: Table, name: str, column: pl.Series) -> None:
        self.table, self.name, self.column = table, name, column
        self.texts, self.rows = column, np.arange(len(column))

    def use(self, texts: pl.Series) -> None:
        """Reduce the cells to the distinct ones; `rows` maps each row of the table to its cell."""
        self.rows, self.texts = coded(texts)

    def typed(self) -> Stamps:
        """A column of dates or instants of a typed file."""
        if self.column.null_count():
            row = int(self.column.is_null().arg_max() or 0)
            raise DataError("has no time stamp", where=self.table.place(row, self.name), fix="fill the cell")
        zone = getattr(self.column.dtype, "time_zone", None)
        wall = _wall_clock(self.column)
        if zone in (None, "UTC") or _whole_days(wall):
            return Stamps(values=wall, zone=zone, words="time stamps", unit=_unit_of(wall))
        return Stamps(
            values=_wall_clock(self.column.dt.convert_time_zone("UTC")),
            zone="UTC",
            words="time stamps",
            unit="time",
            remark=f"the clock of {zone} jumps twice a year: read as UTC",
        )

    def read(self, date_format: str | None) -> Stamps:
        """The stamps, by the given format or by the one that fits most cells."""
        lowered = (date_format or "").lower()
        digits = self.texts.cast(pl.Float64, strict=False)
        if date_format and "%" in date_format:
            return self._by_pattern(date_format)
        if lowered == "excel" or (not date_format and says_excel(self.name) and not digits.null_count()):
            return self._spread(_EXCEL_EPOCH + self._counted(digits, _DAY), "Excel day numbers", "day")
        if lowered in EPOCHS:
            return self._by_epoch(digits, lowered)
        if lowered and lowered not in (*_ORDERS, "ymd", "iso"):
            return self._by_pattern(_pattern_of(date_format or ""))
        if digits.null_count() > 0.1 * len(digits):
            return self._by_form(best_form(self.texts.head(2_000))[0], lowered)
        return self._by_digits(digits)

    def _by_digits(self, digits: pl.Series) -> Stamps:
        numbers = digits.fill_null(float("nan")).to_numpy()
        form = digit_form(numbers)
        if form in EPOCHS:
            return self._by_epoch(digits, str(form))
        if form is not None:
            whole = digits.cast(pl.Int64, strict=False).cast(pl.String)
            return self._composed(whole, DIGITS[form], "")
        usable = np.abs(numbers) < 2**53
        if not usable.all():
            raise self._unreadable(int((~usable).argmax()), None)
        return Stamps(values=numbers[self.rows])

    def _by_epoch(self, digits: pl.Series, form: str) -> Stamps:
        units = {
            "epoch": "seconds",
            "epoch-ms": "milliseconds",
            "epoch-us": "microseconds",
            "epoch-ns": "nanoseconds",
        }
        micros = self._counted(digits, EPOCHS[form][2])
        return replace(
            self._spread(np.datetime64(0, "us") + micros, f"{units[form]} since 1970", "time"), zone="UTC"
        )

    def _counted(self, digits: pl.Series, scale: float) -> np.ndarray:
        """Numbers of a unit of `scale` microseconds as timedelta64[us]."""
        if digits.null_count():
            raise self._unreadable(int(digits.is_null().arg_max() or 0), None)
        # whole numbers of seconds are exact in float64, fractions of them to about a microsecond
        counts = np.round(digits.to_numpy() * scale)
        usable = np.abs(counts) < 2**62
        if not usable.all():
            raise self._unreadable(int((~usable).argmax()), None)
        return counts.astype("timedelta64[us]")

    def _by_form(self, form: str, order: str) -> Stamps:
        if form != "ab-y" and order in _ORDERS:
            raise ConfigError(
                f"--date-format {order} does not fit",
                where=self._place(0),
                seen=shown(self.texts[0]),
                fix="leave --date-format out, or give a pattern such as %Y-%m-%d",
            )
        return self._composed(self.texts, FORMS[form], order)

    def _by_pattern(self, pattern: str) -> Stamps:
        """Stamps by a pattern of strptime; parts that it lacks are the first of their kind."""
        texts, full = self.texts.cast(pl.String), pattern
        if not re.search(r"%[dejFDxcsuaAwV]", pattern):
            texts, full = texts + " 01", pattern + " %d"
        if not re.search(r"%[mbBhjFDxcsV]", pattern):
            texts, full = texts + " 01", full + " %m"
        try:
            parsed = texts.str.to_datetime(full, strict=False, time_unit="us")
        except pl.exceptions.PolarsError:
            raise ConfigError(
                f"'{pattern}' is no pattern for dates",
                where="--date-format",
                expected="dmy, mdy, ymd, epoch, excel or a pattern such as %d.%m.%Y %H:%M",
                fix="see the list of letters in the documentation of strptime",
            ) from None
        if parsed.null_count():
            cell = int(parsed.is_null().arg_max() or 0)
            raise DataError(
                f"'{shown(self.texts[cell])}' does not fit --date-format {pattern}",
                where=self._place(cell),
                fix="correct the cell or the pattern",
            )
        zoned = getattr(parsed.dtype, "time_zone", None) is not None
        wall = (parsed.dt.replace_time_zone(None) if zoned else parsed).to_numpy()
        stamps = self._spread(wall, f"dates like {pattern}", _unit_of(wall))
        return replace(stamps, zone="UTC" if zoned else None)

    def _composed(self, texts: pl.Series, form: Form, order: str) -> Stamps:
        """Stamps by one of the known ways of writing."""
        parts = texts.str.extract_groups(form.pattern).struct.unnest()
        lost = parts["y"].is_null()
        if lost.any():
            raise self._unreadable(int(lost.arg_max() or 0), form)
        words = form.words
        if "a" in parts.columns:
            day, month = self._order(parts, order)
            parts = parts.rename({day: "d", month: "m"})
            words = "day/month/year" if day == "a" else "month/day/year"
        dates = compose(parts)
        if not dates.valid.all():
            raise self._nonexistent(int((~dates.valid).argmax()), parts)
        return self._zoned(dates, words, "time" if dates.timed else form.unit)

    def _order(self, parts: pl.DataFrame, order: str) -> tuple[str, str]:
        """Which of the two numbers is the day and which the month."""
        first, second = (parts[name].cast(pl.Int64).to_numpy() for name in "ab")
        if order in _ORDERS:
            month, day = _ORDERS[order]
            return day, month
        if (first > 12).any() and (second > 12).any():
            raise self._two_ways(int((first > 12).argmax()), int((second > 12).argmax()))
        if (first > 12).any() or (parts["s"] == ".").any() or (first == second).all():
            return "a", "b"
        if (second > 12).any():
            return "b", "a"
        cell = int((first != second).argmax())
        a, b = int(first[cell]), int(second[cell])
        raise ConfigError(
            "day and month cannot be told apart: no number in the column is above 12",
            where=self._place(cell),
            seen=f"{shown(self.texts[cell])}: {_named(a, b)} with dmy, {_named(b, a)} with mdy",
            expected="the order of day and month",
            fix="give --date-format dmy or --date-format mdy",
        )

    def _zoned(self, dates: Composed, words: str, unit: str) -> Stamps:
        """Settle zones: one offset is kept, differing ones become UTC, or plain local days."""
        values, zoned = dates.values, dates.zoned
        if not zoned.any():
            return replace(self._spread(values, words, unit), zone=dates.zone)
        if not zoned.all():
            first, other = int(zoned.argmax()), int((~zoned).argmax())
            raise DataError(
                "some time stamps have a zone and some have none",
                where=self._place(max(first, other)),
                seen=f"{self._quoted(first)} and {self._quoted(other)}",
                expected="an offset such as +01:00 on all of them, or on none",
                fix="add the missing offsets, or remove all",
            )
        offsets = np.unique(dates.offset)
        if len(offsets) == 1:
            return replace(
                self._spread(values, words, unit), zone=dates.zone or _offset_name(int(offsets[0]))
            )
        names = ", ".join(_offset_name(int(offset)) for offset in offsets[:4])
        if _whole_days(values):
            remark = f"the offsets differ ({names}) but the time of day does not: read as local days"
            return replace(self._spread(values, words, unit), zone=dates.zone, remark=remark)
        utc = values - dates.offset.astype("timedelta64[us]")
        return replace(
            self._spread(utc, words, unit), zone="UTC", remark=f"the offsets differ ({names}): read as UTC"
        )

    def _spread(self, values: np.ndarray, words: str, unit: str) -> Stamps:
        """The values of the distinct cells, given to the rows."""
        return Stamps(values=values.astype("datetime64[us]")[self.rows], words=words, unit=unit)

    def _row(self, cell: int) -> int:
        return int((self.rows == cell).argmax())

    def _quoted(self, cell: int) -> str:
        return f"'{shown(self.texts[cell])}' in row {int(self.table.lines[self._row(cell)])}"

    def _place(self, cell: int) -> str:
        return self.table.place(self._row(cell), self.name)

    def _unreadable(self, cell: int, form: Form | None) -> UserError:
        """The error for a cell that does not fit the others, or is a date written in another way."""
        fitting = (c for c in range(len(self.texts)) if c != cell)
        example = next((c for c in fitting if form is None or fits(self.texts[c], form)), None)
        if example is not None and best_form(pl.Series([str(self.texts[cell])]))[1] == 1:
            return self._two_ways(example, cell)
        like = f", such as {self._quoted(example)}" if example is not None else ""
        return DataError(
            f"'{shown(self.texts[cell])}' is no date",
            where=self._place(cell),
            expected=f"{form.words if form else 'a date'}{like}",
            fix=_FIX,
        )

    def _two_ways(self, first: int, second: int) -> DataError:
        return DataError(
            "dates are written in two ways",
            where=self._place(max(first, second, key=self._row)),
            seen=f"{self._quoted(first)} and {self._quoted(second)}",
            expected="one way of writing dates in a column",
            fix="write them all as year-month-day, such as 2020-01-31",
        )

    def _nonexistent(self, cell: int, parts: pl.DataFrame) -> DataError:
        day, month, year = (
            int(parts[name][cell] or 0) if name in parts.columns else 0 for name in ("d", "m", "y")
        )
        why = "the calendar has no such date or the clock no such time"
        if 1 <= month <= 12 and day > 28 and year:
            first = np.datetime64(f"{year:04d}-{month:02d}", "M")
            length = int(((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(int))
            if day > length:
                why = f"{_MONTH_NAMES[month - 1]} {year} has {length} days"
        elif month > 12:
            why = f"there is no month {month}"
        return DataError(f"'{shown(self.texts[cell])}' is no date: {why}", where=self._place(cell), fix=_FIX)


def _whole_days(values: np.ndarray) -> bool:
    """Whether all stamps show the same time of day."""
    clock = values.astype("datetime64[us]").astype(np.int64) % _DAY
    return bool((clock == clock[0]).all())


def _wall_clock(column: pl.Series) -> np.ndarray:
    """Dates or instants as they read on the clock of their zone, (n,) datetime64[us]."""
    if getattr(column.dtype, "time_zone", None) is not None:
        column = column.dt.replace_time_zone(None)
    return column.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")


def _unit_of(values: np.ndarray) -> str:
    return "day" if _whole_days(values) else "time"


def _named(day: int, month: int) -> str:
    return f"{day} {_MONTH_NAMES[month - 1]}"


def _offset_name(offset: int) -> str:
    minutes = abs(offset) // 60_000_000
    return "UTC" if offset == 0 else f"{'-' if offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def _pattern_of(letters: str) -> str:
    """A strptime pattern from the letters that people write: `dd/mm/yyyy hh:mm`."""
    pattern = re.sub("mmm+", "%b", letters, flags=re.IGNORECASE)
    pattern = re.sub("(?<!%)mm?", "%m", pattern, count=1, flags=re.IGNORECASE)
    codes = {
        "(?<!%)mm?": "%M",
        "yyyy": "%Y",
        "(?<!%)yy": "%y",
        "(?<!%)dd?": "%d",
        "(?<!%)hh?": "%H",
        "ss?": "%S",
    }
    for letter, code in codes.items():
        pattern = re.sub(letter, code, pattern, flags=re.IGNORECASE)
    return pattern
