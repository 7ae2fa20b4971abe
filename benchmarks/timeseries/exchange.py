"""exchange_rate: closed-form linear methods against repeating the last value, and the choice between them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models.dlinear import DLinear, DLinearConfig
from statewise.timeseries.models.naive import Drift, DriftConfig, Naive, NaiveConfig
from statewise.timeseries.models.nlinear import NLinear, NLinearConfig
from statewise.timeseries.panel import Panel, Series

NAME = "timeseries/exchange"
LOOKBACK, HORIZONS = 336, (96, 192, 336, 720)
STEP = Frequency("step")
TOLERANCE = 0.01

PROTOCOL = {
    "data": "exchange_rate, all eight series; first 70 % train, next 10 % validation, last 20 % test",
    "windows": "stride 1, lookback 336, every window counts; a window may begin in the part before",
    "scaling": "mean and population deviation of the training rows; errors are of scaled values",
    "stamps": "not used: the file's calendar is a made-up one for business days",
    "choice": "the simplest method whose error on the validation windows is within 1 % of the least, as in "
    "`--model auto`; then fitted on training and validation rows",
    "threads": "one",
}


def main() -> None:
    path = data_file("timeseries/exchange_rate.csv")
    panel, train, validation = load(path)
    rows = []
    for horizon in HORIZONS:
        rows += measure(panel, horizon, train, validation)
        print(rows[-1], flush=True)
    publish(report(path, rows))


def load(path: Path) -> tuple[Panel, int, int]:
    """All columns, scaled by their training rows; where training and validation end."""
    frame = pl.read_csv(path)
    n = frame.height
    train, test = int(0.7 * n), int(0.2 * n)
    series = []
    for name in frame.columns[1:]:
        values = frame[name].to_numpy().astype(np.float64)
        scaled = (values - values[:train].mean()) / values[:train].std()
        series.append(Series(id=name, times=np.arange(n), values=scaled))
    return Panel(series=tuple(series), frequency=STEP), train, n - test


def methods() -> dict[str, Forecaster]:
    """Simplest first."""
    return {
        "naive": Naive(NaiveConfig()),
        "drift": Drift(DriftConfig()),
        "nlinear": NLinear(NLinearConfig(lookback=LOOKBACK)),
        "dlinear": DLinear(DLinearConfig(lookback=LOOKBACK)),
    }


def measure(panel: Panel, horizon: int, train: int, validation: int) -> list[dict[str, Any]]:
    """Every method, and the one that validation chooses."""
    context = Context(horizon=horizon, period=1, frequency=STEP)
    judged, tested, seconds = {}, {}, {}
    for name, method in methods().items():
        begin = time.process_time()
        method.fit(panel.head([train] * len(panel)), context)
        judged[name] = score(method, panel, np.arange(train, validation - horizon + 1), horizon)[0]
        tested[name] = score(method, panel, np.arange(validation, end_of(panel) - horizon + 1), horizon)
        seconds[name] = time.process_time() - begin
    least = min(judged.values())
    chosen = next(name for name, error in judged.items() if error <= (1 + TOLERANCE) * least)
    method = methods()[chosen]
    method.fit(panel.head([validation] * len(panel)), context)
    tested["choice"] = score(method, panel, np.arange(validation, end_of(panel) - horizon + 1), horizon)
    return [
        {
            "method": name,
            "horizon": horizon,
            "validation": judged.get(name),
            "mse": mse,
            "mae": mae,
            "chosen": chosen if name == "choice" else None,
            "to_naive": mse / tested["naive"][0] - 1,
            "seconds": seconds.get(name),
        }
        for name, (mse, mae) in tested.items()
    ]


def end_of(panel: Panel) -> int:
    return len(panel.series[0])


def score(method: Forecaster, panel: Panel, origins: np.ndarray, horizon: int) -> tuple[float, float]:
    """MSE and MAE over all windows and series."""
    made = method.predict(panel.head([int(origins[-1]) + horizon] * len(panel)), [origins] * len(panel))
    truth = [np.lib.stride_tricks.sliding_window_view(s.values, horizon)[origins] for s in panel.series]
    errors = np.stack(made) - np.stack(truth)
    return float(np.mean(errors**2)), float(np.mean(np.abs(errors)))


def report(path: Path, rows: list[dict[str, Any]]) -> Result:
    choices = [row for row in rows if row["method"] == "choice"]
    worst = max(row["to_naive"] for row in choices)
    said = ", ".join(f"{row['chosen']} for {row['horizon']}" for row in choices)
    return Result(
        benchmark=NAME,
        title="exchange_rate: nothing beats the last value",
        summary=f"No method here beats repeating the last value on the test rows. The choice by validation "
        f"error "
        f"({said}) errs up to {worst:+.1%} more than it: the validation rows show a drift that the test "
        f"rows do "
        "not, and with horizons this long they hold few independent windows to tell chance from gain.",
        versions=versions("statewise-core", "statewise-timeseries", "numpy"),
        protocol=PROTOCOL,
        data=(
            fingerprint(
                path,
                origin="Lai et al., LSTNet's data (github.com/laiguokun/multivariate-time-series-data)",
                licence="none stated",
            ),
        ),
        rows=tuple(rows),
        tables=(Table(title="Test error", columns=COLUMNS, rows=tuple(rows)),),
    )


COLUMNS = (
    Column(key="horizon", label="H"),
    Column(key="method", label="method"),
    Column(key="chosen", label="chosen"),
    Column(key="validation", label="validation MSE", format=".4f"),
    Column(key="mse", label="MSE", format=".4f"),
    Column(key="mae", label="MAE", format=".4f"),
    Column(key="to_naive", label="to the last value", format="+.1%"),
    Column(key="seconds", label="CPU s", format=".1f"),
)

if __name__ == "__main__":
    main()
