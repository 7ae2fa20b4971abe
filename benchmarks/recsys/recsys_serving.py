"""Serving: time of a step, latency at 100 requests a second over 20 connections, events lost by `kill -9`.

    uv run python -m benchmarks.recsys.recsys_serving

The model has 100,000 items and untrained weights: time does not depend on them. Client and server share the
machine.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import torch

from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.train import seeded
from statewise.recsys.events import build_log
from statewise.recsys.network.model import Network
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.options import ReadOptions
from statewise.recsys.recipes import recipe
from statewise.recsys.saved import Recommender, save_recommender
from statewise.recsys.serving.app import make_engine
from statewise.recsys.serving.nearest import Nearest

ITEMS, USERS, RATE, CONNECTIONS, SECONDS, KILLED = 100_000, 2_000, 100, 20, 15, 10_000
P50_GOAL, P99_GOAL, STEP_GOAL = 5.0, 25.0, 1.0
"""Milliseconds that the median and the 99th percentile of a request, and a step, are to stay below."""
PORT = 8765
ENCODERS = ("lru", "gru", "min-gru", "mamba", "mamba2", "gla", "hgrn2")


def main() -> None:
    torch.set_num_threads(1)
    waiting = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = [step_time(encoder, folder / encoder) for encoder in ENCODERS]
        print(steps, flush=True)
        latency = [served(folder / "lru", kind, folder) for kind in ("exact", "approximate")]
        print(latency, flush=True)
        lost = killed(folder / "lru", folder / "killed.sqlite")
        print(lost, flush=True)
    rows: list[dict[str, Any]] = [*steps, *latency, lost]
    publish(
        Result(
            benchmark="recsys/recsys_serving",
            title="Serving recommendations",
            summary=summary(steps, latency, lost, waiting),
            versions=versions(
                "statewise-core", "statewise-recsys", "torch", "fastapi", "uvicorn", "faiss-cpu"
            ),
            protocol={
                "model": f"lru, d 64, 2 blocks, {ITEMS:,} items, untrained",
                "requests": f"POST /event and POST /recommend (k 10) in turn, {SECONDS} s, {USERS:,} users",
                "search": "exact: bf16 over all items, float32 over those within its error; or faiss IVF",
                "machine": f"client and server share {len(os.sched_getaffinity(0))} processors; "
                f"load before {waiting:.1f}, nice {os.nice(0)}",
                "goals": f"median below {P50_GOAL:g} ms, 99th percentile below {P99_GOAL:g} ms, no error; a "
                f"step below {STEP_GOAL:g} ms; no acknowledged event lost",
                "store": "SQLite, write-ahead log, not forced to the disk at each event (no --durable)",
                "kill": f"SIGKILL amid {KILLED:,} events over {CONNECTIONS} connections; the file is counted",
                "step": "CPU time of one event in the engine without SQLite, median of 300, one thread",
                "threads": "one",
            },
            rows=tuple(rows),
            tables=(
                Table(
                    title="Latency",
                    columns=(
                        Column(key="search", label="search"),
                        Column(key="requests", label="requests"),
                        Column(key="p50_ms", label="p50 ms", format=".2f"),
                        Column(key="p50_goal_ms", label="goal", format="g"),
                        Column(key="p99_ms", label="p99 ms", format=".2f"),
                        Column(key="p99_goal_ms", label="goal", format="g"),
                        Column(key="met", label="met"),
                        Column(key="server_cpu_ms", label="server CPU ms per request", format=".2f"),
                        Column(key="errors", label="errors"),
                        Column(key="recall", label="recall@10", format=".3f"),
                    ),
                    rows=tuple(latency),
                    note=(
                        "Recall of the first ten against the exact ones, over 200 random queries: random "
                        "vectors have no clusters, which is the hardest case for approximate search."
                    ),
                ),
                Table(
                    title="One step",
                    columns=(
                        Column(key="encoder", label="encoder"),
                        Column(key="step_ms", label="CPU ms", format=".3f"),
                        Column(key="step_goal_ms", label="goal", format="g"),
                        Column(key="state_bytes", label="bytes of state"),
                    ),
                    rows=tuple(steps),
                ),
                Table(
                    title="kill -9",
                    columns=(
                        Column(key="acknowledged", label="acknowledged events"),
                        Column(key="kept", label="events kept"),
                        Column(key="lost", label="lost"),
                    ),
                    rows=(lost,),
                    note="Events may be kept and not yet acknowledged when the process ends.",
                ),
            ),
            seeds=(0,),
        )
    )


def summary(
    steps: list[dict[str, Any]], latency: list[dict[str, Any]], lost: dict[str, Any], waiting: float
) -> str:
    """The figures against the goals, in words."""
    searches = ", ".join(
        f"{row['search']} search {row['p50_ms']:.1f} ms at the median and {row['p99_ms']:.1f} ms at the 99th "
        f"percentile ({'within' if row['met'] else 'not within'} the goals)"
        for row in latency
    )
    slowest = max(steps, key=lambda row: row["step_ms"])
    text = (
        f"{RATE} requests a second over {CONNECTIONS} connections against {ITEMS:,} items: {searches}; "
        f"{sum(row['errors'] for row in latency)} errors. The slowest step, of {slowest['encoder']}, takes "
        f"{slowest['step_ms']:.2f} ms; {lost['lost']} of {lost['acknowledged']:,} acknowledged events lost "
        "by kill -9."
    )
    if waiting > 1:
        text += (
            f" Other work was on the machine (load {waiting:.1f}): waiting for a turn is in the times of the "
            "requests, and their CPU time says more."
        )
    return text


def make_run(encoder: str, path: Path) -> None:
    """A run with a few users and untrained weights."""
    made = recipe(encoder)
    items = pl.Series("item", [f"item-{v}" for v in range(ITEMS)])
    user = pl.Series("user", [f"user-{u}" for u in range(USERS) for _ in range(5)])
    rng = np.random.default_rng(0)
    log = build_log(user, items.gather(rng.integers(ITEMS, size=len(user))), known_items=items)
    with seeded(0):
        network = Network(made.network, ITEMS).eval()
    save_recommender(
        path / "model",
        Recommender(
            scorer=NetworkScorer(network, name=encoder),
            log=log,
            model=encoder,
            recipe=made,
            read=ReadOptions(),
            repeat="exclude",
            facts={"trained_on": "train"},
        ),
    )


def step_time(encoder: str, path: Path) -> dict[str, Any]:
    """CPU time of a step of the encoder for one user."""
    make_run(encoder, path)
    engine = make_engine(path, store=path / "s.sqlite")
    state = engine.recurrent.stack.initial_state(1)
    times = []
    with torch.inference_mode():
        for i in range(400):
            started = time.process_time()
            _, state = engine.recurrent.step(engine.vectors[i][None], state)
            times.append(time.process_time() - started)
    engine.event("user-0", "item-0")
    known = engine.store.get("user-0")
    engine.store.close()
    assert known is not None
    return {
        "encoder": encoder,
        "step_ms": 1e3 * float(np.median(times[100:])),
        "step_goal_ms": STEP_GOAL,
        "state_bytes": len(known.state),
    }


def served(path: Path, kind: str, folder: Path) -> dict[str, Any]:
    """Latency under a constant rate."""
    with Server(path, folder / f"{kind}.sqlite", kind) as server:
        before = server.cpu()
        times, errors = asyncio.run(load(RATE, SECONDS))
        cpu = server.cpu() - before
    engine = make_engine(path, store=folder / f"{kind}-recall.sqlite", nearest=kind)
    nearest = engine.nearest
    assert isinstance(nearest, Nearest)
    queries = np.random.default_rng(1).normal(size=(200, nearest.width)).astype(np.float32)
    recall = nearest.recall(queries)
    engine.store.close()
    p50, p99 = (1e3 * float(np.quantile(times, share)) for share in (0.5, 0.99))
    return {
        "search": kind,
        "requests": len(times),
        "p50_ms": p50,
        "p50_goal_ms": P50_GOAL,
        "p99_ms": p99,
        "p99_goal_ms": P99_GOAL,
        "met": p50 < P50_GOAL and p99 < P99_GOAL and not errors,
        "server_cpu_ms": 1e3 * cpu / len(times),
        "errors": errors,
        "recall": recall,
    }


async def load(rate: int, seconds: int) -> tuple[list[float], int]:
    """Requests at fixed times over twenty connections; seconds of each, and how many failed."""
    times: list[float] = []
    errors = 0
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", limits=limits, timeout=30) as client:
        for i in range(2 * CONNECTIONS):  # connections are open before the clock runs
            await client.post("/recommend", json={"user": f"user-{i}"})

        async def one(i: int) -> None:
            nonlocal errors
            user = f"user-{i * 7919 % USERS}"
            started = time.perf_counter()
            if i % 2:
                answer = await client.post("/event", json={"user": user, "item": f"item-{i * 31 % ITEMS}"})
            else:
                answer = await client.post("/recommend", json={"user": user, "k": 10})
            times.append(time.perf_counter() - started)
            errors += answer.status_code != 200

        started, tasks = time.perf_counter(), []
        for i in range(rate * seconds):
            await asyncio.sleep(max(0.0, started + i / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(one(i)))
        await asyncio.gather(*tasks)
    return times, errors


def killed(path: Path, store: Path) -> dict[str, Any]:
    """Events that were acknowledged and are gone after SIGKILL in their midst."""
    acknowledged: list[str] = []
    with Server(path, store, "exact") as server:

        async def send() -> None:
            limits = httpx.Limits(max_connections=CONNECTIONS)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{PORT}", limits=limits, timeout=30
            ) as client:

                async def worker(which: int) -> None:
                    for i in range(which, KILLED, CONNECTIONS):
                        if len(acknowledged) >= KILLED // 2:
                            server.kill()
                        try:
                            answer = await client.post("/event", json={"user": f"new-{i}", "item": "item-1"})
                        except httpx.HTTPError:
                            return
                        if answer.status_code == 200:
                            acknowledged.append(f"new-{i}")

                await asyncio.gather(*(worker(which) for which in range(CONNECTIONS)))

        asyncio.run(send())
    engine = make_engine(path, store=store)
    lost = sum(engine.store.get(user) is None for user in acknowledged)
    kept = engine.store.events()
    engine.store.close()
    return {"acknowledged": len(acknowledged), "kept": kept, "lost": lost}


class Server:
    """`recsys serve` in a process of its own."""

    def __init__(self, path: Path, store: Path, kind: str) -> None:
        words = [sys.executable, "-m", "statewise.recsys.cli", "serve", str(path), "--port", str(PORT)]
        self.words = [*words, "--store", str(store), "--nearest", kind, "--quiet"]

    def __enter__(self) -> Server:
        self.process = subprocess.Popen(self.words)
        for _ in range(600):
            try:
                httpx.get(f"http://127.0.0.1:{PORT}/health", timeout=1)
                return self
            except httpx.HTTPError:
                time.sleep(0.2)
        raise RuntimeError("the server does not answer")

    def __exit__(self, *reason: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)

    def cpu(self) -> float:
        """CPU seconds of the server so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        self.process.kill()


if __name__ == "__main__":
    main()
