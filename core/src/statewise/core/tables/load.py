"""One source as a table: delimited text, parquet, or a data frame."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.delimited import parse_text
from statewise.core.tables.source import open_source
from statewise.core.tables.table import Note, Table
from statewise.core.tables.words import shown

__all__ = ["load"]


def load(
    source: Any,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    absent: str = "check the path",
) -> Table:
    """Read a path (`-`: standard input) or a frame that speaks the Arrow interchange.

    Args:
        source: the path or frame.
        encoding: of a text; None finds it.
        delimiter: of a text; None finds it.
        header: whether the first row of a text names the columns; None finds it.
        absent: what to do when there is no such file and none with a similar name.

    Raises:
        DataError: when it cannot be read.
    """
    if hasattr(source, "__arrow_c_stream__"):
        return _typed(pl.DataFrame(source), "data frame")
    content = open_source(source, absent=absent)
    if not content.parquet:
        return parse_text(content, encoding=encoding, delimiter=delimiter, header=header)
    try:
        frame = pl.read_parquet(io.BytesIO(content.data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"is a damaged parquet file ({shown(error)})", where=content.name, fix="write or copy it again"
        ) from None
    return _typed(frame, content.name)


def _typed(frame: pl.DataFrame, name: str) -> Table:
    """A table with columns of types; those that hold lists or records are left out."""
    schema = frame.schema
    odd = [column for column, kind in schema.items() if kind.is_nested() or kind in (pl.Binary, pl.Object)]
    words = [column for column, kind in schema.items() if kind in (pl.Categorical, pl.Enum)]
    frame = frame.drop(odd).with_columns(pl.col(words).cast(pl.String))
    listed = ", ".join(f"'{shown(column)}'" for column in odd)
    n = len(frame)
    return Table(
        frame=frame,
        lines=np.arange(1, n + 1),
        files=np.zeros(n, dtype=np.int64),
        sources=(name,),
        notes=(Note("ignored", f"{listed}: lists, records or bytes, not used"),) if odd else (),
    )
