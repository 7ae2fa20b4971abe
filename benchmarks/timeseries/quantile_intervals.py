"""Intervals from learnt quantiles beside intervals from residuals, of the same network: coverage and width.

Every finished (data, method, way, seed) is kept in a ledger, so that the script can be stopped and started
again. `--quick` tries one part on few rows and keeps nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.results import Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from statewise.timeseries import auto
from statewise.timeseries.ahead import coverage_ahead
from statewise.timeseries.config import AutoConfig
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.panel import Panel, Series

NAME = "timeseries/quantile_intervals"
SETS = {"ETTh1.csv": ("hour", 24), "exchange_rate.csv": ("day", 7)}
COLUMN = "OT"
METHODS, WAYS, SEEDS, EPOCHS = ("tpgn", "lru"), ("residual", "quantile"), (0, 1, 2), 3
LEVELS = AutoConfig().conformal.levels

PROTOCOL = {
    "data": "ETTh1's oil temperature (column OT, hourly) and the last column of exchange_rate (OT, daily), "
    "each as one series",
    "split": "60 % train, 20 % validation, 20 % test, in order; the test rows choose nothing",
    "horizon": "one season: 24 hours, 7 days",
    "fit": f"networks as they are by default, {EPOCHS} passes over the training windows, the weights of the "
    "least validation loss; not fitted anew before the test rows; one thread",
    "residual": "trained on the squared error; split-conformal half-widths per step, steered by misses",
    "quantile": "trained on the pinball loss of the median and of the bounds of 80 % and 95 %; their "
    "distances multiplied by the split-conformal factor per step, steered by misses in the same way",
    "figures": "over about 500 origins in the test rows; width and pinball loss in units of what seasonal "
    "naive misses by in the training rows, pinball over the median and all four bounds",
}


def main() -> None:
    torch.set_num_threads(1)
    paths = [data_file(f"timeseries/{name}") for name in SETS]
    if "--quick" in sys.argv:
        for way in WAYS:
            print(measure(paths[0], "tpgn", way, 0, rows=1500, epochs=1))
        return
    ledger, rows = Ledger(NAME, ("data", "method", "way", "seed")), []
    for path in paths:
        for method in METHODS:
            for seed in SEEDS:
                for way in WAYS:
                    row = ledger.find(data=path.name, method=method, way=way, seed=seed)
                    if row is None:
                        row = measure(path, method, way, seed)
                        ledger.add(row)
                        print(row, flush=True)
                    rows.append(row)
    publish(report(paths, rows))


def measure(
    path: Path, method: str, way: str, seed: int, rows: int | None = None, epochs: int = EPOCHS
) -> dict[str, Any]:
    unit, season = SETS[path.name]
    frequency = Frequency(unit)
    values = pl.read_csv(path)[COLUMN].to_numpy().astype(np.float64)[:rows]
    times = frequency.range(np.datetime64("2016-07-01"), len(values))
    panel = Panel(series=(Series(id=COLUMN, times=times, values=values),), frequency=frequency)
    quantiles = LEVELS if way == "quantile" else ()
    context = Context(
        horizon=season,
        period=season,
        frequency=frequency,
        seed=seed,
        epochs=epochs,
        threads=1,
        quantiles=quantiles,
    )
    begin = time.process_time()
    result = auto.run(panel, context, AutoConfig(methods=(method,), choose=method, budget=None))
    score = result.row(auto.AUTO, "test").score
    assert score is not None
    lower, upper = score.coverage
    ahead = [
        abs(share - level)
        for part in coverage_ahead(result)
        for share, level in zip(part.coverage, LEVELS, strict=True)
    ]
    extents = result.calibration.extents(COLUMN)
    apart = extents[np.isfinite(extents).all(axis=(1, 2, 3))]
    return {
        "data": path.name,
        "method": method,
        "way": way,
        "seed": seed,
        "mase": score.mase,
        "pinball": score.pinball,
        "coverage_80": lower,
        "coverage_95": upper,
        "width_80": score.width[0],
        "width_95": score.width[1],
        "off_ahead": max(ahead),
        "negative": int((apart.sum(axis=1) < 0).sum()),
        "crossings": int((np.diff(apart, axis=2) < 0).sum()),
        "origins": score.windows,
        "seconds": round(time.process_time() - begin, 1),
    }


def report(paths: list[Path], rows: list[dict[str, Any]]) -> Result:
    table = [
        mean_of([row for row in rows if (row["data"], row["method"], row["way"]) == (path.name, method, way)])
        for path in paths
        for method in METHODS
        for way in WAYS
    ]
    pairs = list(zip(table[::2], table[1::2], strict=True))
    change = [learnt["width_80"] / plain["width_80"] - 1 for plain, learnt in pairs]
    loss = [learnt["pinball"] / plain["pinball"] - 1 for plain, learnt in pairs]
    off = max(
        abs(row[key] - level)
        for row in table
        for key, level in zip(("coverage_80", "coverage_95"), LEVELS, strict=True)
    )
    wrong = sum(row["negative"] + row["crossings"] for row in rows)
    return Result(
        benchmark=NAME,
        title="Learnt quantiles beside residuals",
        summary="With learnt quantiles the 80 % intervals of the same network change in mean width by "
        f"{min(change):+.0%} to {max(change):+.0%}, and the pinball loss by {min(loss):+.0%} to "
        f"{max(loss):+.0%}, over the sets and networks; both ways cover what they promise to "
        f"within {off:.1%}. "
        f"Widths below zero and bounds that cross: {wrong}. Two series are no proof for others.",
        versions=versions("statewise-core", "statewise-timeseries", "torch", "numpy"),
        protocol=PROTOCOL,
        seeds=SEEDS,
        data=tuple(
            fingerprint(path, origin=origin, licence=licence)
            for path, origin, licence in zip(paths, ORIGINS, ("CC BY-ND 4.0", "none stated"), strict=True)
        ),
        rows=tuple(rows),
        tables=(
            Table(title="Test rows, mean of three seeds", columns=COLUMNS, rows=tuple(table), note=NOTE),
        ),
    )


def mean_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    named = {key: rows[0][key] for key in ("data", "method", "way")}
    keys = ("mase", "pinball", "coverage_80", "coverage_95", "width_80", "width_95", "off_ahead", "seconds")
    return named | {key: float(np.mean([row[key] for row in rows])) for key in keys}


ORIGINS = (
    "Zhou et al., ETDataset (github.com/zhouhaoyi/ETDataset)",
    "Lai et al., LSTNet's data repository (github.com/laiguokun/multivariate-time-series-data)",
)
NOTE = (
    "`farthest` is the largest distance of a coverage from its level in any quarter of the horizon. Seconds "
    "are CPU time of everything: two fits, forecasts and calibration."
)
COLUMNS = (
    Column(key="data", label="data"),
    Column(key="method", label="network"),
    Column(key="way", label="intervals"),
    Column(key="mase", label="MASE", format=".3f"),
    Column(key="pinball", label="pinball", format=".4f"),
    Column(key="coverage_80", label="coverage at 80 %", format=".1%"),
    Column(key="coverage_95", label="at 95 %", format=".1%"),
    Column(key="width_80", label="width at 80 %", format=".2f"),
    Column(key="width_95", label="at 95 %", format=".2f"),
    Column(key="off_ahead", label="farthest", format=".1%"),
    Column(key="seconds", label="seconds", format=".0f"),
)

if __name__ == "__main__":
    main()
