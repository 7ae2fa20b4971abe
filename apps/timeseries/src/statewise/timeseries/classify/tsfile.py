"""The `.ts` format of the time-series classification archive (aeon, sktime): one series per line.

    @problemName ...    @univariate true    @classLabel true a b
    @data
    1.0,2.0,3.0:4.0,5.0,6.0:a       variates between colons, the label last, `?` for a missing value

Bagnall et al., "The UEA multivariate time series classification archive", 2018. Time stamps inside the data
(`@timeStamps true`) are refused.
"""

from __future__ import annotations

import numpy as np

from statewise.core.errors import DataError
from statewise.timeseries.classify.labelled import LabelledPanel

__all__ = ["parse_ts"]


def parse_ts(text: str, name: str) -> LabelledPanel:
    """Read the text of a `.ts` file.

    A missing value takes the one before it in its variate, at the beginning the one after it.

    Raises:
        DataError: the text is not in the format; the message names the line.
    """
    labelled, body, known = _header(text, name)
    values, labels, names = [], [], []
    for number, line in body:
        parts = line.split(":")
        label = parts.pop().strip() if labelled else ""
        if labelled and label not in known:
            raise DataError(
                "has a label that the header does not list",
                where=f"{name}, line {number}",
                seen=label or "an empty label",
                expected=f"one of {', '.join(known)}",
                fix="correct the label, or add it to @classLabel",
            )
        rows = [_variate(part, f"{name}, line {number}") for part in parts]
        if values and len(rows) != values[0].shape[1]:
            raise DataError(
                "has another number of variates than the lines before",
                where=f"{name}, line {number}",
                seen=str(len(rows)),
                expected=str(values[0].shape[1]),
                fix="check the colons of the line",
            )
        if len({len(row) for row in rows}) != 1:
            raise DataError(
                "has variates of different lengths",
                where=f"{name}, line {number}",
                seen=", ".join(str(len(row)) for row in rows),
                fix="give all variates of a series the same steps",
            )
        values.append(np.stack(rows, axis=1))
        labels.append(label)
        names.append(f"line {number}")
    if not values:
        raise DataError("holds no series", where=name, expected="lines after @data", fix="check the file")
    return LabelledPanel(values=tuple(values), labels=tuple(labels), names=tuple(names), source=name)


def _header(text: str, name: str) -> tuple[bool, list[tuple[int, str]], list[str]]:
    """Whether there are labels, the numbered lines of data, and the labels listed."""
    labelled, known = False, []
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    for place, (number, line) in enumerate(lines):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        key, rest = words[0].lower(), words[1:]
        if key == "@data":
            body = [one for one in lines[place + 1 :] if one[1] and not one[1].startswith("#")]
            return labelled, body, known
        if key == "@timestamps" and rest[:1] and rest[0].lower() == "true":
            raise DataError(
                "has time stamps inside its data, which are not read",
                where=f"{name}, line {number}",
                fix="write the values alone, with @timeStamps false",
            )
        if key in ("@classlabel", "@targetlabel"):
            labelled = bool(rest) and rest[0].lower() == "true"
            known = rest[1:]
    raise DataError("has no line @data", where=name, expected="a .ts file", fix="check the file")


def _variate(text: str, where: str) -> np.ndarray:
    cells = [cell.strip() for cell in text.split(",")]
    try:
        values = np.array([np.nan if cell in ("?", "NaN", "nan") else float(cell) for cell in cells])
    except ValueError:
        odd = next(cell for cell in cells if not _is_number(cell))
        raise DataError("is no number", where=where, seen=odd, expected="numbers and ?") from None
    if np.isinf(values).any() or not np.isfinite(values).any():
        raise DataError(
            "has no finite value" if not np.isfinite(values).any() else "holds infinity", where=where
        )
    return filled(values)


def filled(values: np.ndarray) -> np.ndarray:
    """The series (L,) without gaps: the value before, at the beginning the first one."""
    seen = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
    first = int(np.argmax(np.isfinite(values)))
    return values[np.where(seen < 0, first, seen)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell == "?"
    return True
