"""CartPole with and without velocities: s5-ppo, the same without memory, and stable-baselines3's agents.

The peers run where they are importable (`PYTHONPATH` may name a folder that holds stable-baselines3 and
sb3-contrib); their rows are left out where they are not. Every finished (environment, agent, seed) is kept
in a ledger.
"""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import numpy as np
import torch

from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.rl.acting import Actor
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.evaluation import VALIDATION_SEEDS, play
from statewise.rl.online import Plan, learn
from statewise.rl.ppo import PPO, PPOConfig
from statewise.rl.statistics import bootstrap_interval, iqm

NAME = "rl/cartpole"
SEEDS = (0, 1, 2)
EPISODES = 20
SOLVED = 475.0
STEPS = 100_000
EVERY = 10_000
PARTS = (
    ("CartPole-v1", "s5-ppo"),
    ("masked-cartpole", "s5-ppo"),
    ("masked-cartpole", "mlp-ppo"),
    ("CartPole-v1", "stable-baselines3 PPO"),
    ("masked-cartpole", "stable-baselines3 PPO"),
    ("masked-cartpole", "sb3-contrib RecurrentPPO"),
)
RECURRENT = "sb3-contrib RecurrentPPO"
PEERS = ("stable-baselines3 PPO", RECURRENT)

PROTOCOL = {
    "ends": f"at the first look with an interquartile mean of {SOLVED:g} over 20 validation episodes; a "
    f"look every "
    f"{EVERY:,} steps, {STEPS:,} steps at most",
    "ours": "defaults of `rl fit`: 16 environments of 128 steps, 6 epochs of 4 minibatches of whole "
    "environments, "
    "rate 0.001 falling linearly over the run, discount 0.99, lambda 0.95, one block of 64 features",
    "peers": "settings of rl-zoo3 for CartPole, with and without velocities: 8 environments of 32 steps, "
    "batch 256, 20 epochs, lambda 0.8, "
    "discount 0.98, rate 0.001 and clip 0.2 falling linearly; the same looks, its greedy policy",
    "evaluation": f"{EPISODES} fresh episodes per run, greedy, the same seeds for all; 95 % bootstrap "
    f"interval over "
    "runs and episodes",
    "masked-cartpole": "the position of the cart and the angle of the pole only",
    "time": "CPU seconds of one thread, looks included",
}


def main() -> None:
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("environment", "agent", "seed"))
    for environment, agent in PARTS:
        if agent in PEERS and importlib.util.find_spec("sb3_contrib") is None:
            continue
        for seed in SEEDS:
            if ledger.find(environment=environment, agent=agent, seed=seed) is None:
                train = peer if agent in PEERS else ours
                ledger.add(train(environment, agent, seed))
                row = ledger.rows[-1]
                print(environment, agent, seed, row["steps"], row["cpu_seconds"], row["iqm"], flush=True)
    publish(report(ledger.rows))


def ours(environment: str, agent: str, seed: int) -> dict[str, Any]:
    spec = EnvironmentSpec(id=environment)
    before = time.process_time()
    learner = PPO(PPOConfig(memory=agent.partition("-")[0], steps=STEPS), spec, seed)
    plan = Plan(evaluate_every=EVERY, episodes=20, until=SOLVED)
    result = learn(learner, None, plan)
    seconds = time.process_time() - before
    learner.close()
    size = sum(parameter.numel() for parameter in learner.network.parameters())
    return row_of(environment, agent, seed, learner.actor(greedy=True), learner.steps, seconds, size) | {
        "solved": result.stopped_by == "until"
    }


