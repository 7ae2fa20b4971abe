"""Forecasts of very many series, block after block, in one process or spread over a Ray cluster.

A block of series is read from the store, forecast by a saved model and written as a parquet file of its
own: memory holds one block per worker, and each worker loads the model once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.spreading import spread
from statewise.core.train.atomic import replace_file
from statewise.timeseries.portfolio import Forecast
from statewise.timeseries.saved import load_forecast
from statewise.timeseries.store import Store

__all__ = ["BulkResult", "bulk_predict"]


@dataclass(frozen=True, kw_only=True)
class BulkResult:
    """What was written."""

    files: tuple[Path, ...]
    series: int
    noted: int
    """Series that were not forecast as planned; the column `note` says why."""


def bulk_predict(
    run: str | Path, store: str | Path, out: str | Path, *, block: int = 2000, workers: int | None = None
) -> BulkResult:
    """Forecast every series of a store from its end.

    Args:
        run: the run or model directory.
        store: the folder of a `Store`.
        out: folder for `forecast-00000.parquet` and so on, one file per block.
        block: series in a block.
        workers: actors of Ray Data; None: this process alone, without Ray.

    Raises:
        MissingExtraError: workers are asked for and Ray is not installed.
        UserError: Ray does not start.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    count = len(Store.open(store))
    blocks = range(-(-count // block))
    given = str(run), str(store), str(folder), block
    if workers is None:
        worker = _Worker(*given)
        noted = sum(worker.answer(number) for number in blocks)
    else:
        noted = spread(_Worker, given, blocks, workers=workers, purpose="spreading a bulk prediction")
    files = tuple(_file(folder, number) for number in blocks)
    return BulkResult(files=files, series=count, noted=noted)


class _Worker:
    """Holds a model and forecasts blocks with it."""

    def __init__(self, run: str, store: str, out: str, block: int) -> None:
        self.portfolio = load_forecast(Path(run).absolute()).portfolio
        self.store, self.out, self.block = Store.open(Path(store).absolute()), Path(out).absolute(), block

    def answer(self, block: int) -> int:
        """Write the block of that number; how many of its forecasts have a note."""
        panel = self.store.panel(block * self.block, (block + 1) * self.block)
        made = self.portfolio.predict(panel)
        table = _table(made, self.portfolio.conformal.levels)
        replace_file(_file(self.out, block), table.write_parquet)
        return sum(bool(one.note) for one in made)


def _file(folder: Path, place: int) -> Path:
    return folder / f"forecast-{place:05d}.parquet"


def _table(forecasts: list[Forecast], levels: tuple[float, ...]) -> pl.DataFrame:
    """One row per series and step, as `forecast.csv` has them, and the note."""
    if not forecasts:
        return pl.DataFrame()
    columns: dict[str, Any] = {
        "unique_id": np.repeat([one.series for one in forecasts], len(forecasts[0].point)),
        "ds": np.concatenate([one.times for one in forecasts]),
        "forecast": np.concatenate([one.point for one in forecasts]),
    }
    for place, level in enumerate(levels):
        columns[f"lo_{level * 100:g}"] = np.concatenate([one.lower[place] for one in forecasts])
        columns[f"hi_{level * 100:g}"] = np.concatenate([one.upper[place] for one in forecasts])
    columns["note"] = np.repeat([one.note for one in forecasts], len(forecasts[0].point))
    return pl.DataFrame(columns)
