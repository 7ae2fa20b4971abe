"""Tables and curves in plain characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["cells", "is_numeric", "plain_table", "sparkline"]

BLOCKS = "▁▂▃▄▅▆▇█"
MISSING = "-"
DIGITS = 4


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table for pipes and files: two blanks between columns, numbers to the right, text to the left."""
    texts = cells(columns, rows)
    right = [is_numeric(column) for column in _columns(columns, rows)]
    widths = [max(map(len, column)) for column in _columns(columns, [list(columns), *texts])]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if to_right else value.ljust(width)
            for value, width, to_right in zip(values, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), *(line(row) for row in texts)])


def cells(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[str]]:
    """The rows as text: the floats of a column share their decimals, None and NaN become `-`."""
    decimals = [_decimals(column) for column in _columns(columns, rows)]
    return [[_cell(value, places) for value, places in zip(row, decimals, strict=True)] for row in rows]


def is_numeric(column: Sequence[Any]) -> bool:
    """Whether every known value of a column is a number."""
    known = [value for value in column if value is not None]
    return bool(known) and all(_number(value) for value in known)


def sparkline(values: Sequence[float]) -> str:
    """One block character per value, low to high; a blank where a value is not finite."""
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return " " * len(values)
    low, high = min(finite), max(finite)
    span = high / 2 - low / 2  # halves, since the difference of two floats may overflow

    def block(value: float) -> str:
        share = (value / 2 - low / 2) / span if span > 0 else 0.5
        return BLOCKS[round(share * (len(BLOCKS) - 1))]

    return "".join(block(float(value)) if math.isfinite(value) else " " for value in values)


def _columns(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [[row[index] for row in rows] for index in range(len(columns))]


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _fraction(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, Integral)


def _decimals(column: Sequence[Any]) -> int:
    """Decimals for the floats of a column: four significant digits for the largest, two for the smallest
    that is not a thousand times smaller.
    """
    sizes = [abs(value) for value in column if _fraction(value) and math.isfinite(value) and value]
    if not sizes:
        return DIGITS - 1
    smallest = min(size for size in sizes if size >= max(sizes) / 1000)
    return min(max(_places(max(sizes), DIGITS), _places(smallest, 2)), 6)


def _places(size: float, digits: int) -> int:
    return max(digits - 1 - math.floor(math.log10(size)), 0)


def _cell(value: Any, decimals: int) -> str:
    if value is None or (_fraction(value) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _fraction(value):
        text = f"{value:.{decimals}f}"
        return f"{value:.2g}" if value and float(text) == 0 else text
    return str(value)
