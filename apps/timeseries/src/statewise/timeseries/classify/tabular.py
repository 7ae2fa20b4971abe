"""Labelled series from a table: one series per row, or long with a column of ids.

label,t0,t1,t2          one row is one series; blanks at its end make it shorter
id,label,x,y            the rows of an id are the steps of one series, its other columns the variates
"""

from __future__ import annotations

import numpy as np
import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.table import Table, coded
from statewise.core.tables.words import shown
from statewise.timeseries.classify.labelled import LabelledPanel
from statewise.timeseries.classify.tsfile import filled

__all__ = ["LABEL_NAMES", "from_table"]

LABEL_NAMES = ("label", "class", "target", "category", "y")
"""Names that a column of labels usually has."""


def from_table(table: Table, *, id: str | None = None, label: str | None = None) -> LabelledPanel:
    """Read labelled series from a table.

    Args:
        table: strings or typed columns.
        id: the column that tells the series of a long table apart; None: every row is a series.
        label: the column of labels; None: the one called so, if there is one.

    Raises:
        DataError: there is no such column, a cell is no number, or a series has two labels.
    """
    names = table.frame.columns
    chosen = _label_column(table, label)
    key = None if id is None else table.require(id, "--id")
    columns = [name for name in names if name not in (chosen, key)]
    if not columns:
        raise DataError("has no column of values", where=table.name, expected="numbers beside the label")
    numbers = np.stack([_numbers(table, name) for name in columns], axis=1)
    labels = np.full(len(table), "") if chosen is None else _words(table.frame[chosen])
    if key is None:
        return _wide(table, numbers, labels)
    return _long(table, numbers, labels, table.frame[key])


def _label_column(table: Table, label: str | None) -> str | None:
    if label is not None:
        return table.require(label, "--label")
    by_name = {name.lower(): name for name in table.frame.columns}
    return next((by_name[name] for name in LABEL_NAMES if name in by_name), None)


def _words(column: pl.Series) -> np.ndarray:
    return column.cast(pl.String).fill_null("").str.strip_chars().to_numpy()


def _numbers(table: Table, name: str) -> np.ndarray:
    """A column as (n,) float64, NaN where a cell is blank."""
    column = table.frame[name]
    if column.dtype == pl.String:
        text = column.str.strip_chars().replace(["", "?", "NaN", "nan", "NA"], [None] * 5)
        values = text.cast(pl.Float64, strict=False)
        odd = values.is_null() & text.is_not_null()
    else:
        text, values = column, column.cast(pl.Float64, strict=False)
        odd = values.is_infinite().fill_null(value=False)
    if odd.any():
        row = int(odd.arg_max() or 0)
        raise DataError(
            "is no number",
            where=table.place(row, name),
            seen=shown(str(text[row])),
            expected="numbers in every column but the label and the id",
            fix="name the label with --label, or remove the column",
        )
    return values.to_numpy().astype(np.float64)


def _wide(table: Table, numbers: np.ndarray, labels: np.ndarray) -> LabelledPanel:
    values, names = [], []
    for row, cells in enumerate(numbers):
        known = np.flatnonzero(np.isfinite(cells))
        if not len(known):
            raise DataError("holds no value", where=table.place(row), fix="remove the row")
        values.append(filled(cells[: known[-1] + 1])[:, None])
        names.append(f"row {int(table.lines[row])}")
    return LabelledPanel(
        values=tuple(values), labels=tuple(labels.tolist()), names=tuple(names), source=table.name
    )


def _long(table: Table, numbers: np.ndarray, labels: np.ndarray, ids: pl.Series) -> LabelledPanel:
    codes, distinct = coded(ids)
    values, found = [], []
    for code, name in enumerate(distinct.to_list()):
        rows = np.flatnonzero(codes == code)
        own = set(labels[rows].tolist()) - {""}
        if len(own) > 1:
            raise DataError(
                f"the series '{shown(str(name))}' has two labels",
                where=table.place(int(rows[0])),
                seen=", ".join(sorted(own)),
                expected="one label for all rows of an id",
            )
        block = numbers[rows]
        if not np.isfinite(block).any(axis=0).all():
            raise DataError(
                f"the series '{shown(str(name))}' has a variate without any value",
                where=table.place(int(rows[0])),
                fix="fill it, or remove the series",
            )
        values.append(np.stack([filled(column) for column in block.T], axis=1))
        found.append(next(iter(own), ""))
    names = tuple(str(name) for name in distinct.to_list())
    return LabelledPanel(values=tuple(values), labels=tuple(found), names=names, source=table.name)
