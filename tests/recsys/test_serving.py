"""The service: states move on event by event, survive the process, and bad requests are refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import ASGITransport, AsyncClient, Response

from statewise.core.errors import CheckpointError, UserError
from statewise.recsys.api import fit_run
from statewise.recsys.events import Histories
from statewise.recsys.serving import exhaustive
from statewise.recsys.serving.app import create_app, make_engine
from statewise.recsys.serving.exhaustive import Exhaustive
from statewise.recsys.serving.nearest import RECALL, Nearest
from statewise.recsys.serving.store import Known, Store
from statewise.recsys.settings import FitSettings, Tuning
from tests.recsys.synthetic import shop


class Client:
    """Requests to the service without a network."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def post(self, path: str, json: Any) -> Response:
        return self._call("POST", path, json=json)

    def get(self, path: str) -> Response:
        return self._call("GET", path)

    def _call(self, method: str, path: str, **more: Any) -> Response:
        async def call() -> Response:
            async with AsyncClient(transport=ASGITransport(self.app), base_url="http://test") as client:
                return await client.request(method, path, **more)

        return asyncio.run(call())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    data = str(shop(place / "events.csv"))
    for model in ("lru", "causal", "markov"):
        tuning = Tuning() if model == "markov" else Tuning(width=8, length=10)
        fit_run(FitSettings(data=(data,), model=model, epochs=1, tuning=tuning), out=place / model)
    return place


@pytest.mark.parametrize("model", ["lru", "causal", "markov"])
def test_events_move_a_user_on_as_the_whole_history_would(runs: Path, tmp_path: Path, model: str):
    engine = make_engine(runs / model, store=tmp_path / "s.sqlite")
    items = ["00004", "00005", "00004", "00009", "00012"]
    for item in items:
        engine.event("somebody", item)
    codes = [engine.codes[item] for item in items]
    scores = engine.one.scorer.scores(Histories.of([codes]))[0].copy()
    scores[codes] = -np.inf
    found = engine.recommend("somebody", 5, repeat="exclude")
    order = np.argsort(-scores, kind="stable")[:5]
    assert [item for item, _ in found] == [engine.ids[code] for code in order]
    assert np.allclose([value for _, value in found], scores[order], atol=1e-4)


@pytest.mark.parametrize("model", ["lru", "causal"])
def test_a_fitted_user_starts_from_the_fitted_history(runs: Path, tmp_path: Path, model: str):
    engine = make_engine(runs / model, store=tmp_path / "s.sqlite")
    row = engine.one.log.user_codes["u007"]
    expected = engine.one.scorer.scores(engine.one.log.histories(np.array([row])))[0]
    found = dict(engine.recommend("u007", 20, repeat="allow"))
    assert [found[name] for name in engine.ids] == pytest.approx(list(expected), abs=1e-4)


def test_states_survive_the_engine_and_belong_to_one_model(runs: Path, tmp_path: Path):
    path = tmp_path / "s.sqlite"
    engine = make_engine(runs / "lru", store=path)
    for item in ("00001", "00002", "00007"):
        engine.event("a", item)
    before = engine.recommend("a", 4)
    engine.store.close()
    again = make_engine(runs / "lru", store=path)
    assert again.recommend("a", 4) == before
    assert again.store.events() == 3
    again.event("a", "00003")
    again.store.close()
    with pytest.raises(CheckpointError, match="states of another model"):
        make_engine(runs / "causal", store=path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("these are notes, and not states\n" * 50, encoding="utf-8")
    with pytest.raises(CheckpointError, match="is no database of states"):
        Store(tmp_path / "notes.txt", "m")


def test_an_event_and_its_state_are_kept_together(tmp_path: Path):
    store = Store(tmp_path / "s.sqlite", "m")
    store.put("a", "x", Known(np.array([3, 1], dtype=np.int32), b"state", np.ones(2, dtype=np.float32)))
    known = store.get("a")
    assert known is not None
    assert known.items.tolist() == [3, 1]
    assert known.state == b"state"
    assert store.get("b") is None
    assert store.events() == 1


def test_the_service_answers(runs: Path, tmp_path: Path):
    client = Client(create_app(make_engine(runs / "lru", store=tmp_path / "s.sqlite")))
    assert client.post("/event", json={"user": "x", "item": "00003"}).json() == {"kept": 1}
    answer = client.post("/recommend", json={"user": "x", "k": 3, "deny": ["00004"]}).json()
    assert len(answer["items"]) == 3
    assert not {"00003", "00004"} & {row["item"] for row in answer["items"]}
    assert client.get("/health").json() == {"status": "ok", "model": "lru", "items": 20, "events": 1}
    # nobody knows this user yet: what is said is what everyone would be told
    assert len(client.post("/recommend", json={"user": "stranger"}).json()["items"]) == 10


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/event", {"user": "x", "item": "nowhere"}, 404),
        ("/event", {"user": "x"}, 422),
        ("/event", {"user": "", "item": "00001"}, 422),
        ("/event", {"user": "x" * 257, "item": "00001"}, 422),
        ("/event", {"user": "x", "item": "00001", "extra": 1}, 422),
        ("/recommend", {"user": "x", "k": 0}, 422),
        ("/recommend", {"user": "x", "k": 10**6}, 422),
        ("/recommend", {"user": "x", "repeat": "maybe"}, 422),
        ("/recommend", {"user": "x", "deny": ["nowhere"]}, 404),
        ("/recommend", {"user": "x", "deny": ["00001"] * 9_000}, 413),
    ],
)
def test_bad_requests_are_refused_and_change_nothing(runs: Path, tmp_path: Path, path: str, body, code: int):
    engine = make_engine(runs / "lru", store=tmp_path / "s.sqlite")
    client = Client(create_app(engine))
    assert client.post(path, json=body).status_code == code
    assert engine.store.events() == 0


