"""Which columns are forecast, which help, and their numbers.

Without a word from the user every numeric column of a wide file is a series; in a long file the column
called `y`, `target` or `value` is, or the only one with numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, DataError
from statewise.core.tables.table import Note, Table
from statewise.core.tables.words import named, shown
from statewise.timeseries.numerals import LARGEST, Numbers, decimal_sign, flags, numbers, stripped
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.timestamps import Stamps
from statewise.timeseries.vocabulary import CALENDAR, COUNTER_NAMES, TARGET_NAMES, TARGET_WORDS, words_of

__all__ = ["Values", "find_values"]


@dataclass(frozen=True, kw_only=True)
class Values:
    """The numeric columns of a file."""

    columns: dict[str, np.ndarray]
    """(n,) float64 with NaN where a cell is missing: targets, covariates and candidates."""
    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    """Columns that the user named as covariates."""
    unknown_ahead: tuple[str, ...] = ()
    """Covariates that are not needed ahead: of the past alone, or the same at all times."""
    candidates: tuple[str, ...] = ()
    """Further numeric columns: covariates, if they are filled where the target is still blank."""
    named: bool = False
    """Whether the user named the targets."""
    notes: tuple[Note, ...] = ()


def find_values(
    table: Table, options: ReadOptions, stamps: Stamps | None, used: Sequence[str], *, long: bool
) -> Values:
    """Settle targets and covariates and read their numbers.

    Args:
        table: n rows.
        options: what the user named.
        stamps: the time stamps, to recognise columns that repeat them.
        used: columns that are the time or an id.
        long: whether several series stand below each other.

    Raises:
        DataError: when there is nothing to forecast, a named column holds text, or a cell is no finite
            number.
    """
    return _Chooser(table, options, stamps, used).choose(long=long)


class _Chooser:
    """One table whose columns are sorted into targets, covariates and others."""

    def __init__(
        self, table: Table, options: ReadOptions, stamps: Stamps | None, used: Sequence[str]
    ) -> None:
        self.table, self.options, self.stamps, self.used = table, options, stamps, used
        self.names = [name for name in table.frame.columns if name not in used]
        self.decimal = options.decimal or decimal_sign(table, self.names, options.missing)
        self.read = {name: numbers(table.frame[name], self.decimal, options.missing) for name in self.names}
        self.numeric = [name for name in self.names if self.read[name].share > 0.5]
        self.notes: list[Note] = []

    def choose(self, *, long: bool) -> Values:
        """The whole decision."""
        options = self.options
        asked = [self._named(name, "--target") for name in options.target]
        covariates = [self._named(name, "--covariates") for name in options.covariates]
        past = [self._named(name, "--past-covariates") for name in options.past_covariates]
        past += [self._named(name, "--static") for name in options.static]
        self._require_once(asked, [*covariates, *past])
        free = [name for name in self.numeric if name not in (*covariates, *past)]
        telling = [
            name for name in free if not self._is_counter(name) and not self._is_calendar(name)
        ] or free
        targets = asked or self._targets(telling, long=long)
        columns = {name: self._checked(name) for name in dict.fromkeys((*targets, *covariates, *past))}
        # in a wide file without named targets every column is one, until its last rows say otherwise
        candidates = [name for name in telling if name not in targets and self._is_clean(name)]
        columns |= {name: self.read[name].values for name in candidates}
        if not asked:
            self._note_repetitions([name for name in free if name not in telling])
        self._note_signs(targets)
        self._note_text(targets, [*covariates, *past])
        return Values(
            columns=columns,
            targets=tuple(targets),
            covariates=tuple(covariates),
            unknown_ahead=tuple(past),
            candidates=tuple(candidates),
            named=bool(asked),
            notes=tuple(self.notes),
        )

    def _require_once(self, targets: Sequence[str], covariates: Sequence[str]) -> None:
        both = next((name for name in covariates if name in targets), None)
        twice = next((name for name in covariates if covariates.count(name) > 1), None)
        if both is None and twice is None:
            return
        kinds = "as two kinds of covariate" if both is None else "both as a target and as a covariate"
        raise ConfigError(
            f"'{shown(both or twice or '')}' is named {kinds}",
            where="--target, --covariates, --past-covariates, --static",
            fix="name it once",
        )

    def _named(self, name: str, flag: str) -> str:
        """A column that the user named, which must hold numbers, or yes and no."""
        found = self.table.require(name, flag)
        if found in self.used:
            raise ConfigError(
                f"'{shown(found)}' is the time or the id of the series",
                where=f"{self.table.name}, {flag}",
                expected=f"one of {', '.join(shown(other) for other in self.numeric[:10])}",
                fix=f"name another column with {flag}, or another time with --time",
            )
        if self.read[found].share <= 0.5:
            yes_no = flags(self.table.frame[found])
            if yes_no is None:
                raise self._holds_text(found, flag)
            self.read[found] = Numbers(values=yes_no, wrong=np.zeros(len(yes_no), dtype=bool))
        return found

    def _targets(self, names: list[str], *, long: bool) -> list[str]:
        """The columns to forecast when the user named none."""
        if not names:
            raise self._nothing()
        if not long:
            return names
        lowered = {name.lower(): name for name in reversed(names)}
        whole = next((lowered[name] for name in TARGET_NAMES if name in lowered), None)
        words = [name for name in names if set(words_of(name)) & TARGET_WORDS]
        chosen = whole or (words[0] if len(words) == 1 else None)
        if chosen is None or len(names) == 1:
            return names
        others = named([name for name in names if name != chosen])
        self.notes.append(
            Note("target", f"'{shown(chosen)}' is forecast, not {others} (--target, --covariates)")
        )
        return [chosen]

    def _note_repetitions(self, names: Sequence[str]) -> None:
        counters = [name for name in names if self._is_counter(name)]
        calendar = [name for name in names if name not in counters]
        if counters:
            self.notes.append(Note("target", f"{named(counters)}: numbers the rows, left out (--target)"))
        if calendar:
            self.notes.append(
                Note("target", f"{named(calendar)}: repeats the time stamps, left out (--target)")
            )

    def _is_clean(self, name: str) -> bool:
        """Whether a column that nobody named can be used as it is."""
        read = self.read[name]
        return not read.wrong.any() and not (np.abs(read.values) > LARGEST).any()

    def _is_counter(self, name: str) -> bool:
        words = words_of(name)
        values = self.read[name].values
        unnamed = not words or words[0] in ("column", "unnamed")
        first = name == self.table.frame.columns[0]
        return (
            len(values) > 2
            and bool(np.isfinite(values).all())
            and (first if unnamed else words[0] in COUNTER_NAMES)
            and values[0] in (0, 1)
            and bool((np.diff(values) == 1).all())
        )

    def _is_calendar(self, name: str) -> bool:
        part = CALENDAR.get("".join(words_of(name)))
        if part is None or self.stamps is None or self.stamps.unit == "step":
            return False
        values, parts = self.read[name].values, _calendar(self.stamps.values, part)
        return any(bool((values == candidate).all()) for candidate in parts)

    def _checked(self, name: str) -> np.ndarray:
        """The numbers of a column that is used; every filled cell must be a finite number."""
        read = self.read[name]
        if read.wrong.any():
            raise self._bad_cell(name, int(read.wrong.argmax()))
        large = np.abs(read.values) > LARGEST
        if large.any():
            row = int(large.argmax())
            infinite = bool(np.isinf(read.values[row]))
            raise DataError(
                "is infinite or too large to compute with",
                where=self.table.place(row, name),
                seen=shown(self.table.frame[name][row]),
                expected=f"a number between -{LARGEST:g} and {LARGEST:g}",
                fix="leave the cell empty where the value is unknown" if infinite else "rescale the column",
            )
        return read.values

    def _bad_cell(self, name: str, row: int) -> DataError:
        cell = str(self.table.frame[name][row]).strip()
        fix = f"correct the cell or leave it empty; if it stands for a missing value: --missing {shown(cell)}"
        if "," in cell and self.decimal == ".":
            fix = "correct the cell; if the comma is the decimal sign: --decimal ,"
        if "." in cell and self.decimal == ",":
            fix = "correct the cell; if the full stop is the decimal sign: --decimal ."
        return DataError(
            f"'{shown(cell)}' is no number",
            where=self.table.place(row, name),
            expected=f"a number with a decimal {'comma' if self.decimal == ',' else 'point'}",
            fix=fix,
        )

    def _holds_text(self, name: str, flag: str) -> DataError:
        row = int(self.read[name].wrong.argmax())
        return DataError(
            f"'{shown(name)}' holds text, not numbers",
            where=self.table.place(row, name),
            seen=f"'{shown(self.table.frame[name][row])}'",
            expected="numbers",
            fix=f"name one of these with {flag}: {', '.join(shown(other) for other in self.numeric[:10])}"
            if self.numeric
            else "give a file with a column of numbers",
        )

    def _nothing(self) -> DataError:
        """The error for a file without a numeric column."""
        cells = [f"'{shown(name)}' ({shown(self._example(name))})" for name in self.names[:5]]
        where = f"{self.table.name}, row {int(self.table.lines[0])}"
        return DataError(
            "no column holds numbers, so there is nothing to forecast",
            where=where,
            seen=f"text in {', '.join(cells)}" if cells else f"only the columns {named(list(self.used))}",
            expected="at least one column of numbers",
            fix="check --delimiter and --decimal, or name the column with --target",
        )

    def _example(self, name: str) -> object:
        cells = self.table.frame[name].drop_nulls()
        return cells[0] if len(cells) else "empty"

    def _note_signs(self, targets: Sequence[str]) -> None:
        signs = dict.fromkeys(sign for name in targets for sign in self.read[name].signs)
        if signs:
            self.notes.append(
                Note("numbers", f"{' and '.join(signs)} were taken off the numbers (--decimal)")
            )
        if self.decimal == "," and self.options.decimal is None:
            self.notes.append(Note("numbers", "the decimal sign is a comma (--decimal)"))

    def _note_text(self, targets: Sequence[str], covariates: Sequence[str]) -> None:
        left = [name for name in self.names if name not in (*self.numeric, *targets, *covariates)]
        left = [name for name in left if not _is_blank(self.table.frame[name])]
        if left:
            self.notes.append(
                Note("ignored", f"{named(left)}: text, not used (--covariates takes yes and no)")
            )


def _calendar(times: np.ndarray, part: str) -> list[np.ndarray]:
    """What a calendar column may hold, in each way of counting, (n,) each."""
    dates, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
    month = months.astype(np.int64) % 12
    clock = (times - dates).astype(np.int64)
    weekday = (dates.astype(np.int64) + 3) % 7
    ways = {
        "year": [months.astype(np.int64) // 12 + 1970],
        "month": [month + 1],
        "day": [(dates - months).astype(np.int64) + 1],
        "hour": [clock // 3_600_000_000],
        "minute": [clock // 60_000_000 % 60],
        "quarter": [month // 3 + 1],
        "weekday": [weekday, weekday + 1, (weekday + 1) % 7, (weekday + 1) % 7 + 1],
        "yearday": [(dates - times.astype("datetime64[Y]")).astype(np.int64) + 1],
    }
    return ways[part]


def _is_blank(column: pl.Series) -> bool:
    return column.null_count() == len(column) or (
        column.dtype == pl.String and stripped(column).null_count() == len(column)
    )
