"""ETTh1, all seven series, horizons 96 to 720: every family of methods under one protocol, in CPU minutes.

Every finished (method, horizon) is kept in a ledger, so that the script can be stopped and started again; it
publishes what there is. `--only NAME` measures one method.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.results import Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from benchmarks.timeseries.exchange import chosen_forecasts, counted, errors
from benchmarks.timeseries.nlinear_ett import HORIZONS, HOUR, PERIOD, TEST, TRAIN, VALIDATION, load
from statewise.core.config import config_class
from statewise.timeseries import auto
from statewise.timeseries.config import AutoConfig, BacktestConfig
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.models import MODELS
from statewise.timeseries.panel import Panel

NAME = "timeseries/ett_multivariate"
LOOKBACK = 336
HELD_OUT = (VALIDATION - TRAIN) / VALIDATION
SETTINGS: dict[str, dict[str, Any]] = {
    "naive": {},
    "seasonal-naive": {},
    "linear": {"lookback": LOOKBACK},
    "nlinear": {"lookback": LOOKBACK},
    "dlinear": {"lookback": LOOKBACK},
    "chimera": {"patch": 24, "learning_rate": 3e-4},
    "itransformer": {},
    "lru": {"learning_rate": 3e-4},
    "s5": {"learning_rate": 3e-4},
    "tpgn": {},
    "patchtst": {},
    "gla": {"learning_rate": 3e-4},
    "mamba": {"learning_rate": 3e-4},
}
"""Methods in the order they are measured, and what differs from their defaults."""
AUTO = AutoConfig(
    methods=("nlinear", "dlinear"), budget=None, backtest=BacktestConfig(dense=300, values=10**8)
)
"""`auto` without networks: what a minute of a CPU allows it here."""
SEEDS = {"chimera": (0, 1, 2), "tpgn": (0, 1, 2)}
"""One where nothing is said."""
EPOCHS = {"chimera": 2, "itransformer": 2, "tpgn": 2}
"""Passes over the training windows of a network; one where nothing is said."""
PAPERS = {"nlinear": 0.413, "dlinear": 0.423, "patchtst": 0.417}
"""Published averages over the four horizons at L = 336: Zeng et al. 2023, Nie et al. 2023."""
CHIMERA = 0.405
"""What a secondary source gives for the average in Chimera's paper; its lookback is not known."""

PROTOCOL = {
    "data": "ETTh1, all seven series; rows 0..8639 train, ..11519 validation, ..14399 test",
    "windows": "stride 1, lookback 336, every test window counts; a window may begin in the part before",
    "scaling": "mean and population deviation of the training rows; errors are of scaled values",
    "inputs": "values alone, no calendar: the training rows hold one year, so that the day of the year is an "
    "index of them",
    "networks": "Adam, rate 0.001 (Chimera, LRU, S5, GLA, Mamba: 0.0003) along a cosine, one pass over the "
    "training windows (Chimera, iTransformer, TPGN: two), the weights of the least validation error; three "
    "seeds for Chimera and TPGN, one for the others",
    "linear methods": "closed form on the training rows, strength chosen within them",
    "linear map beside": "Chimera, LRU, S5, GLA and Mamba add their output to a linear map that starts at "
    "the ridge solution of the training rows",
    "auto": "naive and linear methods, their lookback chosen too, and a blend; chosen on folds of the "
    "training rows and on the validation rows, then fitted on both and tested; no network takes part, "
    "and nothing in it is random",
    "threads": "one; seconds are CPU time of a shared machine: an order of magnitude",
}


def main() -> None:
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else None
    torch.set_num_threads(1)
    path = data_file("timeseries/ETTh1.csv")
    panel = load(path)
    ledger = Ledger(NAME, key=("method", "horizon", "seed"))
    for name, horizon, seed in parts((*SETTINGS, auto.AUTO) if only is None else (only,)):
        if ledger.find(method=name, horizon=horizon, seed=seed) is None:
            run = measure_auto if name == auto.AUTO else measure
            ledger.add(run(name, panel, horizon, seed))
            print(ledger.rows[-1], flush=True)
    found = [ledger.find(method=m, horizon=h, seed=s) for m, h, s in parts((*SETTINGS, auto.AUTO))]
    publish(report([row for row in found if row is not None]))


