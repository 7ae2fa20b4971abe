"""Which columns tell the time.

A name is a hint, the content decides: a column is the time if it reads as dates.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, DataError
from statewise.core.tables.table import Note, Table
from statewise.core.tables.words import shown
from statewise.timeseries.dateforms import DIGITS, FORMS, compose, recognise
from statewise.timeseries.numerals import numbers
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.timestamps import Stamps, clock_of, parse_stamps
from statewise.timeseries.vocabulary import (
    CLOCK_NAMES,
    ID_WORDS,
    PARTS,
    STEP_NAMES,
    TIME_NAMES,
    TIME_WORDS,
    YEAR_WORDS,
    says_excel,
    words_of,
)

__all__ = ["find_times", "unpivot"]


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
    found = [(name, form, _rank(table, name, form, i)) for i, (name, form) in enumerate(_recognised(table))]
    best = max(found, key=lambda entry: entry[2], default=None)
    if best is None or best[1] == "year":
        parts = _calendar_parts(table)
        if len(parts) > 1:
            return parts, _joined(table, parts, options.date_format)
    if best is None:
        return _unrecognised(table, options)
    stamps = parse_stamps(table, best[0], options.date_format)
    clock = next((c for c in table.frame.columns if c.lower() in CLOCK_NAMES and c != best[0]), None)
    if clock is not None and stamps.unit == "day" and clock_of(table.frame[clock]) is not None:
        both = (best[0], clock)
        joined = _joined(table, both, options.date_format)
        if len(np.unique(joined.values)) > len(np.unique(stamps.values)):
            return both, joined
    return (best[0],), stamps


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


def _named_times(table: Table, text: str, date_format: str | None) -> tuple[tuple[str, ...], Stamps | None]:
    if text == "none" and "none" not in table.frame.columns:
        return (), None
    names = table.require_joined(text, "--time")
    if len(names) > 1:
        return names, _joined(table, names, date_format)
    stamps = parse_stamps(table, names[0], date_format)
    return names, stamps


def _unrecognised(table: Table, options: ReadOptions) -> tuple[tuple[str, ...], Stamps | None]:
    """A column that counts steps, or none; a column called `date` that holds none is an error."""
    names = table.frame.columns
    if options.date_format is not None:
        hinted = next((name for name in names if set(words_of(name)) & TIME_WORDS), names[0])
        return (hinted,), parse_stamps(table, hinted, options.date_format)
    for name in names:
        column = table.frame[name]
        read = numbers(column)
        if name.lower() in STEP_NAMES and read.share > 0.9 and not read.empty:
            apart = any(set(words_of(other)) & ID_WORDS for other in names if other != name)
            if apart or len(np.unique(read.values)) == len(column):
                return (name,), parse_stamps(table, name)
        elif name.lower() in TIME_NAMES and column.dtype == pl.String and read.share <= 0.5:
            return (name,), _must_parse(table, name)
    return (), None


def _must_parse(table: Table, name: str) -> Stamps:
    """The stamps of a column that is called a time and does not look like one: mostly an error."""
    try:
        return parse_stamps(table, name)
    except DataError as error:
        fix = f"{error.fix}; if the column is no time, give --time none"
        raise DataError(
            error.what, where=error.where, seen=error.seen, expected=error.expected, fix=fix
        ) from None


def _calendar_parts(table: Table) -> tuple[str, ...]:
    """Columns such as year and quarter, or year, month and day, that make a date together."""
    names = table.frame.columns
    found = {part: name for part, known in PARTS.items() for name in names if name.lower().strip() in known}
    if "y" not in found or not ("q" in found or "m" in found):
        return ()
    if "m" not in found:
        return found["y"], found["q"]
    wanted = ["y", "m"]
    for finer in "dHM":
        if finer not in found:
            break
        wanted.append(finer)
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