KILLED = """
import sys
from statewise.recsys.serving import exhaustive
from statewise.recsys.serving.app import make_engine
engine = make_engine(sys.argv[1], store=sys.argv[2])
for i in range(100_000):
    engine.event(f"u{i % 50}", engine.ids[i % 20])
    print(i, flush=True)
"""


def test_no_acknowledged_event_is_lost_when_the_process_is_killed(runs: Path, tmp_path: Path):
    path = tmp_path / "s.sqlite"
    words = [sys.executable, "-c", KILLED, str(runs / "lru"), str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        last = -1
        for line in child.stdout:
            last = int(line)
            if last >= 200:
                child.kill()
                break
        whole = [word for word in child.stdout.read().split("\n")[:-1] if word]
    last = int(whole[-1]) if whole else last
    engine = make_engine(runs / "lru", store=path)
    assert engine.store.events() in (last + 1, last + 2)  # one may be kept and not yet acknowledged
    expected = [(i % 20) for i in range(last + 1) if i % 50 == 7]
    known = engine.store.get("u7")
    assert known is not None
    assert known.items[: len(expected)].tolist() == expected


def test_the_nearest_are_exact_or_counted():
    rng = np.random.default_rng(0)
    table, bias = rng.normal(size=(5_000, 8)).astype(np.float32), rng.normal(size=5_000).astype(np.float32)
    queries = rng.normal(size=(20, 8)).astype(np.float32)
    exact = Nearest(table, bias, kind="exact")
    near = Nearest(table, bias, kind="approximate", queries=queries)
    none = np.zeros(0, dtype=np.int64)
    assert exact.recall(queries) == 1.0
    assert near.measured == near.recall(queries) >= RECALL
    items, scores = exact.search(queries[0], 5, none)
    assert items.tolist() == np.argsort(-(table @ queries[0] + bias))[:5].tolist()
    assert (np.diff(scores) <= 0).all()
    barred = items[:2]
    for search in (exact, near):
        assert not set(barred) & set(search.search(queries[0], 5, barred)[0])


def test_the_rough_sweep_misses_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exhaustive, "_SMALL", 100)
    rng = np.random.default_rng(3)
    table = (rng.normal(size=(30_000, 16)) * rng.exponential(size=(30_000, 1))).astype(np.float32)
    bias = rng.normal(size=30_000).astype(np.float32)
    # the first items are a hair's breadth apart, far less than bf16 can tell
    table[500:520] = 9 + 1e-5 * rng.normal(size=(20, 16))
    bias[500:520] = 0
    search = Exhaustive(table, bias)
    if search._rough is None:
        pytest.skip("this processor does not sum products of bf16 in float32")
    for said in (np.ones(16, dtype=np.float32), *rng.normal(size=(30, 16)).astype(np.float32)):
        whole = search.scores(said, np.arange(len(table)))
        barred = np.argsort(-whole)[:3]
        whole[barred] = -np.inf
        for k in (1, 10, 1_000):
            items, scores = search.search(said, k, barred)
            assert items.tolist() == np.argsort(-whole, kind="stable")[:k].tolist()
            assert (scores == whole[items]).all()


def test_an_unknown_item_is_named(runs: Path, tmp_path: Path):
    engine = make_engine(runs / "markov", store=tmp_path / "s.sqlite")
    with pytest.raises(UserError, match="no item 'nowhere'"):
        engine.event("a", "nowhere")
