"""Forecasts of very many series, block after block, in one process or spread over a Ray cluster.

A block of series is read from the store, forecast by a saved model and written as a parquet file of its
own: memory holds one block per worker. With Ray Data the blocks are rows of a data set that a pool of
actors maps, each with the model loaded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.errors import MissingExtraError
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
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    count = len(Store.open(store))
    begins = list(range(0, count, block))
    if workers is None:
        worker = _Worker(str(run), str(store), str(folder), block)
        noted = sum(worker.forecast(begin) for begin in begins)
    else:
        noted = _with_ray(str(run), str(store), str(folder), block, begins, workers)
    files = tuple(_file(folder, place) for place in range(len(begins)))
    return BulkResult(files=files, series=count, noted=noted)


class _Worker:
    """Holds a model and forecasts blocks with it; an actor class of Ray Data too."""

    def __init__(self, run: str, store: str, out: str, block: int) -> None:
        self.portfolio = load_forecast(Path(run).absolute()).portfolio
        self.store, self.out, self.block = Store.open(Path(store).absolute()), Path(out).absolute(), block

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"noted": np.array([self.forecast(int(begin)) for begin in batch["begin"]])}

    def forecast(self, begin: int) -> int:
        """Write the block that starts at a series; how many of its forecasts have a note."""
        panel = self.store.panel(begin, begin + self.block)
        made = self.portfolio.predict(panel)
        table = _table(made, self.portfolio.conformal.levels)
        replace_file(_file(self.out, begin // self.block), table.write_parquet)
        return sum(bool(one.note) for one in made)


def _with_ray(run: str, store: str, out: str, block: int, begins: list[int], workers: int) -> int:
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "statewise-core[ray]", "spreading a bulk prediction") from None
    started = not ray.is_initialized()
    if started:
        # one more than the actors hold, for the tasks that hand the blocks out
        ray.init(num_cpus=workers + 1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        blocks: Any = ray.data.from_items([{"begin": begin} for begin in begins])
        strategy = ray.data.ActorPoolStrategy(size=workers)
        done = blocks.repartition(len(begins)).map_batches(
            _Worker, fn_constructor_args=(run, store, out, block), compute=strategy, batch_size=1, num_cpus=1
        )
        return int(done.sum("noted") or 0)
    finally:
        if started:
            ray.shutdown()


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
