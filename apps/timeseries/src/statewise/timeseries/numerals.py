"""Columns of written numbers as float64: decimal signs, digit groups, percent and currency signs, missing
values.

One decimal sign holds for a whole file. It is taken from cells that can be read in one way only; where
every cell can be read in two ways (`1,234`), the user is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError
from statewise.core.tables.table import Table

__all__ = ["LARGEST", "MISSING", "Numbers", "decimal_sign", "flags", "numbers", "stripped"]

LARGEST = 1e100
"""Numbers beyond this are refused: their squares would leave float64."""
MISSING = (
    "", "na", "n/a", "n.a.", "nan", "nat", "null", "none", "nil", "missing", "-", "--", "---", "?", ".", "..",
    "...", "#n/a", "#na", "#null!", "<na>", "(null)", "\\n",
)  # fmt: skip
"""Words that stand for a missing value, in lower case."""
_FLAGS = {"true": 1.0, "yes": 1.0, "t": 1.0, "y": 1.0, "false": 0.0, "no": 0.0, "f": 0.0, "n": 0.0}
_SIGNS = r"[$€£¥₹]|\b(?:USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD)\b"
_THIN, _TICKS = "\u00a0\u2009\u202f", "'\u2019"
_GROUPS = {
    ".": rf"^[+-]?\d{{1,3}}(?:(?:,\d{{3}})+|(?:[ {_THIN}]\d{{3}})+|(?:[{_TICKS}]\d{{3}})+)(?:\.\d*)?$",
    ",": rf"^[+-]?\d{{1,3}}(?:(?:\.\d{{3}})+|(?:[ {_THIN}]\d{{3}})+|(?:[{_TICKS}]\d{{3}})+)(?:,\d*)?$",
}
_GROUP_SIGNS = {".": f"[,{_TICKS} {_THIN}]", ",": f"[.{_TICKS} {_THIN}]"}
# cells that can be read in one way only, and those that can be read in two
_ONLY_COMMA = (
    r"^[+-]?(?:0|\d{4,}|\d{1,3}(?:\.\d{3})+|\d{1,3}(?: \d{3})+),\d+$|^[+-]?\d*,(?:\d{1,2}|\d{4,})$"
    r"|^[+-]?\d{1,3}(?:\.\d{3}){2,}$"
)
_ONLY_POINT = (
    r"^[+-]?(?:0|\d{4,}|\d{1,3}(?:,\d{3})+)?\.\d+$|^[+-]?\d*\.(?:\d{1,2}|\d{4,})$"
    r"|^[+-]?\d{1,3}(?:,\d{3}){2,}$"
)
_EITHER = r"^[+-]?[1-9]\d{0,2},\d{3}$"


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A column read as numbers."""

    values: np.ndarray
    """(n,) float64, NaN where the cell is missing or no number."""
    wrong: np.ndarray
    """Cells that are neither a number nor missing, (n,) bool."""
    signs: tuple[str, ...] = ()
    """What was taken off: `percent signs`, `currency signs`, `thousands separators`."""

    @property
    def share(self) -> float:
        """Part of the filled cells that are numbers; 1 when every cell is missing."""
        filled = int((~np.isnan(self.values)).sum()) + int(self.wrong.sum())
        return 1 - float(self.wrong.sum()) / filled if filled else 1.0

    @property
    def empty(self) -> bool:
        """Whether no cell is filled."""
        return bool(np.isnan(self.values).all() and not self.wrong.any())


def stripped(column: pl.Series, missing: Sequence[str] = ()) -> pl.Series:
    """A string column without outer blanks, null where the cell is one of the words for a missing value."""
    text = column.str.strip_chars().str.strip_chars("\u00a0\u202f")
    words = [*MISSING, *(word.lower().strip() for word in missing)]
    return text.set(text.str.to_lowercase().is_in(words).fill_null(False), None)


