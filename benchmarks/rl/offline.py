"""Sequence policies from recorded episodes, judged by the return they reach: ds4, dt and bc.

Full observations, without velocities (aaren and percent-bc there too), and with all reward in the last step.
Every finished (set, view, model, seed) is kept in a ledger, so that the script can be stopped and started.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
import torch

from benchmarks.results import Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from statewise.rl.acting import RandomActor
from statewise.rl.api import fit_run
from statewise.rl.environments.experts import expert
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.evaluation import play
from statewise.rl.settings import FitSettings
from statewise.rl.statistics import bootstrap_interval, iqm

NAME = "rl/offline"
SEEDS = (0, 1, 2)
EPISODES = 20
VIEWS = {
    "full": {"cartpole": ("CartPole-v1", ()), "pendulum": ("Pendulum-v1", ())},
    "no velocities": {"cartpole": ("masked-cartpole", (0, 2)), "pendulum": ("masked-pendulum", (0, 1))},
}
RECIPES = {
    "ds4": ("ds4-small", 300, {}),
    "dt": ("dt-small", 150, {"batch_size": 32}),
    "bc": ("bc", 1000, {}),
}
EXTRA = {
    "ds4, action kept": ("ds4-small", 300, {"forget": 0.0}),
    "aaren": ("aaren-small", 300, {}),
    "percent-bc": ("percent-bc", 1000, {}),
}
"""Further rows of one cell."""
EXTRA_CELL = ("cartpole-medium", "no velocities")
CELLS = [
    ("cartpole-medium", "full"),
    ("cartpole-replay", "full"),
    ("cartpole-medium", "no velocities"),
    ("cartpole-replay", "no velocities"),
    ("pendulum-medium", "full"),
    ("pendulum-replay", "full"),
    ("pendulum-medium", "no velocities"),
    ("pendulum-replay", "no velocities"),
]
DELAYED = ("cartpole-replay", "delayed reward")

PROTOCOL = {
    "judged by": f"the return of {EPISODES} fresh episodes per run from fixed seeds, greedy; interquartile "
    "mean over three runs and a 95 % bootstrap interval over runs and episodes",
    "target": "sequence models are asked for the best return of their data",
    "training": "AdamW, rate 0.002, warm-up 100 steps, cosine, clip 0.25, weight decay 0.0001; the last "
    "weights; ds4: 300 steps of 8 whole episodes; dt: 150 steps of 32 windows of 20 steps; "
    "bc: 1000 steps of 64 states",
    "models": "ds4: 2 layers, H = 48, N = 32; dt: 2 layers, E = 64, 1 head, K = 20; "
    "bc: 2 hidden layers of 256",
    "no velocities": "of CartPole's observation the position and the angle are kept, of Pendulum's the sine "
    "and the cosine",
    "delayed reward": "all reward of an episode is given in its last step, in the data only",
    "budget": "short trainings, of ten CPU seconds or so each: a comparison at equal, small cost",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("data", "view", "model", "seed"))
    for data, view, model, recipe in parts():
        for seed in SEEDS:
            if ledger.find(data=data, view=view, model=model, seed=seed) is None:
                ledger.add(measure(data, view, model, recipe, seed))
                print(ledger.rows[-1]["data"], view, model, seed, ledger.rows[-1]["iqm"], flush=True)
    rows = [row for row in ledger.rows if row["seed"] in SEEDS]
    publish(report(rows))


def parts() -> list[tuple[str, str, str, Any]]:
    """Everything to measure: data set, view, name of the row, recipe."""
    cart = [cell for cell in CELLS if cell[0].startswith("cartpole")]
    rest = [cell for cell in CELLS if cell not in cart]
    found = [(data, view, model, recipe) for data, view in cart for model, recipe in RECIPES.items()]
    found += [(*EXTRA_CELL, model, recipe) for model, recipe in EXTRA.items()]
    found += [(*DELAYED, model, recipe) for model, recipe in RECIPES.items() if model != "bc"]
    found += [(data, view, model, recipe) for data, view in rest for model, recipe in RECIPES.items()]
    return found


def environment(data: str, view: str) -> tuple[str, tuple[int, ...]]:
    return VIEWS.get(view, VIEWS["full"])[data.partition("-")[0]]


def measure(data: str, view: str, model: str, recipe: Any, seed: int) -> dict[str, Any]:
    """Train once and play."""
    name, steps, settings = recipe
    env, columns = environment(data, view)
    overrides = {"learning_rate": 0.002, **settings}
    if view == "delayed reward":
        overrides["delayed"] = True
    before = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        asked = FitSettings(
            what=str(data_file(f"rl/{data}.npz")),
            model=name,
            env=env,
            columns=columns,
            overrides=overrides,
            steps=steps,
            episodes=EPISODES,
            seed=seed,
            threads=1,
        )
        outcome = fit_run(asked, out=f"{folder}/run")
    line = next(line for line in outcome.lines if line.model)
    return {
        "data": data,
        "view": view,
        "model": model,
        "seed": seed,
        "iqm": line.iqm,
        "returns": [float(value) for value in line.returns],
        "parameters": outcome.fitted.parameters,
        "target": outcome.policy.facts["target"],
        "cpu_seconds": round(time.process_time() - before, 2),
    }


def bounds(env: str) -> tuple[float, float]:
    """Interquartile means of random actions and of the scripted expert on the same seeds."""
    spec = EnvironmentSpec(id=env)
    scripted = expert(env, {})
    assert scripted is not None
    below = play(RandomActor(make(spec).action_space), spec, episodes=EPISODES)
    return iqm(below.returns), iqm(play(scripted, spec, episodes=EPISODES).returns)


def report(rows: list[dict[str, Any]]) -> Result:
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["data"], row["view"], row["model"]), []).append(row)
    known = {env: bounds(env) for env in {environment(data, view)[0] for data, view, _ in found}}
    table = [_line(key, runs, known) for key, runs in found.items() if len(runs) == len(SEEDS)]
    wins = _wins(table)
    return Result(
        benchmark=NAME,
        title="Policies from recorded episodes: ds4, dt and bc in closed loop",
        summary=wins,
        versions=versions("statewise-core", "statewise-rl", "torch", "gymnasium", "numpy"),
        protocol=PROTOCOL,
        data=tuple(
            fingerprint(
                data_file(f"rl/{name}.npz"),
                origin="recorded with scripted controllers of this project and disturbed actions",
                licence="CC0",
            )
            for name in sorted({data for data, _, _ in found})
        ),
        seeds=SEEDS,
        rows=tuple(rows),
        tables=(Table(title="Return by set and view", columns=COLUMNS, rows=tuple(table), note=NOTE),),
    )


def _line(key: tuple[str, str, str], runs: list[dict[str, Any]], known: dict[str, Any]) -> dict[str, Any]:
    returns = [np.array(run["returns"]) for run in runs]
    low, high = bootstrap_interval(returns)
    worst, best = known[environment(key[0], key[1])[0]]
    value = iqm(np.concatenate(returns))
    return {
        "data": key[0],
        "view": key[1],
        "model": key[2],
        "iqm": value,
        "low": low,
        "high": high,
        "score": 100 * (value - worst) / (best - worst),
        "random": worst,
        "expert": best,
        "target": runs[0]["target"],
        "parameters": runs[0]["parameters"],
        "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in runs])),
    }


def _wins(table: list[dict[str, Any]]) -> str:
    cells: dict[tuple[str, str], dict[str, float]] = {}
    for row in table:
        if row["model"] in RECIPES:
            cells.setdefault((row["data"], row["view"]), {})[row["model"]] = row["iqm"]
    whole = [cell for cell in cells.values() if {"ds4", "dt"} <= cell.keys()]
    ahead = sum(cell["ds4"] >= cell["dt"] for cell in whole)
    over = [cell for cell in whole if "bc" in cell]
    above = sum(cell["ds4"] >= cell["bc"] for cell in over)
    return (
        f"At a few seconds of training each, ds4 reaches at least the return of dt in {ahead} of "
        f"{len(whole)} cells and at least that of behaviour cloning in {above} of {len(over)}. Score is 0 "
        "for random actions and 100 for the scripted expert. A loss on recorded actions is not shown: it "
        "does not tell who acts well."
    )


COLUMNS = (
    Column(key="data", label="data"),
    Column(key="view", label="view"),
    Column(key="model", label="model"),
    Column(key="iqm", label="IQM return", format=".1f"),
    Column(key="low", label="95 % low", format=".1f"),
    Column(key="high", label="95 % high", format=".1f"),
    Column(key="score", label="score", format=".0f"),
    Column(key="random", label="random", format=".1f"),
    Column(key="expert", label="expert", format=".1f"),
    Column(key="target", label="asked for", format=".1f"),
    Column(key="parameters", label="parameters"),
    Column(key="cpu_seconds", label="CPU seconds", format=".0f"),
)
NOTE = (
    "'ds4, action kept' never hides the action before in training, as in its paper; 'ds4' hides it with "
    "probability 0.3. CPU seconds are those of one thread of a shared machine, evaluation included: an order "
    "of magnitude."
)

if __name__ == "__main__":
    main()
