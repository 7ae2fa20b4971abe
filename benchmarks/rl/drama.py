"""Drama on a pixel game: its return beside PPO's after as many steps, and what its world model foresees.

stable-baselines3 runs where it is importable (`PYTHONPATH` may name a folder that holds it); its rows are
left out where it is not. Every finished run is kept in a ledger.
"""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.core.train.device import seeded
from statewise.rl.acting import Actor, RandomActor
from statewise.rl.drama.laprop import LaProp
from statewise.rl.drama.learner import Drama, DramaTraining
from statewise.rl.drama.openloop import open_loop
from statewise.rl.drama.world import WorldConfig, WorldModel
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.environments.pixels import Catch
from statewise.rl.evaluation import play
from statewise.rl.statistics import bootstrap_interval, iqm

NAME = "rl/drama"
GAME = EnvironmentSpec(id="catch")
SEEDS = (0, 1, 2)
STEPS, TRAIN_EVERY, EPISODES = 10_000, 4, 20
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
MIXERS = ("mamba2", "gru")
WATCHED, CONTEXT, AHEAD, UPDATES, BATCH, LENGTH = 6_000, 8, 15, 2_000, 8, 32

PROTOCOL = {
    "game": "`catch`, 16 x 16 pixels: five balls, drifting and bouncing; return -5 to 5",
    "drama": f"the preset small for {STEPS:,} steps in 4 environments, one update of world model, actor and "
    f"critic every {TRAIN_EVERY} steps after 1,000 random ones; the last weights, greedy",
    "peers": "settings of rl-zoo3 for Atari and for CartPole, 8 environments, the last four frames stacked, "
    "an MLP policy since the convolutions of its CNN policy want 36 x 36 pixels; as many steps, the last "
    "weights, greedy",
    "evaluation": f"{EPISODES} fresh episodes per run, the same seeds for all; interquartile mean and a 95 % "
    "bootstrap interval over runs and episodes",
    "foreseeing": f"world models alone, {UPDATES:,} updates of {BATCH} windows of {LENGTH} steps from "
    f"{WATCHED:,} random steps; {CONTEXT} pictures of other episodes shown, then the actions only; summed "
    "squared error of a picture, mean over three runs",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("part", "method", "seed"))
    for seed in SEEDS:
        for mixer in MIXERS:
            if ledger.find(part="foreseeing", method=mixer, seed=seed) is None:
                ledger.add(foreseen(mixer, seed))
        for method in ("random", *OURS, *PEERS):
            if method in PEERS and importlib.util.find_spec("stable_baselines3") is None:
                continue
            if ledger.find(part="return", method=method, seed=seed) is None:
                ledger.add(played(method, seed))
                print(method, seed, ledger.rows[-1]["iqm"], ledger.rows[-1]["cpu_seconds"], flush=True)
    publish(report(ledger.rows))


def played(method: str, seed: int) -> dict[str, Any]:
    """Train once and play."""
    begun = time.process_time()
    size = 0
    if method in OURS:
        config = DramaTraining(steps=STEPS, train_every=TRAIN_EVERY, **OURS[method])
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
        "part": "return",
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


