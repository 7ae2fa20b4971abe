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
PORT = 8765
ENCODERS = ("lru", "gru", "min-gru", "mamba", "mamba2", "gla", "hgrn2")


def main() -> None:
    torch.set_num_threads(1)
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
            summary=(
                f"{RATE} requests a second over {CONNECTIONS} connections against {ITEMS:,} items: median "
                f"{latency[0]['p50_ms']:.1f} ms exactly, {latency[1]['p50_ms']:.1f} ms approximately, "
                f"{sum(row['errors'] for row in latency)} errors; {lost['lost']} of {lost['acknowledged']:,} "
                "acknowledged events lost by kill -9. Client and server shared two processors "
                f"(load {os.getloadavg()[0]:.0f}, nice {os.nice(0)}): waiting for a turn is in these times, "
                "and the CPU time of a request says more."
            ),
            versions=versions(
                "statewise-core", "statewise-recsys", "torch", "fastapi", "uvicorn", "faiss-cpu"
            ),
            protocol={
                "model": f"lru, d 64, 2 blocks, {ITEMS:,} items, untrained",
                "requests": f"POST /event and POST /recommend (k 10) in turn, {SECONDS} s, {USERS:,} users",
                "search": "exact: bf16 over all items, float32 over those within its error; or faiss IVF",
                "priority": "nice " + str(os.nice(0)) + " of client and server; 0 is that of other work",
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
                        Column(key="p99_ms", label="p99 ms", format=".2f"),
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
    return {
        "search": kind,
        "requests": len(times),
        "p50_ms": 1e3 * float(np.median(times)),
        "p99_ms": 1e3 * float(np.quantile(times, 0.99)),
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
