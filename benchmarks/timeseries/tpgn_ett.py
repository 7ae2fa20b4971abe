"""TPGN under the protocol of its paper: ETTh1, oil temperature alone, horizons 168 to 1440, three seeds.

Every finished (horizon, seed) is kept in a ledger, so that the script can be stopped and started again.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.results import Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from statewise.core.train import FitConfig, fit, seeded
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.naive import SeasonalNaive, SeasonalNaiveConfig
from statewise.timeseries.models.nlinear import NLinear, NLinearConfig
from statewise.timeseries.models.tpgn import TPGN, TPGNConfig
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.task import WindowTask, errors
from statewise.timeseries.windows import Windows

NAME = "timeseries/tpgn_ett"
LOOKBACK, PERIOD, BATCH = 168, 24, 32
HIDDEN = {168: 2, 336: 2, 720: 2, 1440: 8}
PAPER = {168: (0.1061, 0.2533), 336: (0.1110, 0.2625), 720: (0.1346, 0.2908), 1440: (0.1343, 0.2941)}
SEEDS = (0, 1, 2)
HOUR = Frequency("hour")

PROTOCOL = {
    "data": "ETTh1, target OT alone, all 17,420 rows; 60 % train, 20 % validation, 20 % test, in order",
    "windows": "stride 1; lookback 168; inputs of a validation or test window may reach into the part before",
    "scaling": "mean and population deviation of the training rows; errors are of scaled values",
    "inputs": "the value and four calendar features per step (hour, weekday, day of month, day of year)",
    "model": "one layer, period 24, each window standardised by itself; d = 2, 2, 2, 8 for the four horizons",
    "training": "Adam, rate 0.001 in epochs 1 and 2, then times 0.9 per epoch; batch 32, shuffled, the last "
    "partial batch left out; mean squared error; at most 25 epochs, patience 5 on validation error",
    "evaluation": "MSE and MAE over all test windows; the columns 'paper's windows' leave out the last "
    "partial batch of 32, as the paper does",
    "seeds": "three, each of the initial weights and of the order; the paper averages five",
    "threads": "one",
    "differs from the paper": "validation uses all windows, the paper's leaves out a random partial batch",
}


def main() -> None:
    path = data_file("timeseries/ETTh1.csv")
    panel = load(path)
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("horizon", "seed"))
    for seed in SEEDS:
        for horizon in HIDDEN:
            if ledger.find(horizon=horizon, seed=seed) is None:
                ledger.add(measure(panel, horizon, seed))
                print(ledger.rows[-1], flush=True)
    rows = [ledger.find(horizon=horizon, seed=seed) for horizon in HIDDEN for seed in SEEDS]
    rows = [row for row in rows if row is not None]
    table = [summarise(horizon, [r for r in rows if r["horizon"] == horizon], panel) for horizon in HIDDEN]
    publish(report(path, rows, table))


def load(path: Path) -> Panel:
    frame = pl.read_csv(path, try_parse_dates=True)
    times = frame["date"].to_numpy().astype("datetime64[us]")
    values = frame["OT"].to_numpy().astype(np.float64)
    return Panel(series=(Series(id="OT", times=times, values=values),), frequency=HOUR)


def borders(panel: Panel) -> tuple[int, int, int]:
    """Rows at which training, validation and test end."""
    n = len(panel.series[0])
    return int(0.6 * n), n - int(0.2 * n), n


def measure(panel: Panel, horizon: int, seed: int) -> dict[str, Any]:
    """Train with one seed; test errors and what it took."""
    train, validation, end = borders(panel)
    context = Context(horizon=horizon, period=PERIOD, frequency=HOUR)
    inputs = Inputs.fit(panel, [train], context, LOOKBACK)
    windows = Windows(panel, inputs, [0])
    with seeded(seed):
        model = TPGN(TPGNConfig(lookback=LOOKBACK, horizon=horizon, period=PERIOD, hidden=HIDDEN[horizon]))
    task = WindowTask(
        model,
        windows,
        train=windows.starts(0, LOOKBACK, train - horizon),
        validation=windows.starts(0, train, validation - horizon),
    )
    before = time.process_time()
    result = fit(task, recipe(seed))
    seconds = time.process_time() - before
    sums = errors(model, windows, windows.starts(0, validation, end - horizon))
    kept = sums[: len(sums) // BATCH * BATCH]
    squares, absolutes, count = sums.sum(dim=0).tolist()
    kept_squares, kept_absolutes, kept_count = kept.sum(dim=0).tolist()
    return {
        "horizon": horizon,
        "seed": seed,
        "mse": squares / count,
        "mae": absolutes / count,
        "paper_windows_mse": kept_squares / kept_count,
        "paper_windows_mae": kept_absolutes / kept_count,
        "windows": len(sums),
        "validation_mse": result.best["val_mse"],
        "best_epoch": result.best["epoch"],
        "epochs": result.epochs,
        "cpu_seconds": round(seconds, 2),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def recipe(seed: int) -> FitConfig:
    return FitConfig(
        epochs=25,
        patience=5,
        batch_size=BATCH,
        drop_last=True,
        learning_rate=1e-3,
        schedule="exponential",
        decay=0.9,
        hold_epochs=2,
        clip=None,
        seed=seed,
        device="cpu",
        threads=1,
    )


def baselines(panel: Panel, horizon: int) -> tuple[float, float]:
    """Test MSE of the seasonal naive forecast and of ridge NLinear, which see no test row and no calendar."""
    train, validation, end = borders(panel)
    values = panel.series[0].values
    scale = values[:train].std()
    origins = np.arange(validation, end - horizon + 1)
    truth = np.lib.stride_tricks.sliding_window_view(values, horizon)[origins]
    context = Context(horizon=horizon, period=PERIOD, frequency=HOUR)
    scores = []
    for method in (SeasonalNaive(SeasonalNaiveConfig()), NLinear(NLinearConfig(lookback=LOOKBACK))):
        method.fit(panel.head([validation]), context)
        (forecast,) = method.predict(panel, [origins])
        scores.append(float(np.mean(((forecast - truth) / scale) ** 2)))
    return scores[0], scores[1]


def summarise(horizon: int, rows: list[dict[str, Any]], panel: Panel) -> dict[str, Any]:
    """One row of the table: means over the seeds."""
    naive, nlinear = baselines(panel, horizon)
    mse = [row["mse"] for row in rows]
    return {
        "horizon": horizon,
        "hidden": HIDDEN[horizon],
        "parameters": rows[0]["parameters"],
        "mse": fmean(mse),
        "mse_deviation": stdev(mse),
        "paper_mse": PAPER[horizon][0],
        "difference": fmean(mse) / PAPER[horizon][0] - 1,
        "mae": fmean(row["mae"] for row in rows),
        "paper_mae": PAPER[horizon][1],
        "paper_windows_mse": fmean(row["paper_windows_mse"] for row in rows),
        "paper_windows_mae": fmean(row["paper_windows_mae"] for row in rows),
        "naive_mse": naive,
        "nlinear_mse": nlinear,
        "windows": rows[0]["windows"],
        "epochs": fmean(row["epochs"] for row in rows),
        "cpu_seconds": fmean(row["cpu_seconds"] for row in rows),
    }


def report(path: Path, rows: list[dict[str, Any]], table: list[dict[str, Any]]) -> Result:
    low, high = min(row["difference"] for row in table), max(row["difference"] for row in table)
    return Result(
        benchmark=NAME,
        title="TPGN on ETTh1, the paper's protocol",
        summary=f"Mean test MSE over {len(SEEDS)} seeds and all windows differs by {low:+.1%} to {high:+.1%} "
        "from the figures of Jia et al., NeurIPS 2024, table 1. The task is univariate with a lookback of "
        "168: these figures cannot be compared with multivariate tables for horizons 96 to 720.",
        versions=versions("statewise-core", "statewise-timeseries", "torch", "numpy"),
        protocol=PROTOCOL,
        data=(
            fingerprint(
                path,
                origin="Zhou et al., ETDataset (github.com/zhouhaoyi/ETDataset)",
                licence="CC BY-ND 4.0",
            ),
        ),
        seeds=SEEDS,
        rows=tuple(rows),
        tables=(
            Table(title="Test error", columns=ERRORS, rows=tuple(table), note=ERRORS_NOTE),
            Table(title="Baselines and cost", columns=COSTS, rows=tuple(table), note=COSTS_NOTE),
        ),
    )


ERRORS = (
    Column(key="horizon", label="H"),
    Column(key="mse", label="MSE", format=".4f"),
    Column(key="mse_deviation", label="± seeds", format=".4f"),
    Column(key="paper_mse", label="paper's MSE", format=".4f"),
    Column(key="difference", label="difference", format="+.1%"),
    Column(key="mae", label="MAE", format=".4f"),
    Column(key="paper_mae", label="paper's MAE", format=".4f"),
    Column(key="paper_windows_mse", label="MSE, paper's windows", format=".4f"),
    Column(key="paper_windows_mae", label="MAE, paper's windows", format=".4f"),
)
ERRORS_NOTE = "Each figure is the mean of three seeds, ± their standard deviation."
COSTS = (
    Column(key="horizon", label="H"),
    Column(key="mse", label="TPGN's MSE", format=".4f"),
    Column(key="naive_mse", label="seasonal naive (24)", format=".4f"),
    Column(key="nlinear_mse", label="ridge NLinear (168)", format=".4f"),
    Column(key="windows", label="test windows"),
    Column(key="hidden", label="d"),
    Column(key="parameters", label="parameters"),
    Column(key="epochs", label="epochs", format=".1f"),
    Column(key="cpu_seconds", label="CPU seconds per fit", format=".0f"),
)
COSTS_NOTE = (
    "MSE over the same windows. TPGN is given the calendar, the baselines are not; ridge NLinear is solved "
    "on the training and validation rows. CPU seconds of one thread of a shared machine: an order of "
    "magnitude."
)


if __name__ == "__main__":
    main()