def foreseen(mixer: str, seed: int) -> dict[str, Any]:
    """Train a world model on random play; errors by horizon of it and of the last picture."""
    begun = time.process_time()
    rng = np.random.default_rng((seed, 7))
    train, test = watch(WATCHED, 2 * seed), watch(WATCHED // 6, 2 * seed + 1)
    with seeded(seed):
        settings = {"d_state": 16} if mixer == "mamba2" else {}
        world = WorldModel(WorldConfig(observation=(16, 16, 1), actions=3, mixer=mixer, settings=settings))
        optimiser = LaProp(world, rate=1e-3, warmup=100)
        for _ in range(UPDATES):
            rows = rng.integers(0, WATCHED - LENGTH, BATCH)[:, None] + np.arange(LENGTH)
            first = train[-1][rows].clone()
            first[:, 0] = True
            picture, action, reward, end, _ = (part[rows] for part in train)
            loss = world.loss(picture, action, reward, end, first).total
            optimiser.clear()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(world.parameters(), 1000.0)
            optimiser.step()
    starts = [s for s in range(0, len(test[0]) - CONTEXT - AHEAD, 5) if not whole(test[-1], s)]
    rows = np.array(starts)[:, None] + np.arange(CONTEXT + AHEAD)
    errors = open_loop(world.eval(), test[0][rows], test[1][rows], CONTEXT).errors()
    model, copied = ((256 * one).tolist() for one in errors)
    return {
        "part": "foreseeing",
        "method": mixer,
        "seed": seed,
        "model": model,
        "copied": copied,
        "windows": len(starts),
        "cpu_seconds": round(time.process_time() - begun, 1),
        "parameters": sum(parameter.numel() for parameter in world.parameters()),
    }


def watch(steps: int, seed: int) -> tuple[Tensor, ...]:
    """Random play: pictures, actions, rewards, ends and beginnings, one row per step."""
    rng, game = np.random.default_rng(seed), Catch()
    picture, _ = game.reset(seed=seed)
    pictures, actions, rewards, ends = [], [], [], []
    for _ in range(steps):
        pictures.append(picture.reshape(-1) / np.float32(255))
        actions.append(rng.integers(3))
        picture, reward, end, _, _ = game.step(actions[-1])
        rewards.append(reward)
        ends.append(end)
        if end:
            picture, _ = game.reset()
    first = torch.tensor([True, *ends[:-1]])
    action = F.one_hot(torch.tensor(np.array(actions)), 3).float()
    return torch.tensor(np.array(pictures)), action, torch.tensor(rewards), torch.tensor(ends), first


def whole(first: Tensor, start: int) -> bool:
    """Whether an episode begins inside the window, so that it is not of one episode."""
    return bool(first[start + 1 : start + CONTEXT + AHEAD].any())


def report(rows: list[dict[str, Any]]) -> Result:
    lines = [
        line(runs)
        for method in ("random", *OURS, *PEERS)
        if len(runs := [row for row in rows if row["method"] == method and row["part"] == "return"])
        == len(SEEDS)
    ]
    ahead = [row for row in rows if row["part"] == "foreseeing"]
    errors = {
        mixer: np.mean([row["model"] for row in ahead if row["method"] == mixer], 0) for mixer in MIXERS
    }
    copied = np.mean([row["copied"] for row in ahead], 0)
    horizons = [
        {"ahead": k + 1, **{mixer: float(errors[mixer][k]) for mixer in MIXERS}, "copied": float(copied[k])}
        for k in range(AHEAD)
    ]
    found = {row["method"]: row["iqm"] for row in lines}
    names = {"statewise-core", "statewise-rl", "torch", "gymnasium", "numpy"}
    if any(method in found for method in PEERS):
        names.add("stable-baselines3")
    return Result(
        benchmark=NAME,
        title="Drama on a pixel game",
        summary=f"Return in `catch` after {STEPS:,} steps: "
        + ", ".join(f"{value:.1f} ({method})" for method, value in found.items())
        + f". Foreseeing {AHEAD} pictures from the actions alone is wrong by {horizons[0]['mamba2']:.2f} to "
        f"{horizons[-1]['mamba2']:.2f} with Mamba-2, {horizons[0]['gru']:.2f} to "
        f"{horizons[-1]['gru']:.2f} with a GRU, {horizons[0]['copied']:.2f} to "
        f"{horizons[-1]['copied']:.2f} by the last picture.",
        versions=versions(*sorted(names)),
        protocol=PROTOCOL,
        seeds=SEEDS,
        rows=tuple(rows),
        tables=(
            Table(title="Return", columns=RETURNS, rows=tuple(lines), note=NOTE),
            Table(
                title="What the world model foresees", columns=HORIZONS, rows=tuple(horizons), note=UNKNOWN
            ),
        ),
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
HORIZONS = (
    Column(key="ahead", label="steps ahead"),
    *(Column(key=mixer, label=mixer, format=".2f") for mixer in MIXERS),
    Column(key="copied", label="last picture again", format=".2f"),
)
NOTE = (
    "CPU seconds on a shared machine: an order of magnitude. PPO takes a small part of the time and would "
    "take far more steps in it: this table is about steps."
)
UNKNOWN = (
    "A ball counts 1, the paddle 1.2, so that an empty picture is wrong by 2.2. Where the next ball drops is "
    "not foreseeable: within fifteen steps there is one new ball in every window."
)

if __name__ == "__main__":
    main()
