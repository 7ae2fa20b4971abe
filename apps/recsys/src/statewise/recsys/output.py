"""Tables of recommendations as files: CSV or parquet, the old file or the new one, never half of each."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from statewise.core.errors import ConfigError
from statewise.core.train.atomic import replace_file

__all__ = ["write_table"]


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table by the ending of its path.

    Raises:
        ConfigError: the ending is neither .csv nor .parquet.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ConfigError(
            "is no kind of file that is written here",
            where=f"--out {path}",
            seen=kind or "no ending",
            expected=".csv or .parquet",
            fix=f"--out {path.with_suffix('.csv')}",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write = table.write_csv if kind == ".csv" else table.write_parquet
    replace_file(path, lambda new: write(new))
