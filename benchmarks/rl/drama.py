"""Drama on a pixel game: its return beside PPO's after as many steps, its experience drawn in two ways.

stable-baselines3 runs where it is importable (`PYTHONPATH` may name a folder that holds it); its rows are
left out where it is not. Every finished run is kept in a ledger.
"""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import numpy as np
import torch

from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.rl.acting import Actor, RandomActor
from statewise.rl.drama.learner import Drama, DramaTraining
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.evaluation import play
from statewise.rl.statistics import bootstrap_interval, iqm

NAME = "rl/drama"
GAME = EnvironmentSpec(id="catch")
SEEDS = (0, 1, 2)
STEPS, EPISODES = 10_000, 20
OURS: dict[str, dict[str, Any]] = {"drama": {}, "drama, experience drawn evenly": {"uniform": True}}
ATARI = {
    "n_steps": 128,
    "n_epochs": 4,
    "batch_size": 256,
    "vf_coef": 0.5,
    "ent_coef": 0.01,
    "learning_rate": lambda left: 2.5e-4 * left,
    "clip_range": lambda left: 0.1 * left,
}
CARTPOLE = {
    "n_steps": 32,
    "n_epochs": 20,
    "batch_size": 256,
    "gae_lambda": 0.8,
    "gamma": 0.98,
    "learning_rate": lambda left: 1e-3 * left,
    "clip_range": lambda left: 0.2 * left,
}
PEERS = {"stable-baselines3 PPO, as for Atari": ATARI, "stable-baselines3 PPO, as for CartPole": CARTPOLE}

PROTOCOL = {
    "game": "`catch`, 16 x 16 pixels: five balls, drifting and bouncing; return -5 to 5",
    "drama": f"the preset small: {STEPS:,} steps in 2 environments, the first 1,000 random; then an update "
    "of the world model every 2 steps, and of actor and critic too after three tenths; the last weights, "
    "greedy",
    "peers": "settings of rl-zoo3 for Atari and for CartPole, 8 environments, the last four frames stacked, "
    "an MLP policy since the convolutions of its CNN policy want 36 x 36 pixels; as many steps, the last "
    "weights, greedy",
    "evaluation": f"{EPISODES} fresh episodes per run, the same seeds for all; interquartile mean and a 95 % "
    "bootstrap interval over runs and episodes",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("method", "seed"))
    for seed in SEEDS:
        for method in ("random", *OURS, *PEERS):
            if method in PEERS and importlib.util.find_spec("stable_baselines3") is None:
                continue
            if ledger.find(method=method, seed=seed) is None:
                ledger.add(played(method, seed))
                print(method, seed, ledger.rows[-1]["iqm"], ledger.rows[-1]["cpu_seconds"], flush=True)
    publish(report(ledger.rows))


def played(method: str, seed: int) -> dict[str, Any]:
    """Train once and play."""
    begun = time.process_time()
    size = 0
    if method in OURS:
        settings = Drama.presets["small"] | {"steps": STEPS} | OURS[method]
        config = DramaTraining(**settings)
        learner = Drama(config, GAME, seed)
        while learner.steps < STEPS:
            learner.advance()
        learner.close()
        actor: Actor = learner.actor(greedy=True)
        size = sum(parameter.numel() for parameter in learner.network.parameters())
    elif method in PEERS:
        actor, size = peer(PEERS[method], seed)
    else:
        actor = RandomActor(make(GAME).action_space)
    seconds = time.process_time() - begun
    returns = play(actor, GAME, episodes=EPISODES).returns
    return {
        "method": method,
        "seed": seed,
        "returns": [float(value) for value in returns],
        "iqm": iqm(returns),
        "steps": 0 if method == "random" else STEPS,
        "cpu_seconds": round(seconds, 1),
        "parameters": size,
    }


def peer(settings: dict[str, Any], seed: int) -> tuple[Actor, int]:
    """stable-baselines3's PPO after `STEPS` steps, and the number of its parameters."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack

    many = VecFrameStack(make_vec_env(lambda: make(GAME), n_envs=8, seed=seed), 4)
    model = PPO("MlpPolicy", many, seed=seed, device="cpu", **settings)
    model.learn(STEPS)

    class Acting(Actor):
        def begin(self, count: int, seed: int) -> None:
            self.frames: np.ndarray | None = None

        def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
            if self.frames is None:
                self.frames = np.zeros((*observation.shape[:-1], 4), observation.dtype)
            self.frames[first] = 0
            self.frames = np.concatenate([self.frames[..., 1:], observation], -1)
            return model.predict(self.frames, deterministic=True)[0]

    return Acting(), sum(parameter.numel() for parameter in model.policy.parameters())


def report(rows: list[dict[str, Any]]) -> Result:
    runs = {method: [row for row in rows if row["method"] == method] for method in ("random", *OURS, *PEERS)}
    lines = [line(found) for found in runs.values() if len(found) == len(SEEDS)]
    names = {"statewise-core", "statewise-rl", "torch", "gymnasium", "numpy"}
    if any(row["method"] in PEERS for row in lines):
        names.add("stable-baselines3")
    return Result(
        benchmark=NAME,
        title="Drama on a pixel game",
        summary=f"Return in `catch` after {STEPS:,} steps: "
        + ", ".join(f"{row['iqm']:.1f} ({row['method']})" for row in lines)
        + ".",
        versions=versions(*sorted(names)),
        protocol=PROTOCOL,
        seeds=SEEDS,
        rows=tuple(rows),
        tables=(Table(title="Return", columns=RETURNS, rows=tuple(lines), note=NOTE),),
    )


def line(runs: list[dict[str, Any]]) -> dict[str, Any]:
    returns = [np.array(run["returns"]) for run in runs]
    low, high = bootstrap_interval(returns)
    return {
        "method": runs[0]["method"],
        "iqm": iqm(np.concatenate(returns)),
        "low": low,
        "high": high,
        "worst": min(run["iqm"] for run in runs),
        "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in runs])),
        "parameters": runs[0]["parameters"],
    }


RETURNS = (
    Column(key="method", label="agent"),
    Column(key="iqm", label="IQM return", format=".2f"),
    Column(key="low", label="95 % low", format=".2f"),
    Column(key="high", label="95 % high", format=".2f"),
    Column(key="worst", label="worst run", format=".2f"),
    Column(key="cpu_seconds", label="CPU seconds", format=".0f"),
    Column(key="parameters", label="parameters", format=","),
)
NOTE = (
    "CPU seconds on a shared machine: an order of magnitude. PPO takes a small part of the time and would "
    "take far more steps in it: this table is about steps."
)
if __name__ == "__main__":
    main()
