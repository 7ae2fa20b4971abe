"""`forecast fit FILE` without flags on six public files: exit code, wall time, choice against seasonal naive.

Each fit is a process of its own, start-up and report included, on one thread.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions

FILES = {
    "ETTh1.csv": ("zhouhaoyi/ETDataset", "CC BY-ND 4.0"),
    "airline.csv": ("Box and Jenkins 1976, as in aeon and sktime", "free to use"),
    "sm_sunspots.csv": ("statsmodels", "public domain"),
    "seatbelts.csv": ("Harvey and Durbin 1986, as in sktime", "BSD-3 package"),
    "seattle-weather.csv": ("vega-datasets", "BSD-3"),
    "sm_macrodata.csv": ("statsmodels", "public domain"),
}
COLUMNS = (
    Column(key="file", label="file"),
    Column(key="series", label="series"),
    Column(key="horizon", label="H"),
    Column(key="methods", label="chosen"),
    Column(key="mase", label="MASE, auto", format=".3f"),
    Column(key="naive_mase", label="MASE, seasonal naive", format=".3f"),
    Column(key="ratio", label="ratio", format=".3f"),
    Column(key="coverage_80", label="cover 80 %", format=".1%"),
    Column(key="coverage_95", label="cover 95 %", format=".1%"),
    Column(key="seconds", label="wall s", format=".0f"),
)


def main() -> None:
    rows = [measure(data_file(f"timeseries/{name}")) for name in FILES]
    temperatures = measure(
        data_file("timeseries/seattle-weather.csv"), "--target", "temp_max", "--target", "temp_min"
    )
    temperatures["file"] = "seattle-weather.csv, temp_max and temp_min"
    rows.append(temperatures)
    publish(report(rows))


def measure(path: Path, *flags: str) -> dict[str, Any]:
    """Fit one file in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [
            sys.executable,
            "-m",
            "statewise.timeseries.cli",
            "fit",
            str(path),
            "--json",
            "--out",
            str(run),
            *flags,
        ]
        begun = time.monotonic()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        seconds = time.monotonic() - begun
        if done.returncode:
            raise SystemExit(done.stderr)
        document = json.loads(done.stdout)
        with (run / "forecast.csv").open(encoding="utf-8") as file:
            forecasts = list(csv.DictReader(file))
    numbers = [float(row[name]) for row in forecasts for name in row if name not in ("unique_id", "ds")]
    assert all(math.isfinite(number) for number in numbers)
    test = {row["method"]: row for row in document["scores"] if row["split"] == "test"}
    chosen, naive = test["auto"], test["seasonal-naive"]
    return {
        "file": path.name,
        "exit_code": done.returncode,
        "series": len(document["choices"]) + len(document["fallbacks"]),
        "horizon": document["horizon"],
        "first_stamp": forecasts[0]["ds"],
        "methods": ", ".join(sorted(set(document["choices"].values()))),
        "fallbacks": ", ".join(document["fallbacks"]),
        "mase": chosen["mase"],
        "naive_mase": naive["mase"],
        "ratio": chosen["mase"] / naive["mase"],
        "coverage_80": chosen["coverage"][0],
        "coverage_95": chosen["coverage"][1],
        "seconds": seconds,
    }


def report(rows: list[dict[str, Any]]) -> Result:
    better = sum(row["ratio"] < 1 for row in rows)
    return Result(
        benchmark="timeseries/zero_flags",
        title="forecast fit without flags",
        summary=(
            f"On the test rows, which chose nothing, the choice errs less than seasonal naive on {better} of "
            f"{len(rows)} files. The time limit is a minute each; wall times are of a shared machine."
        ),
        versions=versions("statewise-core", "statewise-timeseries", "torch", "statsforecast"),
        protocol={
            "split": "60 % train, 20 % validation (chooses), 20 % test (reports), in order",
            "horizon and season": "found in the data",
            "threads": "1",
            "time limit": "60 s, the default",
        },
        rows=tuple(rows),
        tables=(
            Table(
                title="Choice against seasonal naive",
                columns=COLUMNS,
                rows=tuple(rows),
                note="MASE: mean absolute error in units of seasonal naive's on the training rows.",
            ),
        ),
        data=tuple(
            fingerprint(data_file(f"timeseries/{name}"), origin=origin, licence=licence)
            for name, (origin, licence) in FILES.items()
        ),
        seeds=(0,),
    )


if __name__ == "__main__":
    main()