def numbers(column: pl.Series, decimal: str = ".", missing: Sequence[str] = ()) -> Numbers:
    """Read a column, typed or of strings, as numbers.

    Args:
        column: (n,).
        decimal: the decimal sign of the file.
        missing: further words for a missing value.
    """
    if column.dtype.is_numeric() or column.dtype.is_decimal():
        values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
        values[np.isin(values, [float(word) for word in missing if _is_float(word)])] = np.nan
        return Numbers(values=values, wrong=np.zeros(len(values), dtype=bool))
    if column.dtype != pl.String:
        return Numbers(values=np.full(len(column), np.nan), wrong=column.is_not_null().to_numpy())
    text = stripped(column, missing)
    # without a decimal comma a plain cast settles nearly all cells; with one, 1.234 would pass for a fraction
    direct = text.cast(pl.Float64, strict=False)
    if decimal == ",":
        direct = direct.set(text.str.contains(".", literal=True).fill_null(False), None)
    rest = text.is_not_null() & direct.is_null()
    signs: tuple[str, ...] = ()
    if rest.any():
        cleaned, signs = _cleaned(text.filter(rest), decimal)
        direct = direct.scatter(rest.arg_true(), cleaned.cast(pl.Float64, strict=False))
    wrong = (text.is_not_null() & direct.is_null()).to_numpy()
    return Numbers(values=direct.fill_null(float("nan")).to_numpy().copy(), wrong=wrong, signs=signs)


def flags(column: pl.Series) -> np.ndarray | None:
    """A column of yes and no as ones and zeros, (n,) float64 with NaN where missing; None when it is not
    one.
    """
    if column.dtype == pl.Boolean:
        return column.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
    if column.dtype != pl.String:
        return None
    text = stripped(column).str.to_lowercase()
    if text.null_count() == len(text) or not text.drop_nulls().is_in(list(_FLAGS)).all():
        return None
    return (
        text.replace_strict(_FLAGS, default=None, return_dtype=pl.Float64)
        .fill_null(float("nan"))
        .to_numpy()
        .copy()
    )


def decimal_sign(table: Table, columns: Sequence[str], missing: Sequence[str] = ()) -> str:
    """The decimal sign of a file, from the cells of the given columns.

    Raises:
        ConfigError: when every cell with a comma can be read both as a fraction and as thousands.
    """
    strings = [name for name in columns if table.frame[name].dtype == pl.String]
    odd = [name for name in strings if table.frame[name].str.contains(r",|\..*\.").any()]
    if not odd:
        return "."
    texts = {name: _without_signs(stripped(table.frame[name], missing))[0] for name in strings}
    commas = sum(int(texts[name].str.contains(_ONLY_COMMA).sum()) for name in odd)
    points = sum(int(text.str.contains(_ONLY_POINT).sum()) for text in texts.values())
    if commas > points:
        return ","
    doubtful = {
        name: text.str.contains(_EITHER).fill_null(False) for name, text in texts.items() if name in odd
    }
    name = next((name for name, which in doubtful.items() if which.any()), None)
    # in a text separated by commas, a comma inside quotation marks sets thousands apart
    if name is None or points or table.delimiter == ",":
        return "."
    row = int(doubtful[name].arg_max() or 0)
    cell = texts[name][row]
    raise ConfigError(
        "a comma may be the decimal sign or set thousands apart",
        where=table.place(row, name),
        seen=f"{cell}: {cell.replace(',', '.')} with --decimal , or {cell.replace(',', '')} with --decimal .",
        expected="at least one number that can be read in one way only",
        fix="give --decimal , or --decimal .",
    )


def _cleaned(text: pl.Series, decimal: str) -> tuple[pl.Series, tuple[str, ...]]:
    """Cells with their signs and digit groups taken off and a decimal point, and what was taken off."""
    text, signs = _without_signs(text)
    grouped = text.str.contains(_GROUPS[decimal]).fill_null(False)
    if grouped.any():
        text = text.zip_with(~grouped, text.str.replace_all(_GROUP_SIGNS[decimal], ""))
        signs = (*signs, "thousands separators")
    if decimal == ",":
        text = text.set(text.str.contains(".", literal=True), None).str.replace(",", ".", literal=True)
    return text, signs


def _without_signs(text: pl.Series) -> tuple[pl.Series, tuple[str, ...]]:
    signs: tuple[str, ...] = ()
    if text.str.contains(_SIGNS).any():
        text = text.str.replace_all(_SIGNS, "").str.strip_chars()
        signs = ("currency signs",)
    if text.str.ends_with("%").any():
        text = text.str.strip_suffix("%").str.strip_chars()
        signs = (*signs, "percent signs")
    # a minus sign of typography, and the accountants' (1.5) for -1.5
    text = text.str.replace_all("\u2212", "-", literal=True).str.replace(r"^\(([^-()]*)\)$", "-$1")
    return text, signs


def _is_float(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
