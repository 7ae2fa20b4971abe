"""A hundred thousand series of 200 points: from parquet to forecasts in one small process.

Each stage is a process of its own, whose peak memory the operating system tells. The data are made here: a
level, a weekly season and noise that decays slowly, each series with its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.results import Column, Result, Table, publish, versions

NAME = "timeseries/large_panel"
SERIES, STEPS, HORIZON = 100_000, 200, 14
CHUNK = 10_000
LIMIT = 4.0

PROTOCOL = {
    "data": f"{SERIES:,} series of {STEPS} days, made with seed 0, in ten parquet files of 2,000,000 rows, "
    "columns unique_id, ds, y",
    "stages": "store: stream the files twice and lay the values out in one mapped array; fit: NLinear with a "
    "lookback of four weeks on all series, weights shared; forecast: 14 days of every series, in blocks of "
    "2,000, to parquet",
    "memory": "peak resident size of the process of each stage, the interpreter and its libraries included, "
    "pages of mapped files too",
    "threads": "one for linear algebra; polars as it likes; seconds are CPU time",
}


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "--stage":
        print(json.dumps(stage(sys.argv[2], Path(sys.argv[3]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        rows = [run(name, Path(folder)) for name in ("store", "fit", "forecast")]
    publish(report(rows))


def make(folder: Path) -> None:
    """The parquet files."""
    rng = np.random.default_rng(0)
    days = np.datetime64("2024-01-01", "D") + np.arange(STEPS)
    for place in range(SERIES // CHUNK):
        noise = rng.normal(size=(CHUNK, STEPS))
        for t in range(1, STEPS):
            noise[:, t] += 0.7 * noise[:, t - 1]
        phase, size = rng.random((CHUNK, 1)), rng.gamma(2.0, 1.0, (CHUNK, 1))
        level = rng.normal(50, 20, (CHUNK, 1))
        values = level + size * np.sin(2 * np.pi * (np.arange(STEPS) / 7 + phase)) + noise
        names = [f"s{place * CHUNK + i:06d}" for i in range(CHUNK)]
        columns = {
            "unique_id": np.repeat(names, STEPS),
            "ds": np.tile(days, CHUNK),
            "y": values.ravel(),
        }
        pl.DataFrame(columns).write_parquet(folder / f"rows-{place:02d}.parquet")


def run(name: str, folder: Path) -> dict[str, Any]:
    """One stage in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.timeseries.large_panel", "--stage", name, str(folder)]
    begin = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1]) | {"wall_seconds": round(time.monotonic() - begin, 1)}
    print(row, flush=True)
    return row


def stage(name: str, folder: Path) -> dict[str, Any]:
    """Do it and tell what it took."""
    from statewise.timeseries.store import Store, build_store

    begin = time.process_time()
    if name == "store":
        count = len(build_store(sorted(folder.glob("rows-*.parquet")), folder / "store", "D"))
    elif name == "fit":
        count = fit(Store.open(folder / "store"), folder / "run")
    else:
        from statewise.timeseries.bulk import bulk_predict

        count = bulk_predict(folder / "run", folder / "store", folder / "out").series
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "stage": name,
        "series": count,
        "cpu_seconds": round(time.process_time() - begin, 1),
        "peak_gb": round(peak, 2),
    }


def fit(store: Any, out: Path) -> int:
    """NLinear on all series, saved as a model without histories."""
    from statewise.timeseries.config import ConformalConfig
    from statewise.timeseries.forecaster import Context
    from statewise.timeseries.models.nlinear import NLinear, NLinearConfig
    from statewise.timeseries.options import ReadOptions
    from statewise.timeseries.portfolio import Portfolio
    from statewise.timeseries.saved import save_forecast

    panel = store.panel()
    context = Context(horizon=HORIZON, period=7, frequency=panel.frequency, threads=1)
    method = NLinear(NLinearConfig(lookback=28))
    method.fit(panel, context)
    conformal = ConformalConfig()
    portfolio = Portfolio(
        methods={"nlinear": method},
        chosen={},
        default="nlinear",
        half={},
        shared=np.full((len(conformal.levels), HORIZON), np.nan), context=context, conformal=conformal,
    )  # fmt: skip
    save_forecast(out / "model", portfolio, store.panel(0, 1), ReadOptions())
    return len(panel)


def report(rows: list[dict[str, Any]]) -> Result:
    peak = max(row["peak_gb"] for row in rows)
    seconds = sum(row["cpu_seconds"] for row in rows)
    said = "within" if peak < LIMIT else "over"
    return Result(
        benchmark=NAME,
        title="A hundred thousand series",
        summary=f"{SERIES:,} series of {STEPS} points go from parquet to forecasts in {seconds:.0f} s of "
        f"CPU time and {peak:.2f} GB of memory at most, {said} the {LIMIT:g} GB aimed at.",
        versions=versions("statewise-core", "statewise-timeseries", "numpy", "polars"),
        protocol=PROTOCOL,
        seeds=(0,),
        data=(),
        rows=tuple(rows),
        tables=(Table(title="Stages", columns=COLUMNS, rows=tuple(rows)),),
    )


COLUMNS = (
    Column(key="stage", label="stage"),
    Column(key="series", label="series"),
    Column(key="cpu_seconds", label="CPU s", format=".1f"),
    Column(key="wall_seconds", label="wall s", format=".1f"),
    Column(key="peak_gb", label="peak, GB", format=".2f"),
)

if __name__ == "__main__":
    main()
