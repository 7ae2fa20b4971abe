"""Covariates that are known ahead: columns filled in the last rows, where the target is blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from statewise.core.errors import DataError
from statewise.core.tables.table import Note, Table
from statewise.core.tables.words import named, shown
from statewise.timeseries.assemble import Grid
from statewise.timeseries.rows import Rows
from statewise.timeseries.values import Values

__all__ = ["Ahead", "fill_covariates", "settle_ahead"]


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What is forecast, and what is known ahead of it."""

    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


def settle_ahead(values: Values, rows: Rows, table: Table, *, wide: bool) -> Ahead:
    """Find the covariates.

    With named targets, or in a long file, another numeric column becomes one if it is filled in every row
    that follows the last value of the targets. In a wide file without named targets the columns that are
    all blank in the same last rows are the targets, if all others are filled there.

    Raises:
        DataError: when a column named as covariate is blank where its future value is needed.
    """
    if wide and not values.named and not values.covariates and not values.unknown_ahead:
        return _ahead_of_wide(values, rows)
    future = _after_last_value(rows, values.targets)
    chosen = list(values.covariates)
    for name in chosen:
        _require_future(name, rows, future, table)
    if future.any() and not chosen:
        chosen = [name for name in values.candidates if not np.isnan(rows.columns[name][future]).any()]
    every = (*chosen, *values.unknown_ahead)
    if not chosen:
        return Ahead(targets=values.targets, covariates=every)
    return Ahead(targets=values.targets, covariates=every, notes=_notes(values.targets, chosen, future))


def fill_covariates(grid: Grid, names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list[Note]]:
    """Covariates (T,) without holes, and notes on them: a missing value takes the one before it in its
    series.

    Raises:
        DataError: when a covariate has no value at all in a series.
    """
    columns, notes = dict(grid.columns), []
    begins = np.repeat(grid.starts, grid.lengths)
    for name in names:
        values = columns[name]
        missing = np.isnan(values)
        if not missing.any():
            continue
        steps = np.arange(len(values))
        before = np.maximum.accumulate(np.where(missing, -1, steps))
        after = np.minimum.accumulate(np.where(missing, len(values), steps)[::-1])[::-1]
        at = np.where(before >= begins, before, after)
        if (at >= begins + np.repeat(grid.lengths, grid.lengths)).any():
            raise DataError(
                f"the covariate '{shown(name)}' has no value at all in a series",
                fix="fill it, or leave it out of --covariates",
            )
        columns[name] = values[at]
        text = (
            f"the covariate '{shown(name)}' lacks {int(missing.sum()):,} values: each takes the one before it"
        )
        notes.append(Note("covariates", text))
    return columns, notes


def _ahead_of_wide(values: Values, rows: Rows) -> Ahead:
    names = [name for name in values.targets if not np.isnan(rows.columns[name]).all()]
    blanks = {name: _trailing_blanks(rows.columns[name]) for name in names}
    longest = max(blanks.values(), default=0)
    targets = [name for name in names if blanks[name] == longest]
    filled = [name for name in names if blanks[name] == 0]
    # one blank at the end is more likely a late value than a horizon of one
    few = 2 <= longest <= len(rows.times) // 5
    if not few or not filled or len(targets) + len(filled) < len(names):
        return Ahead(targets=values.targets)
    future = np.arange(len(rows.times)) >= len(rows.times) - longest
    if any(np.isnan(rows.columns[name]).any() for name in filled):
        return Ahead(targets=values.targets)
    return Ahead(targets=tuple(targets), covariates=tuple(filled), notes=_notes(targets, filled, future))


def _trailing_blanks(values: np.ndarray) -> int:
    return int((~np.isnan(values))[::-1].argmax())


def _after_last_value(rows: Rows, targets: tuple[str, ...]) -> np.ndarray:
    """Whether a row follows the last value of all targets in its series, (n,) bool."""
    filled = ~np.all([np.isnan(rows.columns[name]) for name in targets], axis=0)
    steps = np.arange(len(filled))
    last = np.maximum.reduceat(np.where(filled, steps, -1), rows.starts)
    return (steps > np.repeat(last, rows.lengths)) & np.repeat(last >= 0, rows.lengths)


def _require_future(name: str, rows: Rows, future: np.ndarray, table: Table) -> None:
    blank = future & np.isnan(rows.columns[name])
    if blank.any():
        raise DataError(
            "a covariate is blank in a row whose target is still unknown",
            where=table.place(int(rows.origin[blank][0]), name),
            expected="its future value",
            fix="fill the cell, or remove the row",
        )


def _notes(targets: Sequence[str], covariates: Sequence[str], future: np.ndarray) -> tuple[Note, ...]:
    if not future.any():
        return (Note("covariates", f"no row gives future values of {named(covariates)} (--covariates)"),)
    text = f"known ahead: {named(covariates)}, {int(future.sum()):,} rows have them and no {named(targets)}"
    return (Note("covariates", f"{text} (--target, --covariates)"),)
