"""neuralforecast beside ours on ETTh1: same windows, one thread, equal CPU time; and both from a cold start.

The peer runs in an environment of its own, whose Python STATEWISE_PEERS names (see `peers.py`). Every
finished part is kept in a ledger, so that the script can be stopped and started again. `--quick` tries each
kind of part on a tiny budget and keeps nothing.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.results import ROOT, Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from benchmarks.timeseries.exchange import errors
from benchmarks.timeseries.nlinear_ett import HOUR, PERIOD, TEST, TRAIN, VALIDATION, load
from benchmarks.timeseries.peers import HELD_OUT, HORIZON, LOOKBACK
from statewise.core.config import config_class
from statewise.timeseries.forecaster import Context
from statewise.timeseries.models import MODELS

NAME = "timeseries/neuralforecast"
BUDGET = 45.0  # seconds of CPU time for the training of one network
PEERS = ("NLinear", "PatchTST", "LSTM")
OURS = {"nlinear": {}, "patchtst": {}, "lru": {"learning_rate": 3e-4}}
NETWORKS = {"validation": (VALIDATION - TRAIN) / VALIDATION, "calendar": False}
STARTS = {
    "neuralforecast, one step": "NLinear, `max_steps=1`: the start alone",
    "neuralforecast": "NLinear as it is by default",
    "statewise": "`forecast fit --model nlinear`: backtest, intervals and report too",
}
ROWS = 2000  # of the file from which a cold start forecasts
REPEATS = 3

PROTOCOL = {
    "data": "ETTh1, all seven series, each on its own; rows 0..8639 train, ..11519 validation, ..14399 test; "
    "scaled by mean and deviation of the training rows, errors are of scaled values",
    "windows": f"lookback {LOOKBACK}, horizon {HORIZON}, stride 1; every test window counts",
    "budget": f"{BUDGET:.0f} s of CPU time for the training of each network, on one thread of the same "
    "machine; nlinear of ours is in closed form and takes what it takes",
    "neuralforecast": "defaults of the package (learning rate, batch, width), squared error as loss, the "
    "weights of the last step; it trains on the training rows and has no use for the validation rows",
    "ours": "defaults (lru: learning rate 0.0003), the validation rows choose the weights; no calendar",
    "cold start": f"a fresh process from a CSV of {ROWS} hours of one series to one with the next 24 hours; "
    f"CPU time of the process and its children; least of {REPEATS} (default neuralforecast: one)",
}


def main() -> None:
    path = data_file("timeseries/ETTh1.csv")
    if "--ours" in sys.argv:
        at = sys.argv.index("--ours")
        print(json.dumps(ours(path, sys.argv[at + 1], float(sys.argv[at + 2]))))
        return
    quick = "--quick" in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(path, Path(folder), quick=quick)
    if not quick:
        publish(report(path, rows))


def measured(path: Path, folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Every part, those in the ledger from there."""
    ledger, rows = Ledger(NAME, ("part", "name")), []
    budget = 2.0 if quick else BUDGET
    parts = [
        *(("peer", name) for name in PEERS),
        *(("ours", name) for name in OURS),
        *(("start", s) for s in STARTS),
    ]
    parts = [("peer", "NLinear"), ("ours", "lru"), *parts[-3::2]] if quick else parts
    for part, name in parts:
        row = None if quick else ledger.find(part=part, name=name)
        if row is None:
            row = {"part": part, "name": name} | run(part, name, path, folder, budget, once=quick)
            print(row, flush=True)
            if not quick:
                ledger.add(row)
        rows.append(row)
    return rows


def run(part: str, name: str, path: Path, folder: Path, budget: float, *, once: bool) -> dict[str, Any]:
    if part == "start":
        short = folder / "short.csv"
        frame = pl.read_csv(path).tail(ROWS).select(unique_id=pl.lit("OT"), ds="date", y="OT")
        frame.write_csv(short)
        repeats = 1 if once or name == "neuralforecast" else REPEATS
        times = [cold(name, short, folder / f"{name}-{number}") for number in range(repeats)]
        return dict(
            zip(("cpu_seconds", "wall_seconds"), np.min(times, axis=0).round(1).tolist(), strict=True)
        )
    if part == "ours":
        command = [sys.executable, "-m", "benchmarks.timeseries.neuralforecast", "--ours", name, str(budget)]
    else:
        long = folder / "long.csv"
        if not long.exists():
            write_long(path, long)
        command = [*peer(), "accuracy", str(long), name, str(budget)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=single())
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def cold(name: str, csv: Path, out: Path) -> tuple[float, float]:
    """CPU and wall time of one fresh process."""
    if name == "statewise":
        command = [str(Path(sys.executable).with_name("forecast")), "fit", str(csv), "--model", "nlinear"]
        command += ["--horizon", "24", "--out", str(out)]
    else:
        command = [*peer(), "start", str(csv), str(out)]
        command += ["1"] if name.endswith("one step") else []
    before, begin = used(), time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=csv.parent, env=single())
    return used() - before, time.monotonic() - begin


