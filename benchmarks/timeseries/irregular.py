"""Rows at irregular times: S5 given the times as step sizes, the order alone, or means over steps.

The data are made here: two oscillations whose period is a few rows, read at the times of a Poisson process.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.timeseries.data import read
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.naive import Naive, NaiveConfig
from statewise.timeseries.models.nlinear import NLinear, NLinearConfig
from statewise.timeseries.models.recurrent import RecurrentForecasterConfig, RecurrentNetwork, S5Forecaster
from statewise.timeseries.models.row_network import RowNetwork
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.panel import Panel

NAME = "timeseries/irregular"
ROWS, HORIZON, LOOKBACK, EPOCHS, TEST = 3000, 6, 42, 12, 0.2
SEEDS = (0, 1, 2)
PERIODS, NOISE = (
    (9.3, 5.7),
    0.1,
)  # of the oscillations in hours, the mean time between rows being one; deviation

PROTOCOL = {
    "data": f"{ROWS} rows of sin(2 pi t / {PERIODS[0]}) + 0.6 sin(2 pi t / {PERIODS[1]} + 1) + noise of "
    f"deviation {NOISE}, t in hours; times between rows exponential with mean one hour; each seed its own",
    "grid": "found by the reader from the median of the times: 30 minutes; a step without a row is unknown",
    "forecast": f"the next {HORIZON} steps of the grid from every step of the last fifth; errors over the "
    "steps that have a row, squared errors over the variance of the series",
    "split": "the last fifth of the grid is test; of the rest the last fifth chooses the weights",
    "fit": f"S5 as `forecast fit --model s5` has it, {LOOKBACK} rows or steps of lookback, at most {EPOCHS} "
    "epochs, stopped after 8 without a better validation error; no calendar; one thread",
    "order only": "the same network and the same rows, every step size one",
    "resampled": "`--resample`: S5 on patches of the grid, its gaps filled from the past and marked",
}
METHODS = {
    "s5, step sizes": "rows with their times",
    "s5, order only": "rows without their times",
    "s5, resampled": "the grid",
    "nlinear": "the grid",
    "last value": "the grid",
}


class _OrderNetwork(RowNetwork):
    """Every step of the same length."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[..., 1] = x[..., 2]
        return super().forward(x)


class _OrderOnly(S5Forecaster):
    """S5 on rows whose times it is not told."""

    def build(self, inputs: Inputs) -> RecurrentNetwork | RowNetwork:
        network = super().build(inputs)
        return _OrderNetwork(network.config)


def frame(seed: int, rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    hours = np.cumsum(rng.exponential(1.0, rows))
    first, second = (
        np.sin(2 * np.pi * hours / period + shift) for period, shift in zip(PERIODS, (0, 1), strict=True)
    )
    y = first + 0.6 * second + NOISE * rng.normal(size=rows)
    stamps = np.datetime64("2024-01-01", "us") + (hours * 3.6e9).astype(np.int64).astype("timedelta64[us]")
    return pl.DataFrame({"time": stamps, "y": y})


def build(name: str) -> Forecaster:
    settings = RecurrentForecasterConfig(lookback=LOOKBACK, calendar=False)
    if name == "nlinear":
        return NLinear(NLinearConfig())
    if name == "last value":
        return Naive(NaiveConfig())
    return (_OrderOnly if name == "s5, order only" else S5Forecaster)(settings)


def measure(name: str, seed: int, rows: int, epochs: int) -> dict[str, Any]:
    options = ReadOptions(resample=name == "s5, resampled")
    panel: Panel = read([frame(seed, rows)], options).panel
    (series,) = panel.series
    length = len(series)
    begin = int((1 - TEST) * length)
    context = Context(
        horizon=HORIZON, period=1, frequency=panel.frequency, seed=seed, epochs=epochs, threads=1
    )
    method, start = build(name), time.process_time()
    method.fit(panel.head([begin]), context)
    seconds = time.process_time() - start
    origins = np.arange(begin, length - HORIZON + 1)
    (made,) = method.predict(panel, [origins])
    actual = series.values[origins[:, None] + np.arange(HORIZON)]
    squares = (actual - made) ** 2 / np.nanvar(series.values)
    return {
        "method": name,
        "seed": seed,
        "mse": float(np.nanmean(squares)),
        "first": float(np.nanmean(squares[:, 0])),
        "last": float(np.nanmean(squares[:, -1])),
        "seconds": seconds,
        "origins": len(origins),
    }


def main() -> None:
    rows, epochs = (600, 1) if "--quick" in sys.argv else (ROWS, EPOCHS)
    if "--quick" in sys.argv:
        for name in METHODS:
            print(measure(name, 0, rows, epochs))
        return
    ledger = Ledger(NAME, ("method", "seed"))
    done = []
    for seed in SEEDS:
        for name in METHODS:
            row = ledger.find(method=name, seed=seed)
            if row is None:
                row = measure(name, seed, rows, epochs)
                ledger.add(row)
            print(row, flush=True)
            done.append(row)
    publish(report(done))


def report(rows: list[dict[str, Any]]) -> Result:
    table = [summary(name, rows) for name in METHODS]
    with_times, order, grid = (table[place]["mse"] for place in range(3))
    other = "less" if with_times < grid else "more"
    return Result(
        benchmark=NAME,
        title="Irregular times as step sizes",
        summary="S5 that is given the time of each row as its step size errs "
        f"{1 - with_times / order:.0%} less (squared error, mean of three seeds) than the same network that "
        f"sees the order of the rows alone, and {abs(1 - with_times / grid):.0%} {other} than S5 on the "
        f"resampled series, in {table[0]['seconds'] / table[2]['seconds']:.1f} times its training time. "
        "The signal moves a good part of its period between two rows, which is where times matter; a series "
        "that is smooth at the distance of its rows has nothing to gain.",
        versions=versions("statewise-core", "statewise-timeseries", "torch", "numpy"),
        protocol=PROTOCOL,
        seeds=SEEDS,
        rows=tuple(rows),
        tables=(Table(title="Error on the test rows", columns=COLUMNS, rows=tuple(table), note=NOTE),),
    )


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    own = [row for row in rows if row["method"] == name]
    mse = [row["mse"] for row in own]
    means = {key: float(np.mean([row[key] for row in own])) for key in ("mse", "first", "last", "seconds")}
    return {"method": name, "reads": METHODS[name], "least": min(mse), "most": max(mse)} | means


NOTE = (
    "Squared error over the variance of the series: 1 is what the mean would reach. Mean of three seeds, "
    "with the least and the largest of them; seconds are CPU time of a fit."
)
COLUMNS = (
    Column(key="method", label="method"),
    Column(key="reads", label="reads"),
    Column(key="mse", label="error", format=".3f"),
    Column(key="least", label="least", format=".3f"),
    Column(key="most", label="largest", format=".3f"),
    Column(key="first", label="1 step ahead", format=".3f"),
    Column(key="last", label=f"{HORIZON} steps ahead", format=".3f"),
    Column(key="seconds", label="seconds", format=".1f"),
)

if __name__ == "__main__":
    main()
