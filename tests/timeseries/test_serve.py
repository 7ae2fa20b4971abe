"""The service: forecasts, new rows, limits, and a state that survives."""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

import uvicorn

from statewise.timeseries.api import predict_run
from statewise.timeseries.cli import app
from statewise.timeseries.serve import MOST_ROWS, create_app
from tests.timeseries.broken_inputs import days

N = 120


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    rows = [f"{day},{10 + i % 7},{50 - i % 7}" for i, day in enumerate(days(N))]
    (folder / "sales.csv").write_text("\n".join(["date,north,south", *rows]) + "\n", encoding="utf-8")
    words = [
        "fit",
        str(folder / "sales.csv"),
        "--model",
        "seasonal-naive",
        "--out",
        str(folder / "run"),
        "-q",
    ]
    assert app.run(words) == 0
    return folder / "run"


@dataclass
class Client:
    """A server on the loopback."""

    port: int

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and text of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"content-type": "application/json"} if body is not None else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def get(self, path: str) -> Any:
        status, text = self.ask("GET", path)
        assert status == 200, text
        return json.loads(text)

    def update(self, series: str, rows: list[dict[str, object]]) -> Any:
        status, text = self.ask("POST", "/update", json.dumps({"series": series, "rows": rows}))
        assert status == 200, text
        return json.loads(text)


@contextmanager
def served(run: Path, *, most_bytes: int = 20_000) -> Iterator[Client]:
    server = uvicorn.Server(uvicorn.Config(create_app(run, most_bytes=most_bytes), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def run(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "run"))


@pytest.fixture
def client(run: Path) -> Iterator[Client]:
    with served(run) as client:
        yield client


def rows(first: int, values: list[float | None]) -> list[dict[str, object]]:
    stamps = days(first + len(values))[first:]
    return [{"ds": stamp, "y": value} for stamp, value in zip(stamps, values, strict=True)]


def test_it_predicts_and_advances(client: Client):
    assert client.get("/health") == {"status": "ok", "series": 2}
    before = client.get("/predict?series=north")
    assert before["columns"][:3] == ["unique_id", "ds", "forecast"]
    assert before["rows"][0][1] == days(N + 1)[-1]
    answer = client.update("north", rows(N, [99.0, None, 12.0]))
    assert (answer["new_steps"], answer["seen"]) == (3, 2)
    after = client.get("/predict?series=north")
    assert after["rows"][0][1] == days(N + 4)[-1]
    assert 99.0 in [row[2] for row in after["rows"]]
    assert client.get("/predict?series=south")["rows"][0][1] == days(N + 1)[-1]


def test_the_state_is_written_back_when_it_stops(run: Path):
    with served(run) as client:
        client.update("north", rows(N, [77.0]))
        said = client.get("/predict?series=north")["rows"]
    table, _ = predict_run(run)
    assert [row for row in table.rows() if row[0] == "north"] == said
    with served(run) as client:
        assert client.get("/predict?series=north")["rows"] == said


@pytest.mark.parametrize(
    ("body", "status", "piece"),
    [
        ('{"series": "north", "rows": [', 422, "json"),
        ('{"series": "north"}', 422, "rows"),
        ('{"series": "north", "rows": []}', 422, "at least 1"),
        ('{"series": "north", "rows": [{"ds": "2020-05-01", "y": "high"}]}', 422, "valid number"),
        ('{"series": "north", "rows": [{"ds": "2020-05-01", "y": 1, "z": 2}]}', 422, "z"),
        ('{"series": "north", "rows": [{"ds": "soon", "y": 1}]}', 422, "is no stamp"),
        ('{"series": "north", "rows": [{"ds": "2020-05-01 13:00", "y": 1}]}', 422, "off the grid"),
        ('{"series": "north", "rows": [{"ds": "2320-05-01", "y": 1}]}', 422, "more than 10,000"),
        ('{"series": "north", "rows": [{"ds": "1920-05-01", "y": 1}]}', 422, "before the history"),
        ('{"series": "nort", "rows": [{"ds": "2020-05-01", "y": 1}]}', 404, "did you mean 'north'?"),
        ("x" * 30_000, 413, "over the limit of 20,000 bytes"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(body: str, status: int, piece: str, client: Client):
    seen, text = client.ask("POST", "/update", body)
    assert seen == status
    assert piece.lower() in text.lower()
    assert client.get("/health")["status"] == "ok"


def test_a_body_that_does_not_say_its_size_is_limited_too(client: Client):
    assert client.ask("POST", "/update", (b"x" * 1_000 for _ in range(30)))[0] == 413


def test_too_many_rows_and_unknown_series(run: Path):
    many = json.dumps({"series": "north", "rows": [{"ds": "2020-05-01", "y": 1.0}] * (MOST_ROWS + 1)})
    with served(run, most_bytes=1_000_000) as client:
        status, text = client.ask("POST", "/update", many)
        assert status == 422
        assert "at most 1000" in text
        assert client.ask("GET", "/predict?series=west")[0] == 404
        assert client.ask("GET", "/predict")[0] == 422


def test_many_requests_at_once_leave_a_whole_state(client: Client):
    stamps = days(N + 40)[N:]

    def send(i: int) -> None:
        if i % 2:
            client.get("/predict?series=south")
        else:
            client.update("north", [{"ds": stamps[i // 2], "y": float(i)}])

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(send, range(80)))
    answer = client.get("/predict?series=north")
    assert answer["rows"][0][1] == days(N + 41)[-1]
    assert np.isfinite([value for row in answer["rows"] for value in row[2:]]).all()


def test_a_model_with_holidays_is_served(tmp_path: Path):
    rows_of = [f"{day},{10 + i % 7}" for i, day in enumerate(days(N))]
    (tmp_path / "sales.csv").write_text("\n".join(["date,north", *rows_of]) + "\n", encoding="utf-8")
    run = tmp_path / "run"
    words = ["fit", str(tmp_path / "sales.csv"), "--model", "nlinear", "--holidays", "DE", "-q"]
    assert app.run([*words, "--out", str(run)]) == 0
    with served(run) as client:
        assert client.update("north", rows(N, [11.0, 12.0]))["new_steps"] == 2
        assert client.get("/predict?series=north")["rows"][0][1] == days(N + 3)[-1]
        far = json.dumps({"series": "north", "rows": [{"ds": "2023-05-01", "y": 1.0}]})
        status, text = client.ask("POST", "/update", far)
    assert (status, "known ahead" in text) == (422, True)


def test_the_missing_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert app.run(["serve", str(run)]) == 2
    assert "statewise-timeseries[serve]" in capsys.readouterr().err
