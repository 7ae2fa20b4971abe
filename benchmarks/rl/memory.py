"""Memory of on-policy agents: S5, Mamba and GRU against no memory, on RepeatPrevious and on a T-maze.

The T-maze is trained at a corridor of 20 steps and tested at 20, 100 and 200. Every finished (task, memory,
seed) is kept in a ledger.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.evaluation import play
from statewise.rl.online import Plan, learn
from statewise.rl.ppo import PPO, PPOConfig
from statewise.rl.statistics import bootstrap_interval, iqm

NAME = "rl/memory"
SEEDS = (0, 1, 2)
MEMORIES = ("s5", "gru", "mlp", "mamba")
EPISODES = 20
LENGTHS = (20, 100, 200)
TASKS = {
    "tmaze": (EnvironmentSpec(id="tmaze", options={"length": 20}), 120_000, None),
    "repeat-previous": (EnvironmentSpec(id="repeat-previous", options={"lag": 4}), 240_000, 0.95),
}

PROTOCOL = {
    "tasks": "T-maze: a cue at the start, 20 steps, a junction; return -1 or 1, chance 0. RepeatPrevious: 52 "
    "cards of 4 suits, say the suit of 4 cards ago; return -1 to 1, chance -0.5",
    "action before": "hidden in the T-maze, where a policy that repeats its own actions needs no memory; "
    "read in RepeatPrevious",
    "agent": "encoder, one block of memory, actor and critic, 64 features; S5 with 64 states, Mamba with 16, "
    "GRU; mlp has the same block without memory",
    "training": "PPO, 16 environments of 128 steps, 6 epochs of 4 minibatches of whole environments, rate "
    "0.001 falling linearly, discount 0.99, lambda 0.95; T-maze 120,000 steps, RepeatPrevious 240,000 at "
    "most and until 0.95 on validation episodes",
    "weights": "those of the best validation episodes, whose seeds are apart from all others",
    "evaluation": f"{EPISODES} fresh episodes per run, greedy; interquartile mean over three runs and a 95 % "
    "bootstrap interval over runs and episodes",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("task", "memory", "seed"))
    for task in TASKS:
        for memory in MEMORIES:
            for seed in SEEDS:
                if ledger.find(task=task, memory=memory, seed=seed) is None:
                    ledger.add(measure(task, memory, seed))
                    row = ledger.rows[-1]
                    print(task, memory, seed, row["steps"], row["cpu_seconds"], row["iqm"], flush=True)
    publish(report(ledger.rows))


def measure(task: str, memory: str, seed: int) -> dict[str, Any]:
    """Train once and play at every length."""
    spec, steps, until = TASKS[task]
    before = time.process_time()
    config = PPOConfig(memory=memory, steps=steps, last_action=task != "tmaze")
    learner = PPO(config, spec, seed)
    result = learn(learner, None, Plan(evaluate_every=10_000, episodes=20, until=until))
    seconds = time.process_time() - before
    learner.close()
    actor = learner.actor(greedy=True)
    played = {}
    for length in LENGTHS if task == "tmaze" else (4,):
        options = {"length": length} if task == "tmaze" else spec.options
        episodes = play(actor, EnvironmentSpec(id=spec.id, options=options), episodes=EPISODES)
        played[str(length)] = [float(value) for value in episodes.returns]
    return {
        "task": task,
        "memory": memory,
        "seed": seed,
        "returns": played,
        "iqm": {name: iqm(np.array(values)) for name, values in played.items()},
        "steps": learner.steps,
        "stopped_by": result.stopped_by,
        "cpu_seconds": round(seconds, 2),
        "parameters": sum(parameter.numel() for parameter in learner.network.parameters()),
    }


def report(rows: list[dict[str, Any]]) -> Result:
    def whole(task: str, memory: str) -> bool:
        return len([row for row in rows if row["task"] == task and row["memory"] == memory]) == len(SEEDS)

    maze = [
        _line(rows, "tmaze", memory, str(length))
        for memory in MEMORIES
        for length in LENGTHS
        if whole("tmaze", memory)
    ]
    cards = [
        _line(rows, "repeat-previous", memory, "4") for memory in MEMORIES if whole("repeat-previous", memory)
    ]
    far = ", ".join(
        f"{row['iqm']:.2f} ({row['memory']})" for row in maze if row["tested"] == str(LENGTHS[-1])
    )
    best = ", ".join(f"{row['iqm']:.2f} ({row['memory']})" for row in cards)
    summary = f"Trained at 20 steps and tested at {LENGTHS[-1]}, the T-maze gives {far}."
    tables = [Table(title="T-maze, trained at 20 steps", columns=COLUMNS, rows=tuple(maze), note=MAZE + NOTE)]
    if cards:
        summary += f" RepeatPrevious with a lag of 4 gives {best}."
        tables.append(Table(title="RepeatPrevious, lag 4", columns=COLUMNS, rows=tuple(cards), note=NOTE))
    return Result(
        benchmark=NAME,
        title="Memory of on-policy agents",
        summary=f"{summary} One size of a task and a short training: not a ranking of layers.",
        versions=versions("statewise-core", "statewise-rl", "torch", "gymnasium", "numpy"),
        protocol=PROTOCOL,
        seeds=SEEDS,
        rows=tuple(rows),
        tables=tuple(tables),
    )


def _line(rows: list[dict[str, Any]], task: str, memory: str, tested: str) -> dict[str, Any]:
    runs = [row for row in rows if row["task"] == task and row["memory"] == memory]
    returns = [np.array(run["returns"][tested]) for run in runs]
    low, high = bootstrap_interval(returns)
    return {
        "memory": memory,
        "tested": tested,
        "iqm": iqm(np.concatenate(returns)),
        "low": low,
        "high": high,
        "worst_run": min(float(values.mean()) for values in returns),
        "steps": float(np.mean([run["steps"] for run in runs])),
        "parameters": runs[0]["parameters"],
        "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in runs])),
    }


COLUMNS = (
    Column(key="memory", label="memory"),
    Column(key="tested", label="tested at"),
    Column(key="iqm", label="IQM return", format=".2f"),
    Column(key="low", label="95 % low", format=".2f"),
    Column(key="high", label="95 % high", format=".2f"),
    Column(key="worst_run", label="mean of the worst run", format=".2f"),
    Column(key="steps", label="steps trained", format=".0f"),
    Column(key="parameters", label="parameters"),
    Column(key="cpu_seconds", label="CPU seconds", format=".0f"),
)
MAZE = (
    "The action before is hidden, so that only memory can carry the cue. A run that always turns the same "
    "way is right for the cues that happen to point there. "
)
NOTE = "CPU seconds of one thread of a shared machine, validation included: an order of magnitude."

if __name__ == "__main__":
    main()