def peer(environment: str, agent: str, seed: int) -> dict[str, Any]:
    """One of stable-baselines3's agents with the settings of rl-zoo3, looked at as ours are."""
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    spec = EnvironmentSpec(id=environment)

    class Acting(Actor):
        def begin(self, count: int, seed: int) -> None:
            self.state = None

        def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
            action, self.state = model.predict(observation, self.state, first, deterministic=True)
            return action

    class Look(BaseCallback):
        looked, solved = 0, False

        def _on_step(self) -> bool:
            return not self.solved

        def _on_rollout_end(self) -> None:
            if self.num_timesteps - self.looked >= EVERY:
                self.looked = self.num_timesteps
                found = play(Acting(), spec, episodes=20, seed=VALIDATION_SEEDS)
                self.solved = iqm(found.returns) >= SOLVED

    before = time.process_time()
    recurrent = agent == RECURRENT
    family = sb3_contrib.RecurrentPPO if recurrent else stable_baselines3.PPO
    model = family(
        "MlpLstmPolicy" if recurrent else "MlpPolicy",
        make_vec_env(lambda: make(spec), n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gae_lambda=0.8,
        gamma=0.98,
        ent_coef=0.0,
        learning_rate=lambda left: 1e-3 * left,
        clip_range=lambda left: 0.2 * left,
        seed=seed,
        device="cpu",
    )
    look = Look()
    model.learn(STEPS, callback=look)
    seconds = time.process_time() - before
    size = sum(parameter.numel() for parameter in model.policy.parameters())
    row = row_of(environment, agent, seed, Acting(), int(model.num_timesteps), seconds, size)
    return row | {"solved": look.solved}


def row_of(
    environment: str, agent: str, seed: int, actor: Actor, steps: int, seconds: float, size: int
) -> dict[str, Any]:
    played = play(actor, EnvironmentSpec(id=environment), episodes=EPISODES)
    return {
        "environment": environment,
        "agent": agent,
        "seed": seed,
        "returns": [float(value) for value in played.returns],
        "iqm": iqm(played.returns),
        "steps": steps,
        "cpu_seconds": round(seconds, 2),
        "parameters": size,
    }


def report(rows: list[dict[str, Any]]) -> Result:
    table = []
    for environment, agent in PARTS:
        runs = [row for row in rows if row["environment"] == environment and row["agent"] == agent]
        if len(runs) == len(SEEDS):
            table.append(_line(environment, agent, runs))
    own = next(row for row in table if row["agent"] == "s5-ppo" and row["environment"] == "CartPole-v1")
    names = {"statewise-core", "statewise-rl", "torch", "gymnasium", "numpy"}
    if any(row["agent"] in PEERS for row in table):
        names |= {"stable-baselines3", "sb3-contrib"}
    return Result(
        benchmark=NAME,
        title="CartPole with and without velocities",
        summary=f"s5-ppo solves CartPole in {own['solved']} of {len(SEEDS)} runs, after {own['steps']:,.0f} "
        f"steps and "
        f"{own['cpu_seconds']:.0f} CPU seconds of one thread on average, slowest {own['slowest']:.0f}. "
        f"Without "
        "velocities "
        + "; ".join(
            f"{row['agent']} reaches {row['iqm']:.0f}"
            for row in table
            if row["environment"] == "masked-cartpole"
        )
        + ".",
        versions=versions(*sorted(names)),
        protocol=PROTOCOL,
        seeds=SEEDS,
        rows=tuple(rows),
        tables=(Table(title="Three runs each", columns=COLUMNS, rows=tuple(table), note=NOTE),),
    )


def _line(environment: str, agent: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    returns = [np.array(run["returns"]) for run in runs]
    low, high = bootstrap_interval(returns)
    return {
        "environment": environment,
        "agent": agent,
        "iqm": iqm(np.concatenate(returns)),
        "low": low,
        "high": high,
        "solved": sum(bool(run["solved"]) for run in runs),
        "steps": float(np.mean([run["steps"] for run in runs])),
        "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in runs])),
        "slowest": max(run["cpu_seconds"] for run in runs),
        "parameters": runs[0]["parameters"],
    }


COLUMNS = (
    Column(key="environment", label="environment"),
    Column(key="agent", label="agent"),
    Column(key="iqm", label="IQM return", format=".0f"),
    Column(key="low", label="95 % low", format=".0f"),
    Column(key="high", label="95 % high", format=".0f"),
    Column(key="solved", label="solved, of 3"),
    Column(key="steps", label="steps", format=".0f"),
    Column(key="cpu_seconds", label="CPU seconds", format=".0f"),
    Column(key="slowest", label="slowest run", format=".0f"),
    Column(key="parameters", label="parameters"),
)
NOTE = (
    "CPU seconds on a shared machine: an order of magnitude, and comparable only within this table. The "
    "peer's "
    "settings are tuned for its own update, ours are the defaults for every environment."
)

if __name__ == "__main__":
    main()
