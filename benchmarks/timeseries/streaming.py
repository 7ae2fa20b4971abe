"""A forecast in use: 10,000 updates of one row each, and the service under 50 clients for a minute."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions
from benchmarks.timeseries.tpgn_ett import load
from statewise.core.config import config_class
from statewise.timeseries.api import FitSettings, fit_run
from statewise.timeseries.config import ConformalConfig
from statewise.timeseries.forecaster import Context
from statewise.timeseries.live import LiveForecast
from statewise.timeseries.models import MODELS
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.panel import Panel
from statewise.timeseries.portfolio import Portfolio

NAME = "timeseries/streaming"
FITTED, ROWS, EDGE = 7_000, 10_000, 1_000
HORIZON, PERIOD = 24, 24
METHODS = {
    "seasonal-naive": {},
    "nlinear": {"lookback": 168},
    "lru": {"lookback": 168, "d_model": 8, "depth": 1},
}
CLIENTS, SECONDS, PORT = 50, 60.0, 18_754
LIMIT = 100_000

PROTOCOL = {
    "data": "ETTh1, oil temperature; 7,000 rows fitted, the next 10,000 arrive one by one, horizon 24",
    "update": "each row: the interval of every step ahead moves, a new forecast is made; nothing is fitted "
    "again",
    "full pass": "the same 10,000 rows in one update; difference is the largest of any number of the state",
    "service": "forecast serve on the loopback, one process; 50 clients, each with a connection of its "
    "own, for "
    "60 s, half of the requests an update of one row, half a forecast; clients and server share the machine",
    "threads": "one for the arithmetic; CPU time of a shared machine, in which the ratio of last to first "
    "counts",
}


def main() -> None:
    panel = load(data_file("timeseries/ETTh1.csv"))
    updates = []
    for name in METHODS:
        updates.append(stream(name, panel))
        print(updates[-1], flush=True)
    service = serve()
    print(service, flush=True)
    publish(report(updates, service))


def fitted(name: str, panel: Panel) -> Portfolio:
    """One method on the first rows, its intervals of any width."""
    target = MODELS.load(name)
    method = target(config_class(target)(**METHODS[name]))
    context = Context(horizon=HORIZON, period=PERIOD, frequency=panel.frequency, epochs=1, threads=1)
    method.fit(panel.head([FITTED]), context)
    base = np.outer([1.0, 2.0], np.sqrt(np.arange(1, HORIZON + 1)))
    return Portfolio(
        methods={name: method},
        chosen=dict.fromkeys(panel.ids, name),
        default=name,
        half={one: base.copy() for one in panel.ids},
        shared=base,
        context=context,
        conformal=ConformalConfig(),
    )


def part(panel: Panel, first: int, last: int) -> Panel:
    """Rows `first` to `last` of the one series."""
    from dataclasses import replace

    one = panel.series[0]
    cut = replace(one, times=one.times[first:last], values=one.values[first:last])
    return replace(panel, series=(cut,))


def state_of(live: LiveForecast) -> dict[str, np.ndarray]:
    one = live.panel.series[0]
    return {"values": one.values} | live.tracks[one.id].state()


def stream(name: str, panel: Panel) -> dict[str, Any]:
    """Row by row against all rows at once."""
    portfolio = fitted(name, panel)
    live = LiveForecast(portfolio, panel.head([FITTED]))
    marks, sizes = [], []
    for row in range(FITTED, FITTED + ROWS):
        begin = time.process_time()
        live.update(part(panel, row, row + 1))
        marks.append(time.process_time() - begin)
        if row - FITTED in (EDGE, ROWS - 1):
            sizes.append(sum(array.nbytes for array in state_of(live).values()))
    at_once = LiveForecast(portfolio, panel.head([FITTED]))
    at_once.update(part(panel, FITTED, FITTED + ROWS))
    one, other = state_of(live), state_of(at_once)
    gap = max(float(np.nanmax(np.abs(one[key] - other[key]), initial=0.0)) for key in one)
    first, last = (float(np.median(marks[cut])) for cut in (slice(0, EDGE), slice(-EDGE, None)))
    return {
        "method": name,
        "rows": ROWS,
        "first_ms": 1e3 * first,
        "last_ms": 1e3 * last,
        "ratio": last / first,
        "early_bytes": sizes[0],
        "late_bytes": sizes[1],
        "difference": gap,
        "coverage_80": live.tracks[panel.ids[0]].inside[0],
        "coverage_95": live.tracks[panel.ids[0]].inside[1],
    }


def serve() -> dict[str, Any]:
    """The service under load."""
    with tempfile.TemporaryDirectory() as folder:
        settings = FitSettings(
            data=(str(data_file("timeseries/ETTh1.csv")),),
            model="nlinear",
            horizon=HORIZON,
            read=ReadOptions(target=("OT",)),
        )
        run = fit_run(settings, out=Path(folder) / "run").run
        assert run is not None
        command = [
            sys.executable,
            "-m",
            "statewise.timeseries.cli",
            "serve",
            str(run.path),
            "--port",
            str(PORT),
        ]
        server = subprocess.Popen([*command, "--most-bytes", str(LIMIT), "--quiet"])
        try:
            wait()
            return load_test() | {
                "malformed": ask("POST", "/update", '{"series": "OT", "rows": [')[0],
                "oversize": ask("POST", "/update", "x" * (LIMIT + 1))[0],
            }
        finally:
            server.terminate()
            server.wait(timeout=60)


def wait() -> None:
    for _ in range(600):
        try:
            if ask("GET", "/health")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("the service did not start")


def ask(method: str, path: str, body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request(method, path, body, {"content-type": "application/json"} if body else {})
    answer = connection.getresponse()
    result = answer.status, answer.read().decode()
    connection.close()
    return result


def load_test() -> dict[str, Any]:
    """50 clients for a minute; latencies in ms."""
    taken: list[float] = []
    errors: list[str] = []
    counter = iter(range(10**9))
    guard = threading.Lock()
    start = np.datetime64("2018-06-26T20:00")
    end = time.monotonic() + SECONDS

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        while time.monotonic() < end:
            with guard:
                number = next(counter)
            begin = time.monotonic()
            if number % 2:
                connection.request("GET", "/predict?series=OT")
            else:
                stamp = str(start + np.timedelta64(number // 2, "h")).replace("T", " ")
                row = {"ds": stamp, "y": 10 + np.sin(number)}
                body = json.dumps({"series": "OT", "rows": [row]})
                connection.request("POST", "/update", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
            with guard:
                taken.append(1e3 * (time.monotonic() - begin))
                if answer.status != 200:
                    errors.append(f"{answer.status} {text[:200]}")
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        print(errors[:3], flush=True)
    return {
        "clients": CLIENTS,
        "seconds": SECONDS,
        "requests": len(taken),
        "errors": len(errors),
        "p50_ms": float(np.percentile(taken, 50)),
        "p99_ms": float(np.percentile(taken, 99)),
    }


def report(updates: list[dict[str, Any]], service: dict[str, Any]) -> Result:
    worst = max(row["ratio"] for row in updates)
    gap = max(row["difference"] for row in updates)
    return Result(
        benchmark=NAME,
        title="A forecast in use: updates row by row, and the service under load",
        summary=f"Over 10,000 updates of one row the last thousand take {worst:.2f} times the first at "
        f"most, the "
        f"state keeps its size, and it equals a full pass to {gap:.0e}. Under 50 clients for 60 s the "
        f"service "
        f"answered {service['requests']:,} requests with {service['errors']} errors; the 99th percentile was "
        f"{service['p99_ms']:.0f} ms on two shared, busy cores.",
        versions=versions("statewise-core", "statewise-timeseries", "numpy", "torch", "fastapi", "uvicorn"),
        protocol=PROTOCOL,
        seeds=(0,),
        data=(
            fingerprint(
                data_file("timeseries/ETTh1.csv"),
                origin="Zhou et al., ETDataset (github.com/zhouhaoyi/ETDataset)",
                licence="CC BY-ND 4.0",
            ),
        ),
        rows=(*updates, service),
        tables=(
            Table(title="10,000 updates of one row", columns=UPDATES, rows=tuple(updates)),
            Table(title="Service", columns=SERVICE, rows=(service,)),
        ),
    )


UPDATES = (
    Column(key="method", label="method"),
    Column(key="first_ms", label="first 1,000 rows, ms each", format=".2f"),
    Column(key="last_ms", label="last 1,000 rows, ms each", format=".2f"),
    Column(key="ratio", label="ratio", format=".2f"),
    Column(key="early_bytes", label="state after 1,000 rows, bytes"),
    Column(key="late_bytes", label="after 10,000"),
    Column(key="difference", label="largest difference to a full pass", format=".1e"),
    Column(key="coverage_80", label="inside 80 %", format=".1%"),
    Column(key="coverage_95", label="inside 95 %", format=".1%"),
)
SERVICE = (
    Column(key="clients", label="clients"),
    Column(key="seconds", label="seconds", format=".0f"),
    Column(key="requests", label="requests"),
    Column(key="errors", label="errors"),
    Column(key="p50_ms", label="p50, ms", format=".1f"),
    Column(key="p99_ms", label="p99, ms", format=".1f"),
    Column(key="malformed", label="malformed JSON"),
    Column(key="oversize", label="body over the limit"),
)

if __name__ == "__main__":
    main()
