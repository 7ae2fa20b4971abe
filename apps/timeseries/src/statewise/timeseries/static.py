"""Covariates that never change within a series: words become columns of zeros and ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.table import Table
from statewise.core.tables.words import named, shown
from statewise.timeseries.numerals import flags, numbers
from statewise.timeseries.options import ReadOptions

__all__ = ["require_static", "with_categories"]

_MOST = 20
"""Words of one column that become columns."""


def with_categories(table: Table, options: ReadOptions) -> tuple[Table, ReadOptions]:
    """The table with a column of zeros and ones for each word of its static columns of words.

    Raises:
        DataError: a column has too many words.
    """
    frame, names = table.frame, []
    for given in options.static:
        base, _, word = given.partition("=")
        if word and given not in frame.columns and base in frame.columns:
            # a saved model names the columns that its fit has made
            frame = frame.with_columns((table.frame[base].cast(pl.String) == word).cast(pl.Int8).alias(given))
            names.append(given)
            continue
        name = table.require(given, "--static")
        column = frame[name]
        if numbers(column, options.decimal or ".", options.missing).share > 0.5 or flags(column) is not None:
            names.append(name)
            continue
        words = sorted(column.cast(pl.String).drop_nulls().unique())
        if len(words) > _MOST:
            raise DataError(
                f"the static column '{shown(name)}' has too many words",
                seen=f"{len(words):,}: {named(words, 3)}",
                expected=f"at most {_MOST}",
                fix="group them, or leave the column out of --static",
            )
        added = [(column.cast(pl.String) == word).cast(pl.Int8).alias(f"{name}={word}") for word in words]
        frame = frame.with_columns(added)
        names += [one.name for one in added]
    if frame.width == table.frame.width:
        return table, options
    words = {name.partition("=")[0] for name in names if name not in table.frame.columns}
    return replace(table, frame=frame.drop(words)), replace(options, static=tuple(names))


def require_static(table: Table, codes: np.ndarray, labels: Sequence[str], names: Sequence[str]) -> None:
    """Check that static columns hold one value for each series.

    Raises:
        DataError: one of them changes.
    """
    for name in names:
        column = table.frame[name]
        counts = pl.DataFrame({"series": codes, "value": column}).drop_nulls().group_by("series").n_unique()
        several = counts.filter(pl.col("value") > 1)["series"].sort()
        if len(several):
            place = int(several[0])
            raise DataError(
                f"the static column '{shown(name)}' changes within a series",
                where=f"series '{labels[place]}'" if labels else table.name,
                expected="one value for each series",
                fix=f"name it with --past-covariates or --covariates instead of --static {name}",
            )
