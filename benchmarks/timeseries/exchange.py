"""exchange_rate: closed-form linear methods against the last value, and what `auto` makes of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions
from statewise.core.config import config_class
from statewise.timeseries import auto
from statewise.timeseries.auto import AutoResult
from statewise.timeseries.config import AutoConfig, BacktestConfig
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models import MODELS
from statewise.timeseries.models.dlinear import DLinear, DLinearConfig
from statewise.timeseries.models.naive import Drift, DriftConfig, Naive, NaiveConfig
from statewise.timeseries.models.nlinear import NLinear, NLinearConfig
from statewise.timeseries.panel import Panel, Series

NAME = "timeseries/exchange"
LOOKBACK, HORIZONS = 336, (96, 192, 336, 720)
STEP = Frequency("step")
AUTO = AutoConfig(
    methods=("nlinear", "dlinear"),
    budget=None,
    backtest=BacktestConfig(validation=0.1, test=0.2, dense=300, values=10**8),
)

PROTOCOL = {
    "data": "exchange_rate, all eight series; first 70 % train, next 10 % validation, last 20 % test",
    "windows": "stride 1, lookback 336, every window counts; a window may begin in the part before",
    "scaling": "mean and population deviation of the training rows; errors are of scaled values",
    "stamps": "not used: the file's calendar is a made-up one for business days",
    "auto": "chooses on folds of the training rows and on the validation rows, as `--model auto` does, from "
    "at most 300 origins in each; what it chose is then fitted on training and validation rows",
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
    """Every method, and what validation chooses for each series."""
    context = Context(horizon=horizon, period=1, frequency=STEP, threads=1)
    origins = np.arange(validation, end_of(panel) - horizon + 1)
    judged, tested, seconds = {}, {}, {}
    for name, method in methods().items():
        begin = time.process_time()
        method.fit(panel.head([train] * len(panel)), context)
        judged[name] = score(method, panel, np.arange(train, validation - horizon + 1), horizon)[0]
        tested[name] = score(method, panel, origins, horizon)
        seconds[name] = time.process_time() - begin
    begin = time.process_time()
    result = auto.run(panel, context, AUTO)
    seconds["auto"] = time.process_time() - begin
    tested["auto"] = errors(chosen_forecasts(result, panel, validation, origins, context), panel, origins)
    return [
        {
            "method": name,
            "horizon": horizon,
            "validation": judged.get(name),
            "mse": mse,
            "mae": mae,
            "chosen": counted(result) if name == "auto" else None,
            "to_naive": mse / tested["naive"][0] - 1,
            "seconds": seconds.get(name),
        }
        for name, (mse, mae) in tested.items()
    ]


def counted(result: AutoResult) -> str:
    """The methods chosen and for how many series, most used first."""
    names = [one.method for one in result.choices.values()]
    return ", ".join(f"{name} {names.count(name)}" for name in sorted(set(names), key=names.count)[::-1])


def chosen_forecasts(
    result: AutoResult, panel: Panel, stop: int, origins: np.ndarray, context: Context
) -> np.ndarray:
    """What the chosen methods, fitted on the rows before `stop`, say at every origin, (S, O, H)."""
    made: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(one.method for one in result.choices.values()):
        target = MODELS.load(name)
        method: Forecaster = target(result.portfolio.methods[name].config)
        assert isinstance(method.config, config_class(target))
        method.fit(panel.head([stop] * len(panel)), context)
        every = method.predict(panel, [origins] * len(panel))
        made |= {
            series: one
            for series, one in zip(panel.ids, every, strict=True)
            if result.choices[series].method == name
        }
    return np.stack([made[series] for series in panel.ids])


def end_of(panel: Panel) -> int:
    return len(panel.series[0])


def score(method: Forecaster, panel: Panel, origins: np.ndarray, horizon: int) -> tuple[float, float]:
    """MSE and MAE over all windows and series."""
    made = method.predict(panel.head([int(origins[-1]) + horizon] * len(panel)), [origins] * len(panel))
    return errors(np.stack(made), panel, origins)


def errors(made: np.ndarray, panel: Panel, origins: np.ndarray) -> tuple[float, float]:
    """MSE and MAE of forecasts (S, O, H)."""
    horizon = made.shape[2]
    truth = [np.lib.stride_tricks.sliding_window_view(s.values, horizon)[origins] for s in panel.series]
    missed = made - np.stack(truth)
    return float(np.mean(missed**2)), float(np.mean(np.abs(missed)))


def report(path: Path, rows: list[dict[str, Any]]) -> Result:
    own = [row for row in rows if row["method"] == "auto"]
    worst = max(row["to_naive"] for row in own)
    said = "; ".join(f"{row['horizon']}: {row['chosen']}" for row in own)
    left = ", ".join(str(horizon) for horizon in HORIZONS if horizon not in {row["horizon"] for row in own})
    said += f". Not measured for it yet: {left}" if left else ""
    return Result(
        benchmark=NAME,
        title="exchange_rate: the last value, and when to leave it",
        summary=f"`auto` errs at most {worst:+.1%} more than the last value. It leaves it only for a gain "
        "that is more than chance over separate horizons. Its choices by horizon, with the number of series: "
        f"{said}.",
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
