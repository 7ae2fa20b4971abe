"""Coverage of the intervals of `auto` on every public set at hand, by level, by part of the horizon, by set.

Networks and methods that are fitted anew at every origin are left out: this is about the intervals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions
from statewise.timeseries import auto
from statewise.timeseries.auto import AutoResult
from statewise.timeseries.backtest import actuals
from statewise.timeseries.config import AutoConfig, BacktestConfig
from statewise.timeseries.data import read
from statewise.timeseries.forecaster import Context
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.season import default_horizon, main_period

NAME = "timeseries/coverage"
SETS = {
    "ETTh1.csv": ("zhouhaoyi/ETDataset", "CC BY-ND 4.0", None),
    "exchange_rate.csv": ("LSTNet's data repository", "none stated", None),
    "nab_ec2_request_latency_system_failure.csv": ("numenta/NAB", "MIT", None),
    "nab_art_daily_jumpsup.csv": ("numenta/NAB", "MIT", None),
    "seattle-weather.csv": ("vega-datasets", "BSD-3", None),
    "sktime_yahoo_anomaly.csv": ("sktime", "BSD-3 package", ("data",)),
    "sm_sunspots.csv": ("statsmodels", "public domain", None),
    "sm_macrodata.csv": ("statsmodels", "public domain", None),
    "seatbelts.csv": ("Harvey and Durbin 1986, as in sktime", "BSD-3 package", None),
    "airline.csv": ("Box and Jenkins 1976, as in aeon and sktime", "free to use", None),
}
LONG = 1000
KEPT = 0.05
CONFIG = AutoConfig(methods=("nlinear", "dlinear"), budget=None, backtest=BacktestConfig(dense=160))
PARTS = ("first", "middle", "last")

PROTOCOL = {
    "data": "every numeric column of each file as a series, as `forecast fit FILE` reads it (of "
    "sktime_yahoo_anomaly the column of values, not that of labels)",
    "split": "60 % train, 20 % validation, 20 % test, in order; the test rows choose nothing",
    "horizon and season": "found in the data",
    "methods": "naive, seasonal-naive, drift, nlinear, dlinear and a blend of them; auto chooses",
    "origins": "at most 160 per series in the test rows, at equal distances",
    "intervals": "split-conformal half-widths per step, steered by the misses that have become known",
    "threads": "one",
}
NOTE = (
    "Thirds are those of the horizon. Below a thousand rows a fifth of the series holds few separate "
    "horizons: those sets stand for themselves, with their number of rows. A crossing is a 95 % interval "
    "that does not hold its 80 % interval, or a bound on the wrong side of the forecast."
)


def main() -> None:
    paths = [data_file(f"timeseries/{name}") for name in SETS]
    rows = []
    for path in paths:
        rows.append(measure(path))
        print(rows[-1], flush=True)
    publish(report(paths, rows))


def measure(path: Path) -> dict[str, Any]:
    """The test rows of one file."""
    targets = SETS[path.name][2]
    panel = read([str(path)], ReadOptions(target=targets or ())).panel
    period = main_period(panel)
    horizon = default_horizon(panel, period)
    context = Context(horizon=horizon, period=period, frequency=panel.frequency, threads=1)
    result = auto.run(panel, context, CONFIG)
    inside, width, crossings, count = tallied(result)
    means = inside.mean(axis=1)  # of series
    row: dict[str, Any] = {
        "data": path.name,
        "rows": len(panel.series[0]),
        "series": len(result.plan.panel),
        "horizon": horizon,
        "origins": count,
        "crossings": crossings,
        "least_width": width,
    }
    for place, level in enumerate(CONFIG.conformal.levels):
        name = f"{level * 100:g}"
        row[f"cover_{name}"] = float(means[place].mean())
        for part, steps in zip(PARTS, np.array_split(means[place], 3), strict=True):
            row[f"{part}_{name}"] = float(steps.mean()) if len(steps) else None
    return row


def tallied(result: AutoResult) -> tuple[np.ndarray, float, int, int]:
    """Coverage (Q, S, H) of the choice on the test rows, the least width, crossings, and origins in all."""
    plan, shares, crossings, least, count = result.plan, [], 0, float("inf"), 0
    for series, at, use in zip(plan.panel.series, plan.origins, plan.testing(), strict=True):
        half = result.calibration.past[series.id][use]
        made, actual = result.forecasts[series.id][use], actuals(series, at[use], plan.horizon)
        known = np.isfinite(half).all(axis=(1, 2)) & np.isfinite(made).all(axis=1)
        half, made, actual = half[known], made[known], actual[known]
        count += len(half)
        if not len(half):
            continue
        lower, upper = made[:, None] - half, made[:, None] + half
        bounds = np.concatenate([lower[:, ::-1], made[:, None], upper], axis=1)
        crossings += int((np.diff(bounds, axis=1) < 0).sum())
        least = min(least, float((upper - lower).min()))
        seen = np.isfinite(actual)[:, None]
        hit = ((lower <= actual[:, None]) & (actual[:, None] <= upper) & seen).sum(axis=0)
        shares.append(hit / np.maximum(seen.sum(axis=0), 1))
    return np.stack(shares, axis=1), least, crossings, count


def report(paths: list[Path], rows: list[dict[str, Any]]) -> Result:
    long = [row for row in rows if row["rows"] >= LONG]
    levels = {"80": 0.8, "95": 0.95}
    far = {name: max(abs(row[f"cover_{name}"] - level) for row in long) for name, level in levels.items()}
    off = [
        row["data"]
        for row in long
        if any(abs(row[f"cover_{name}"] - level) > KEPT for name, level in levels.items())
    ]
    kept = "on all of them" if not off else f"but not on {', '.join(off)}"
    crossings, width = sum(row["crossings"] for row in rows), min(row["least_width"] for row in rows)
    return Result(
        benchmark=NAME,
        title="Coverage on every set",
        summary=f"On the {len(long)} sets of a thousand rows and more, coverage is within five points of "
        f"80 % and 95 % {kept}: at most {far['80']:.1%} from 80 % and {far['95']:.1%} from 95 %. "
        f"Of all intervals {crossings} cross, and none is narrower than {width:.3g}.",
        versions=versions("statewise-core", "statewise-timeseries", "numpy", "scipy"),
        protocol=PROTOCOL,
        data=tuple(
            fingerprint(path, origin=SETS[path.name][0], licence=SETS[path.name][1]) for path in paths
        ),
        rows=tuple(rows),
        tables=tuple(
            Table(
                title=f"{level} % intervals on the test rows",
                columns=columns(level),
                rows=tuple(rows),
                note=NOTE,
            )
            for level in levels
        ),
    )


def columns(level: str) -> tuple[Column, ...]:
    return (
        Column(key="data", label="data"),
        Column(key="rows", label="rows"),
        Column(key="series", label="series"),
        Column(key="horizon", label="H"),
        Column(key="origins", label="origins"),
        Column(key=f"cover_{level}", label="coverage", format=".1%"),
        *(Column(key=f"{part}_{level}", label=f"{part} third", format=".1%") for part in PARTS),
        Column(key="crossings", label="crossings"),
    )


if __name__ == "__main__":
    main()
