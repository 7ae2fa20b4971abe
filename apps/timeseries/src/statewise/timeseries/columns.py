"""Which columns tell the time and which tell series apart.

A name is a hint, the content decides: a column is the time if it reads as dates, and an id if with it every
time stamp occurs once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, DataError
from statewise.timeseries.dateforms import DIGITS, FORMS, compose, recognise
from statewise.timeseries.numerals import numbers
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.table import Note, Table, shown
from statewise.timeseries.timestamps import Stamps, clock_of, parse_stamps
from statewise.timeseries.vocabulary import (
    CLOCK_NAMES,
    ID_NAMES,
    ID_WORDS,
    PARTS,
    STEP_NAMES,
    TARGET_NAMES,
    TIME_NAMES,
    TIME_WORDS,
    YEAR_WORDS,
    says_excel,
    words_of,
)

__all__ = ["find_ids", "find_times", "unpivot"]


def unpivot(table: Table) -> tuple[Table, tuple[Note, ...]]:
    """A table with a column per date turned into one with a row per date; any other is returned as it is."""
    names = table.frame.columns
    written = pl.Series(names).str.strip_chars()
    patterns = [*FORMS.values(), *(DIGITS[name] for name in ("year", "yyyymm", "yyyymmdd"))]
    hits = np.any([written.str.contains(form.pattern).to_numpy() for form in patterns], axis=0)
    dated = [name for name, hit in zip(names, hits, strict=True) if hit]
    rest = [name for name in names if name not in dated]
    if len(dated) < 3 or len(rest) > 5 or any(table.frame[name].dtype.is_numeric() for name in rest):
        return table, ()
    if any(words_of(name) and words_of(name)[-1] in TIME_NAMES for name in rest):
        return table, ()
    frame = table.frame.unpivot(on=dated, index=rest, variable_name="date", value_name="value")
    text = (
        f"columns '{dated[0]}' .. '{dated[-1]}' are taken as {len(dated)} steps of time, each row as a series"
    )
    tall = Table(
        frame=frame,
        lines=np.tile(table.lines, len(dated)),
        files=np.tile(table.files, len(dated)),
        sources=table.sources,
        delimiter=table.delimiter,
        notes=table.notes,
    )
    return tall, (Note("time", text),)


def find_times(table: Table, options: ReadOptions) -> tuple[tuple[str, ...], Stamps | None]:
    """The columns that tell the time, and the stamps in them; nothing when the rows are plain steps.

    Raises:
        DataError: when stamps are unreadable, or `--time` names no column.
        ConfigError: when day and month cannot be told apart.
    """
    if options.time is not None:
        return _named_times(table, options.time, options.date_format)
    names = table.frame.columns
    found = [(name, form, _rank(table, name, form, i)) for i, (name, form) in enumerate(_recognised(table))]
    best = max(found, key=lambda entry: entry[2], default=None)
    if best is None or best[1] == "year":
        parts = _calendar_parts(table)
        if len(parts) > 1:
            return parts, _joined(table, parts, options.date_format)
    if best is None:
        return _steps_or_nothing(table, options)
    stamps = parse_stamps(table, best[0], options.date_format)
    clock = next((name for name in names if name.lower() in CLOCK_NAMES and name != best[0]), None)
    if clock is not None and stamps.unit == "day" and clock_of(table.frame[clock]) is not None:
        both = (best[0], clock)
        joined = _joined(table, both, options.date_format)
        if len(np.unique(joined.values)) > len(np.unique(stamps.values)):
            return both, joined
    return (best[0],), stamps


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
        return _named(table, options.id, "--id")
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
        self.sizes = {name: table.frame[name].n_unique() for name in table.frame.columns if name not in used}
        self.ranks = {name: rank for name in self.sizes if (rank := self._rank(name)) is not None}

    def find(self) -> tuple[str, ...]:
        """The columns, or none when each row is a step of its own."""
        strong = next((name for name in self.ranks if name.lower() in ID_NAMES), None)
        if self.times is None:
            return (strong,) if strong and self.sizes[strong] < self.n else ()
        if self.distinct == self.n:
            # series that follow each other in time
            return (strong,) if strong and 1 < self.sizes[strong] <= self.n // 3 else ()
        if strong and self._resolves((strong,)):
            return (strong,)
        if self.distinct > 0.8 * self.n:
            return ()
        ordered = sorted(self.ranks, key=lambda name: (self.ranks[name], self.sizes[name]))
        single = next((name for name in ordered if self._resolves((name,))), None)
        if single is not None:
            return (single,)
        few = [name for name in self.sizes if name in ordered[:6]]
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

    def _rank(self, name: str) -> int | None:
        """How much a column looks like an id (0 is most), or None when it does not."""
        column, size = self.table.frame[name], self.sizes[name]
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
            numbers(self.table.frame[other].head(200)).share > 0.5 for other in self.sizes if other != name
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
        return int((~same).sum()) == self.sizes[name] and bool(rising[same[1:]].all())


def _recognised(table: Table) -> list[tuple[str, str]]:
    """Columns that read as dates, and how."""
    found = []
    for i, name in enumerate(table.frame.columns):
        words = set(words_of(name))
        form = recognise(table.frame[name], hinted=bool(words & TIME_WORDS), leading=i == 0)
        if form == "year" and i > 0 and not words & YEAR_WORDS:
            form = None
        if form is None and says_excel(name) and numbers(table.frame[name]).share > 0.5:
            form = "excel"
        if form is not None:
            found.append((name, form))
    return found


def _rank(table: Table, name: str, form: str, index: int) -> float:
    """How likely a column is the time: written dates come before numbers, telling names before others."""
    written = 4 if form in FORMS or form == "typed" else 0
    telling = 2 * (name.lower() in TIME_NAMES) + bool(set(words_of(name)) & TIME_WORDS)
    return written + telling - index / (1 + len(table.frame.columns))


def _named(table: Table, text: str, flag: str) -> tuple[str, *tuple[str, ...]]:
    """The columns that an option names, joined by `+` unless one is called so."""
    if text in table.frame.columns or "+" not in text:
        return (table.require(text, flag),)
    first, *others = (table.require(part.strip(), flag) for part in text.split("+"))
    return first, *others


def _named_times(table: Table, text: str, date_format: str | None) -> tuple[tuple[str, ...], Stamps | None]:
    if text == "none" and "none" not in table.frame.columns:
        return (), None
    names = _named(table, text, "--time")
    if len(names) > 1:
        return names, _joined(table, names, date_format)
    stamps = parse_stamps(table, names[0], date_format)
    return names, stamps


def _steps_or_nothing(table: Table, options: ReadOptions) -> tuple[tuple[str, ...], Stamps | None]:
    """A column that counts steps, or none; a column called `date` that holds none is an error."""
    for name in table.frame.columns:
        column = table.frame[name]
        read = numbers(column)
        if name.lower() in STEP_NAMES and read.share > 0.9 and not read.empty:
            apart = any(set(words_of(other)) & ID_WORDS for other in table.frame.columns if other != name)
            if apart or len(np.unique(read.values)) == len(column):
                return (name,), parse_stamps(table, name, options.date_format)
        elif name.lower() in TIME_NAMES and column.dtype == pl.String and read.share <= 0.5:
            try:
                return (name,), parse_stamps(table, name, options.date_format)
            except DataError as error:
                fix = f"{error.fix}; if the column is no time, give --time none"
                raise DataError(
                    error.what, where=error.where, seen=error.seen, expected=error.expected, fix=fix
                ) from None
    return (), None


def _calendar_parts(table: Table) -> tuple[str, ...]:
    """Columns such as year and quarter, or year, month and day, that make a date together."""
    names = table.frame.columns
    found = {part: name for part, known in PARTS.items() for name in names if name.lower().strip() in known}
    if "y" not in found or not ("q" in found or "m" in found):
        return ()
    wanted = ["y", "q"] if "m" not in found else ["y", "m", *("d" for _ in "d" if "d" in found)]
    if "d" in wanted:
        wanted += [part for part in "HM" if part in found and (part == "H" or "H" in found)]
    return tuple(found[part] for part in wanted)


def _joined(table: Table, names: tuple[str, ...], date_format: str | None) -> Stamps:
    """Stamps from several columns: a date and a time of day, or parts of a date."""
    keys = [
        next((part for part, known in PARTS.items() if name.lower().strip() in known), None) for name in names
    ]
    if keys[0] != "y":
        date, clock = parse_stamps(table, names[0], date_format), clock_of(table.frame[names[1]])
        if clock is None or len(names) > 2 or date.unit == "step":
            raise ConfigError(
                f"'{'+'.join(names)}' does not make a time",
                where=f"{table.name}, --time",
                expected="a date and a time of day (date+time), or year and quarter, month or day",
                fix="name columns that go together",
            )
        values = date.values + clock.astype("timedelta64[us]")
        return Stamps(values=values, zone=date.zone, words=f"{date.words} and time of day", unit="time")
    parts = pl.DataFrame(
        {str(key): _part(table, name, str(key)) for name, key in zip(names, keys, strict=True)}
    )
    dates = compose(parts.rename({"m": "mon"}) if _spelled(parts) else parts)
    if not dates.valid.all():
        row = int((~dates.valid).argmax())
        raise DataError(
            f"'{' '.join(str(table.frame[name][row]) for name in names)}' is no date",
            where=table.place(row, "+".join(names)),
            fix="correct the row, or name the time column with --time",
        )
    unit = {"q": "quarter", "m": "month", "d": "day"}.get(str(keys[-1]), "time")
    return Stamps(values=dates.values, words=" and ".join(names), unit=unit)


def _part(table: Table, name: str, key: str) -> pl.Series:
    """One part of a date as strings of digits, or as the name of a month."""
    column = table.frame[name]
    text = column.cast(pl.String).str.strip_chars()
    digits = text.str.replace(r"\.0+$", "").str.replace(r"^[Qq]", "")
    wrong = ~digits.str.contains(r"^\d{1,4}$").fill_null(False)
    if key == "m" and text.str.contains(r"^[A-Za-z]{3,9}\.?$").all():
        return text
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"'{shown(column[row])}' is no part of a date",
            where=table.place(row, name),
            expected="a whole number",
            fix="correct the cell, or name the time column with --time",
        )
    return digits


def _spelled(parts: pl.DataFrame) -> bool:
    return "m" in parts.columns and bool(parts["m"].str.contains("[A-Za-z]").any())
