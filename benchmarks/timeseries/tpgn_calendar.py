"""TPGN with and without the calendar among its inputs: ETTh1, oil temperature, 168 hours to 1440."""

from __future__ import annotations

import time
from statistics import fmean
from typing import Any

import torch

from benchmarks.results import Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from benchmarks.timeseries.tpgn_ett import HIDDEN, HOUR, LOOKBACK, PERIOD, PROTOCOL, borders, load, recipe
from statewise.core.train import fit, seeded
from statewise.timeseries.forecaster import Context
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.tpgn import TPGN, TPGNConfig
from statewise.timeseries.panel import Panel
from statewise.timeseries.task import WindowTask, errors
from statewise.timeseries.windows import Windows

NAME = "timeseries/tpgn_calendar"
HORIZON, SEEDS = 1440, (0, 1, 2)


def main() -> None:
    panel = load(data_file("timeseries/ETTh1.csv"))
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("calendar", "seed"))
    for seed in SEEDS:
        for calendar in (True, False):
            if ledger.find(calendar=calendar, seed=seed) is None:
                ledger.add(measure(panel, seed, calendar=calendar))
                print(ledger.rows[-1], flush=True)
    publish(report([row for row in ledger.rows if row["seed"] in SEEDS]))


def measure(panel: Panel, seed: int, *, calendar: bool) -> dict[str, Any]:
    """Train with one seed; test errors."""
    train, validation, end = borders(panel)
    context = Context(horizon=HORIZON, period=PERIOD, frequency=HOUR)
    inputs = Inputs.fit(panel, [train], context, LOOKBACK, calendar=calendar)
    windows = Windows(panel, inputs, [0])
    shape = TPGNConfig(
        lookback=LOOKBACK,
        horizon=HORIZON,
        period=PERIOD,
        hidden=HIDDEN[HORIZON],
        features=inputs.features,
    )
    with seeded(seed):
        model = TPGN(shape)
    task = WindowTask(
        model,
        windows,
        train=windows.starts(0, LOOKBACK, train - HORIZON),
        validation=windows.starts(0, train, validation - HORIZON),
    )
    before = time.process_time()
    result = fit(task, recipe(seed))
    seconds = time.process_time() - before
    sums = errors(model, windows, windows.starts(0, validation, end - HORIZON)).sum(dim=0).tolist()
    return {
        "calendar": calendar,
        "seed": seed,
        "mse": sums[0] / sums[2],
        "mae": sums[1] / sums[2],
        "validation_mse": result.best["val_mse"],
        "epochs": result.epochs,
        "cpu_seconds": round(seconds, 1),
    }


def report(rows: list[dict[str, Any]]) -> Result:
    table = []
    for calendar in (True, False):
        own = [row for row in rows if row["calendar"] == calendar]
        means = {key: fmean(row[key] for row in own) for key in ("mse", "mae", "validation_mse")}
        table.append({"calendar": calendar, "seeds": len(own)} | means)
    given, withheld = (row["mse"] for row in table)
    return Result(
        benchmark=NAME,
        title="What the calendar is to TPGN",
        summary=f"From a week to two months ahead TPGN's test MSE is {given:.3f} with the calendar among its "
        f"inputs and {withheld:.3f} without: {withheld / given - 1:+.0%}. Tables that give the calendar to "
        f"one "
        "method and not to another compare the inputs, not the methods.",
        versions=versions("statewise-core", "statewise-timeseries", "torch", "numpy"),
        protocol={key: text for key, text in PROTOCOL.items() if key != "inputs"}
        | {"inputs": "the value; with the calendar four features per step beside it; d = 8 in both cases"},
        seeds=SEEDS,
        data=(
            fingerprint(
                data_file("timeseries/ETTh1.csv"),
                origin="Zhou et al., ETDataset (github.com/zhouhaoyi/ETDataset)",
                licence="CC BY-ND 4.0",
            ),
        ),
        rows=tuple(rows),
        tables=(Table(title="Test error, mean of the seeds", columns=COLUMNS, rows=tuple(table)),),
    )


COLUMNS = (
    Column(key="calendar", label="calendar"),
    Column(key="mse", label="MSE", format=".4f"),
    Column(key="mae", label="MAE", format=".4f"),
    Column(key="validation_mse", label="validation MSE", format=".4f"),
    Column(key="seeds", label="seeds"),
)

if __name__ == "__main__":
    main()
