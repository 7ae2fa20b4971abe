"""Whether intervals cover what they promise: the last fifth of ETTh1's oil temperature and an exchange rate.

`auto` as it is by default, networks and refitted methods left out; nothing is set with a view to these rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions
from statewise.timeseries import auto
from statewise.timeseries.auto import AutoResult
from statewise.timeseries.backtest import actuals
from statewise.timeseries.config import AutoConfig
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.panel import Panel, Series

NAME = "timeseries/intervals"
SETS = {"ETTh1.csv": ("hour", 24), "exchange_rate.csv": ("day", 7)}
COLUMN = "OT"
CONFIG = AutoConfig(methods=("nlinear", "dlinear"), budget=None)
THIRDS = ("first", "middle", "last")

PROTOCOL = {
    "data": "ETTh1's oil temperature (column OT, hourly) and the last column of exchange_rate (OT, daily), "
    "each as one series in its own units",
    "split": "60 % train, 20 % validation, 20 % test, in order; the test rows choose nothing",
    "horizon": "one season: 24 hours, 7 days",
    "methods": "naive, seasonal-naive, drift, nlinear and dlinear; auto takes the one with the least MASE on "
    "the validation rows; nlinear and dlinear are fitted anew before the test rows",
    "origins": "at equal distances over the test rows, about 500 of them",
    "intervals": "of every method alike: split-conformal half-widths per step, steered by the misses that "
    "have become known; at an origin only residuals count whose actual value lies before it",
    "settings": "adaptation 0.02, chosen on rows up to 80 % of each series",
    "width": "in units of what seasonal naive misses by in the training rows",
}
NOTE = (
    "Thirds are those of the horizon. Coverage is the share of actual values inside the interval; a level of "
    "80 % is kept when it lies near .80 in every column."
)


def main() -> None:
    rows: list[dict[str, Any]] = []
    paths = [data_file(f"timeseries/{name}") for name in SETS]
    for path in paths:
        result = run(path)
        rows += [row for level in range(2) for row in measure(path.name, result, level)]
    for row in rows:
        print(row)
    publish(report(paths, rows))


def run(path: Path) -> AutoResult:
    unit, season = SETS[path.name]
    frequency = Frequency(unit)
    values = pl.read_csv(path)[COLUMN].to_numpy().astype(np.float64)
    times = frequency.range(np.datetime64("2016-07-01"), len(values))
    panel = Panel(series=(Series(id=COLUMN, times=times, values=values),), frequency=frequency)
    return auto.run(panel, Context(horizon=season, period=season, frequency=frequency), CONFIG)


def measure(name: str, result: AutoResult, level: int) -> list[dict[str, Any]]:
    """One row per method on the test rows, the choice with its coverage by thirds of the horizon."""
    rows: list[dict[str, Any]] = [
        {
            "data": name,
            "method": one.method,
            "level": CONFIG.conformal.levels[level],
            "coverage": one.score.coverage[level],
            "width": one.score.width[level],
            "mase": one.score.mase,
            "origins": one.score.windows,
        }
        for one in result.rows
        if one.split == "test" and one.score is not None
    ]
    # the last row is the choice's
    rows[-1] |= {"choice": result.choices[COLUMN].method, **by_thirds(result, level)}
    return rows


def by_thirds(result: AutoResult, level: int) -> dict[str, float]:
    """Coverage of the chosen method's intervals in each third of the horizon."""
    plan = result.plan
    (testing,), (origins,) = plan.testing(), plan.origins
    missed = np.abs(actuals(plan.panel.series[0], origins, plan.horizon) - result.forecasts[COLUMN])
    inside = (missed <= result.calibration.past[COLUMN][:, level])[testing]
    parts = np.array_split(np.arange(plan.horizon), 3)
    return {third: float(inside[:, steps].mean()) for third, steps in zip(THIRDS, parts, strict=True)}


def report(paths: list[Path], rows: list[dict[str, Any]]) -> Result:
    chosen = [row for row in rows if row["method"] == auto.AUTO]
    naive = {(row["data"], row["level"]): row for row in rows if row["method"] == "seasonal-naive"}
    table = [row | {"ratio": row["width"] / naive[row["data"], row["level"]]["width"]} for row in chosen]
    off = max(abs(row[key] - row["level"]) for row in chosen for key in ("coverage", *THIRDS))
    widest = max(row["ratio"] for row in table)
    origins = (
        "Zhou et al., ETDataset (github.com/zhouhaoyi/ETDataset)",
        "Lai et al., LSTNet's data repository (github.com/laiguokun/multivariate-time-series-data)",
    )
    licences = ("CC BY-ND 4.0", "none stated")
    return Result(
        benchmark=NAME,
        title="Coverage of the intervals",
        summary="On the last fifth of both series the 80 % and 95 % intervals of the chosen method cover "
        f"what they promise to within {off:.1%}, in each third of the horizon too, at no more than "
        f"{widest:.0%} of the width of seasonal naive's intervals made in the same way. Two series are no "
        "proof for others.",
        versions=versions("statewise-core", "statewise-timeseries", "numpy", "scipy"),
        protocol=PROTOCOL,
        data=tuple(
            fingerprint(path, origin=origin, licence=licence)
            for path, origin, licence in zip(paths, origins, licences, strict=True)
        ),
        rows=tuple(rows),
        tables=(
            Table(title="The chosen method", columns=CHOSEN, rows=tuple(table), note=NOTE),
            Table(title="All methods", columns=EVERY, rows=tuple(rows)),
        ),
    )


CHOSEN = (
    Column(key="data", label="data"),
    Column(key="level", label="level", format=".0%"),
    Column(key="choice", label="chosen"),
    Column(key="coverage", label="coverage", format=".1%"),
    Column(key="first", label="first third", format=".1%"),
    Column(key="middle", label="middle", format=".1%"),
    Column(key="last", label="last third", format=".1%"),
    Column(key="width", label="mean width", format=".2f"),
    Column(key="ratio", label="to seasonal naive's", format=".0%"),
    Column(key="origins", label="origins"),
)
EVERY = (
    Column(key="data", label="data"),
    Column(key="method", label="method"),
    Column(key="level", label="level", format=".0%"),
    Column(key="coverage", label="coverage", format=".1%"),
    Column(key="width", label="mean width", format=".2f"),
    Column(key="mase", label="MASE", format=".3f"),
)

if __name__ == "__main__":
    main()