def parts(names: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """Method, horizon and seed of every fit."""
    return [(name, horizon, seed) for name in names for seed in SEEDS.get(name, (0,)) for horizon in HORIZONS]


def measure(name: str, panel: Panel, horizon: int, seed: int) -> dict[str, Any]:
    """Fit one method and score it over all test windows."""
    family = MODELS[name].facts["family"]
    target = MODELS.load(name)
    settings = dict(SETTINGS[name])
    if family == "neural":
        settings |= {"lookback": LOOKBACK, "validation": HELD_OUT, "calendar": False}
    method: Forecaster = target(config_class(target)(**settings))
    seen = VALIDATION if family == "neural" else TRAIN
    context = Context(horizon=horizon, period=PERIOD, frequency=HOUR, seed=seed, threads=1)
    begin = time.process_time()
    method.fit(panel.head([seen] * len(panel)), replace(context, epochs=EPOCHS.get(name, 1)))
    fitted = time.process_time()
    origins = np.arange(VALIDATION, TEST - horizon + 1)
    forecasts = method.predict(panel.head([TEST] * len(panel)), [origins] * len(panel))
    done = time.process_time()
    mse, mae = errors(np.stack(forecasts), panel, origins)
    weights = [array.size for key, array in method.state().items() if key.startswith(("weights.", "maps"))]
    return {
        "method": name,
        "horizon": horizon,
        "seed": seed,
        "mse": mse,
        "mae": mae,
        "windows": len(origins),
        "parameters": sum(weights),
        "fit_seconds": round(fitted - begin, 1),
        "forecast_seconds": round(done - fitted, 1),
    }


def measure_auto(name: str, panel: Panel, horizon: int, seed: int) -> dict[str, Any]:
    """What `auto` chooses before the test rows, over all test windows."""
    context = Context(horizon=horizon, period=PERIOD, frequency=HOUR, seed=seed, threads=1)
    whole = panel.head([TEST] * len(panel))
    begin = time.process_time()
    result = auto.run(whole, context, AUTO)
    fitted = time.process_time()
    origins = np.arange(VALIDATION, TEST - horizon + 1)
    made = chosen_forecasts(result, whole, VALIDATION, origins, context)
    done = time.process_time()
    mse, mae = errors(made, whole, origins)
    return {
        "method": name,
        "horizon": horizon,
        "seed": seed,
        "mse": mse,
        "mae": mae,
        "windows": len(origins),
        "parameters": None,
        "fit_seconds": round(fitted - begin, 1),
        "forecast_seconds": round(done - fitted, 1),
        "chosen": described(result),
    }


def described(result: auto.AutoResult) -> str:
    """The choice; of a blend its weights."""
    blend = result.portfolio.methods.get("blend")
    if blend is None:
        return counted(result)
    weights = ", ".join(f"{w:.2f} {name}" for name, w in blend.config.weights.items())
    return f"{counted(result)}: {weights}"


def averages(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per method: MSE by horizon, mean over the seeds, and the means over all four horizons."""
    table = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        seeds = {row["seed"] for row in own}
        line: dict[str, Any] = {"method": name, "seeds": len(seeds), "paper": PAPERS.get(name)}
        line |= {f"mse_{h}": mean(own, "mse", horizon=h) for h in {row["horizon"] for row in own}}
        if len(own) == len(HORIZONS) * len(seeds):
            line["mse"], line["mae"] = mean(own, "mse"), mean(own, "mae")
            line["most"] = max(mean(own, "mse", seed=seed) for seed in seeds)
        line["seconds"] = mean(own, "fit_seconds")
        table.append(line)
    return table


def mean(rows: list[dict[str, Any]], key: str, **of: int) -> float:
    """The mean of a figure over the rows of a horizon or a seed."""
    return float(np.mean([row[key] for row in rows if all(row[name] == value for name, value in of.items())]))


def report(rows: list[dict[str, Any]]) -> Result:
    table = averages(rows)
    whole = [line for line in table if "mse" in line]
    best = min(whole, key=lambda line: line["mse"])
    chimera = next((line["mse"] for line in whole if line["method"] == "chimera"), None)
    ridge = next(line["mse"] for line in whole if line["method"] == "nlinear")
    said = "" if chimera is None else (
        f" Chimera averages {chimera:.4f}, ridge NLinear, from whose solution it starts, {ridge:.4f}; a "
        f"secondary source gives {CHIMERA:.3f} for Chimera's paper."
    )  # fmt: skip
    own = next((line["mse"] for line in whole if line["method"] == auto.AUTO), None)
    single = min(line["mse"] for line in whole if line["method"] != auto.AUTO)
    said += (
        ""
        if own is None
        else f" `auto` averages {own:.4f}, {own / single - 1:+.1%} to the best single method."
    )
    return Result(
        benchmark=NAME,
        title="ETTh1, seven series: all families of methods under one protocol",
        summary=f"The least average MSE over the four horizons is that of {best['method']}, "
        f"{best['mse']:.4f}.{said} Networks were given one or two passes over the training "
        "windows: this says what a short fit on a CPU comes to, not what each architecture can reach.",
        versions=versions("statewise-core", "statewise-timeseries", "numpy", "torch"),
        protocol=PROTOCOL,
        seeds=(0, 1, 2),
        data=(
            fingerprint(
                data_file("timeseries/ETTh1.csv"),
                origin="Zhou et al., ETDataset (github.com/zhouhaoyi/ETDataset)",
                licence="CC BY-ND 4.0",
            ),
        ),
        rows=tuple(rows),
        tables=(
            Table(title="Test MSE", columns=AVERAGES, rows=tuple(table), note=NOTE),
            Table(title="Every fit", columns=FITS, rows=tuple(rows)),
        ),
    )


NOTE = (
    "The paper's column is the published average over the four horizons, where a table with this lookback "
    "exists. Published networks were trained for many more passes."
)
AVERAGES = (
    Column(key="method", label="method"),
    *(Column(key=f"mse_{horizon}", label=f"H = {horizon}", format=".4f") for horizon in HORIZONS),
    Column(key="mse", label="average", format=".4f"),
    Column(key="most", label="worst seed", format=".4f"),
    Column(key="seeds", label="seeds"),
    Column(key="mae", label="MAE", format=".4f"),
    Column(key="paper", label="paper's average", format=".3f"),
    Column(key="seconds", label="fit, s", format=".1f"),
)
FITS = (
    Column(key="method", label="method"),
    Column(key="horizon", label="H"),
    Column(key="seed", label="seed"),
    Column(key="mse", label="MSE", format=".4f"),
    Column(key="mae", label="MAE", format=".4f"),
    Column(key="windows", label="windows"),
    Column(key="parameters", label="parameters"),
    Column(key="fit_seconds", label="fit, s", format=".1f"),
    Column(key="forecast_seconds", label="forecasts, s", format=".1f"),
    Column(key="chosen", label="chosen"),
)

if __name__ == "__main__":
    main()
