"""What Drama's world model foresees of a pixel game, with Mamba-2 or a GRU, beside the last picture again.

World models are trained alone, on random play. Every finished (layer, seed) is kept in a ledger.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.core.train.device import seeded
from statewise.rl.drama.laprop import LaProp
from statewise.rl.drama.openloop import open_loop
from statewise.rl.drama.world import WorldConfig, WorldModel
from statewise.rl.environments.pixels import Catch

NAME = "rl/foreseeing"
SEEDS = (0, 1, 2)
MIXERS = ("mamba2", "gru")
WATCHED, CONTEXT, AHEAD, UPDATES, BATCH, LENGTH = 6_000, 8, 15, 2_000, 8, 32

PROTOCOL = {
    "game": "`catch`, 16 x 16 pixels: balls that fall, drift and bounce, a paddle moved at random",
    "world model": "that of the preset small: 16 variables of 16 classes, 128 features, two layers",
    "training": f"{UPDATES:,} updates of {BATCH} windows of {LENGTH} steps from {WATCHED:,} steps, LaProp, "
    "rate 0.001",
    "judging": f"{CONTEXT} pictures of other episodes shown, then {AHEAD} foreseen from the actions alone by "
    "the likeliest latents; squared error summed over a picture, mean over windows and three runs",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("mixer", "seed"))
    for seed in SEEDS:
        for mixer in MIXERS:
            if ledger.find(mixer=mixer, seed=seed) is None:
                ledger.add(foreseen(mixer, seed))
                print(ledger.rows[-1], flush=True)
    publish(report(ledger.rows))


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
        "mixer": mixer,
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
    errors = {mixer: np.mean([row["model"] for row in rows if row["mixer"] == mixer], 0) for mixer in MIXERS}
    copied = np.mean([row["copied"] for row in rows], 0)
    horizons = [
        {"ahead": k + 1, **{mixer: float(errors[mixer][k]) for mixer in MIXERS}, "copied": float(copied[k])}
        for k in range(AHEAD)
    ]
    first, last = horizons[0], horizons[-1]
    return Result(
        benchmark=NAME,
        title="What the world model of Drama foresees",
        summary=f"One step ahead the error of a picture is {first['mamba2']:.2f} with Mamba-2, "
        f"{first['gru']:.2f} with a GRU and {first['copied']:.2f} by the last picture; {AHEAD} steps ahead "
        f"{last['mamba2']:.2f}, {last['gru']:.2f} and {last['copied']:.2f}.",
        versions=versions("statewise-core", "statewise-rl", "torch", "gymnasium", "numpy"),
        protocol=PROTOCOL,
        seeds=SEEDS,
        rows=tuple(rows),
        tables=(Table(title="Error by horizon", columns=COLUMNS, rows=tuple(horizons), note=NOTE),),
    )


COLUMNS = (
    Column(key="ahead", label="steps ahead"),
    *(Column(key=mixer, label=mixer, format=".2f") for mixer in MIXERS),
    Column(key="copied", label="last picture again", format=".2f"),
)
NOTE = (
    "A ball counts 1, the paddle 1.2, so that an empty picture is wrong by 2.2. Where the next ball drops is "
    "not foreseeable, and one drops within every fifteen steps."
)

if __name__ == "__main__":
    main()