def used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def single() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def peer() -> list[str]:
    """The peer's script in its environment; -P, since this file has the name of the package."""
    python = os.environ.get("STATEWISE_PEERS")
    if not python:
        raise SystemExit("set STATEWISE_PEERS to the Python of the environment that peers.py describes")
    return [python, "-P", str(ROOT / "benchmarks/timeseries/peers.py")]


def write_long(path: Path, out: Path) -> None:
    parts = [
        pl.DataFrame({"unique_id": series.id, "ds": series.times[:TEST], "y": series.values[:TEST]})
        for series in load(path).series
    ]
    pl.concat(parts).write_csv(out)


def ours(path: Path, name: str, budget: float) -> dict[str, Any]:
    """Fit one of ours and score it over all test windows, in this process."""
    torch.set_num_threads(1)
    time.monotonic = time.process_time  # deadlines are in CPU time here, as the peer's
    panel = load(path)
    target, neural = MODELS.load(name), MODELS[name].facts["family"] == "neural"
    method = target(config_class(target)(lookback=LOOKBACK, **OURS[name], **(NETWORKS if neural else {})))
    seen = VALIDATION if neural else TRAIN
    begin = time.process_time()
    context = Context(
        horizon=HORIZON, period=PERIOD, frequency=HOUR, threads=1, deadline=begin + budget if neural else None
    )
    method.fit(panel.head([seen] * len(panel)), context)
    fitted = time.process_time()
    origins = np.arange(VALIDATION, TEST - HORIZON + 1)
    made = np.stack(method.predict(panel.head([TEST] * len(panel)), [origins] * len(panel)))
    mse, mae = errors(made, panel, origins)
    weights = [array.size for key, array in method.state().items() if key.startswith(("weights.", "maps"))]
    return {
        "mse": mse,
        "mae": mae,
        "windows": len(origins),
        "steps": method.result.steps if neural else None,
        "parameters": sum(weights),
        "fit_seconds": round(fitted - begin, 1),
        "all_seconds": round(time.process_time() - begin, 1),
    }


def report(path: Path, rows: list[dict[str, Any]]) -> Result:
    table = [
        {"package": "neuralforecast" if row["part"] == "peer" else "statewise", "method": row["name"]} | row
        for row in rows
        if row["part"] != "start"
    ]
    starts = [row | {"what": STARTS[row["name"]]} for row in rows if row["part"] == "start"]
    best = {
        part: min((row for row in rows if row["part"] == part), key=lambda row: row["mse"])
        for part in ("peer", "ours")
    }
    cold_start = {row["name"]: row["cpu_seconds"] for row in starts}
    theirs = next(row["versions"] for row in rows if row["part"] == "peer")
    return Result(
        benchmark=NAME,
        title="neuralforecast beside ours",
        summary=f"In {BUDGET:.0f} s of CPU time for each network the best of ours ({best['ours']['name']}) "
        f"reaches an MSE of {best['ours']['mse']:.3f} on ETTh1, 96 steps ahead, the best of neuralforecast "
        f"({best['peer']['name']}) {best['peer']['mse']:.3f}. From a cold process and a CSV to a forecast: "
        f"{cold_start['statewise']:.1f} s of CPU time, with backtest, intervals and report; neuralforecast "
        f"{cold_start['neuralforecast, one step']:.1f} s for the start alone, "
        f"{cold_start['neuralforecast']:.1f} s with its default training. One data set, one horizon, one "
        "seed; longer training may order them otherwise.",
        versions=versions("statewise-core", "statewise-timeseries", "torch", "numpy")
        | {"neuralforecast": theirs["neuralforecast"], "torch of neuralforecast": theirs["torch"]},
        protocol=PROTOCOL,
        seeds=(0,),
        data=(
            fingerprint(
                path, origin="Zhou et al., ETDataset (github.com/zhouhaoyi/ETDataset)", licence="CC BY-ND 4.0"
            ),
        ),
        rows=tuple(rows),
        tables=(
            Table(title="Accuracy in the same time", columns=COLUMNS, rows=tuple(plain(table)), note=NOTE),
            Table(title="From a cold process with a CSV", columns=START, rows=tuple(plain(starts))),
        ),
    )


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not isinstance(value, dict)} for row in rows]


NOTE = (
    f"Of {HELD_OUT} test rows. Seconds are CPU time: training alone, and training with the forecasts from "
    "all test windows."
)
COLUMNS = (
    Column(key="package", label="package"),
    Column(key="method", label="method"),
    Column(key="mse", label="MSE", format=".4f"),
    Column(key="mae", label="MAE", format=".4f"),
    Column(key="parameters", label="parameters", format=",d"),
    Column(key="steps", label="steps", format=",d"),
    Column(key="fit_seconds", label="training, s", format=".1f"),
    Column(key="all_seconds", label="with forecasts, s", format=".1f"),
)
START = (
    Column(key="name", label="package"),
    Column(key="what", label="what"),
    Column(key="cpu_seconds", label="CPU seconds", format=".1f"),
    Column(key="wall_seconds", label="wall seconds", format=".1f"),
)

if __name__ == "__main__":
    main()
