"""Time and memory of one decision against the length of the history: ds4, aaren and the decision transformer.

The transformer stands in three rows: at its own context of 20 steps, which it reads again at every step; at a
context of 200 read again; and at a context of 200 with a cache of keys and values, which is exact while an
episode is no longer than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.results import Column, Result, Table, publish, versions
from statewise.rl.models.aaren_policy import AarenPolicy, AarenPolicyConfig
from statewise.rl.models.ds4 import DS4, DS4Config
from statewise.rl.models.dt import DT, DTConfig
from statewise.rl.models.sequence import Inputs
from statewise.rl.states import flat_state

NAME = "rl/latency"
HISTORIES = (10, 20, 50, 100, 199, 1000)
OBSERVATION, ACTION = 11, 3
ROUNDS, REPEATS = 9, 12
CACHED = "dt, context 200, key-value cache"

PROTOCOL = {
    "sizes": "those of Hopper: 11 numbers of an observation, 3 of an action; one environment, batch 1",
    "models": "ds4: 3 layers, H = N = 64; aaren: 3 blocks, E = 128, 4 heads; dt: 3 layers, E = 128, 1 head",
    "history": "steps of the episode before the one that is timed; the states are built by stepping",
    "time": f"CPU time of one thread, float32, inference mode; the median of {ROUNDS} rounds, in each of "
    f"which every model takes {REPEATS} steps from the same state, one model after the other",
    "memory": "bytes of all that is carried from step to step",
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for history in HISTORIES:
            rows += measure(history)
            print(rows[-1], flush=True)
    publish(report(rows))


def inputs(t: int) -> Inputs:
    return Inputs(
        torch.randn(1, OBSERVATION), torch.randn(1, ACTION), torch.full((1,), 100.0), torch.tensor([t])
    )


def candidates(history: int) -> dict[str, tuple[Callable[[], Any], Any, int]]:
    """By name: a step, the state it starts from, parameters."""
    sizes = {"observation": OBSERVATION, "outputs": ACTION}
    found: dict[str, tuple[Callable[[], Any], Any, int]] = {}
    models: dict[str, Any] = {
        "ds4": DS4(DS4Config(**sizes)),
        "aaren": AarenPolicy(AarenPolicyConfig(**sizes)),
        "dt, context 20": DT(DTConfig(**sizes, context=20)),
        "dt, context 200": DT(DTConfig(**sizes, context=200)),
    }
    if history < 200:
        models[CACHED] = DT(DTConfig(**sizes, context=200))
    for name, model in models.items():
        model.eval()
        step = model.cached_step if name == CACHED else model.step
        state = model.empty_cache(1) if name == CACHED else model.initial_state(1)
        # what lies before the window does not change the cost of a step
        begin = 0 if name in ("ds4", "aaren", CACHED) else max(0, history - model.config.context)
        for t in range(begin, history):
            _, state = step(inputs(t), state)
        now = inputs(history)
        count = sum(parameter.numel() for parameter in model.parameters())
        found[name] = (lambda step=step, now=now, state=state: step(now, state), state, count)
    return found


def measure(history: int) -> list[dict[str, Any]]:
    ready = candidates(history)
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(ROUNDS):
        for name, (step, _, _) in ready.items():
            step()
            before = time.process_time()
            for _ in range(REPEATS):
                step()
            times[name].append((time.process_time() - before) / REPEATS)
    base = median(times["ds4"])
    return [
        {
            "history": history,
            "model": name,
            "milliseconds": 1000 * median(times[name]),
            "times_ds4": median(times[name]) / base,
            "kilobytes": sum(part.numel() * part.element_size() for part in flat_state(state)) / 1000,
            "parameters": count,
        }
        for name, (_, state, count) in ready.items()
    ]


def report(rows: list[dict[str, Any]]) -> Result:
    own = [row["milliseconds"] for row in rows if row["model"] == "ds4"]
    others = [row["times_ds4"] for row in rows if row["model"] not in ("ds4", "aaren")]
    least = min(row["times_ds4"] for row in rows if row["model"] == CACHED)
    table = [
        {
            "model": model,
            "parameters": next(row["parameters"] for row in rows if row["model"] == model),
            **{
                f"at_{history}": next(
                    (r["times_ds4"] for r in rows if r["model"] == model and r["history"] == history), None
                )
                for history in HISTORIES
            },
            "kilobytes_least": min(row["kilobytes"] for row in rows if row["model"] == model),
            "kilobytes_most": max(row["kilobytes"] for row in rows if row["model"] == model),
        }
        for model in dict.fromkeys(row["model"] for row in rows)
    ]
    return Result(
        benchmark=NAME,
        title="Time and memory of a decision against the length of the history",
        summary="A step of ds4 costs the same at any history: its slowest is "
        f"{max(own) / min(own):.2f} times its fastest over histories of {HISTORIES[0]} to {HISTORIES[-1]} "
        f"steps. The decision transformer takes {min(others):.1f} to {max(others):.1f} times as long, "
        f"with a key-value cache {least:.1f} times at "
        "least. The cache ends with the context: beyond it the window has to be read again.",
        versions=versions("statewise-core", "statewise-rl", "torch"),
        protocol=PROTOCOL,
        rows=tuple(rows),
        tables=(Table(title=TITLE, columns=COLUMNS, rows=tuple(table), note=NOTE),),
    )


TITLE = "Time of a step, ds4 = 1 at the same history"
COLUMNS = (
    Column(key="model", label="model"),
    Column(key="parameters", label="parameters"),
    *(Column(key=f"at_{history}", label=f"history {history}", format=".2f") for history in HISTORIES),
    Column(key="kilobytes_least", label="state, least kB", format=".1f"),
    Column(key="kilobytes_most", label="state, most kB", format=".1f"),
)
NOTE = (
    "Ratios are of medians in one process on a shared machine; milliseconds are in the JSON. The window of "
    "the transformer holds inputs, not keys and values, so that its state is small and its step is long."
)

if __name__ == "__main__":
    main()
