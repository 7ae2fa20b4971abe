"""Labelled series from a file of any kind."""

from __future__ import annotations

import gzip
from pathlib import Path

from statewise.core.errors import DataError
from statewise.core.tables.load import load
from statewise.timeseries.classify.labelled import LabelledPanel
from statewise.timeseries.classify.tabular import from_table
from statewise.timeseries.classify.tsfile import parse_ts

__all__ = ["read_labelled"]


def read_labelled(
    source: str, *, id: str | None = None, label: str | None = None, labels: bool = True
) -> LabelledPanel:
    """Read a `.ts` file or a table.

    Args:
        source: the path; `-` reads a table from standard input.
        id: the column of a long table that tells its series apart.
        label: the column of labels.
        labels: whether there must be some.

    Raises:
        DataError: it cannot be read, holds no series, or lacks labels that are needed.
    """
    if Path(source).name.lower().endswith((".ts", ".ts.gz")):
        panel = parse_ts(_text(Path(source)), Path(source).name)
    else:
        panel = from_table(load(source), id=id, label=label)
    if labels and not all(panel.labels):
        raise DataError(
            "lacks labels" if not any(panel.labels) else "has series without a label",
            where=panel.source,
            seen=f"{sum(map(bool, panel.labels))} of {len(panel)} series labelled",
            expected="a label for every series",
            fix="name the column with --label",
        )
    return panel


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be read: {reason}", where=str(path), fix="check the path") from None
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", where=str(path), fix="save it as UTF-8") from None
