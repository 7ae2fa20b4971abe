"""A small regression problem, and fits of it in processes of their own: `python toy.py KIND DIRECTORY`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from statewise.core.errors import Interrupted
from statewise.core.train import FitConfig, FitResult, Run, fit


class Toy:
    """y = Wx; with dropout in the network and noise in the batches, so that random numbers matter."""

    monitor = "mse"

    def __init__(self, size: int = 37, *, dropout: float = 0.2, noise: float = 0.1, dtype=torch.float32):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(size, 4, generator=generator, dtype=dtype)
        self.y = self.x @ torch.randn(4, 1, generator=generator, dtype=dtype)
        self.noise = noise
        self.batches = 0
        torch.manual_seed(2)
        layers = [nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.BatchNorm1d(8), nn.Linear(8, 1)]
        if dropout == 0:
            layers = [nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)]
        self.model = nn.Sequential(*layers).to(dtype)

    @property
    def size(self) -> int:
        return len(self.x)

    def batch(self, indices):
        self.batches += 1
        x = self.x[indices]
        return x + self.noise * torch.randn_like(x), self.y[indices]

    def loss(self, model, batch):
        x, y = batch
        return (model(x) - y).square().mean()

    @torch.no_grad()
    def validate(self, model):
        return {"mse": float((model(self.x) - self.y).square().mean())}


def without_times(rows):
    """Rows of metrics without what the clock says."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "examples_per_second")} for row in rows]


SETTINGS = FitConfig(epochs=4, batch_size=4, accumulate=2, learning_rate=0.05, save_every=0.0, eval_every=3)


class Killed(Toy):
    """Dies by SIGKILL at the n-th call of one of the things a run does."""

    def __init__(self, where: str, number: int):
        super().__init__()
        self.where, self.left = where, number

    def reach(self, where: str) -> None:
        if where == self.where:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def batch(self, indices):
        self.reach("batch")
        return super().batch(indices)

    def validate(self, model):
        self.reach("validate")
        return super().validate(model)


MOMENTS = [
    *(("batch", number) for number in (1, 2, 7, 20)),  # 2 is in the middle of an accumulation
    *(("validate", number) for number in (1, 4)),
    *(("replace", number) for number in (1, 2, 3, 9, 10, 11)),
    *(("log", number) for number in (1, 3)),
]


def killed_fit(directory: Path, where: str, number: int) -> None:
    """Fit until the moment comes; with `replace`, just before a file is put in the place of another."""
    task, replace, log = Killed(where, number), os.replace, Run.log

    def dying_replace(old, new):
        task.reach("replace")
        replace(old, new)

    def dying_log(run, row):
        with open(run.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step": ')  # half a line is on the disk
        task.reach("log")
        run.set_metrics(run.metrics())
        log(run, row)

    os.replace, Run.log = dying_replace, dying_log
    resumed_fit(directory, task)


def resumed_fit(directory: Path, task: Toy | None = None) -> FitResult:
    run = Run.open(directory) if directory.exists() else Run.create(directory, default="toy")
    return fit(task or Toy(), SETTINGS, run)


def in_a_child(work, *arguments) -> int:
    """Run `work` in a fork of this process; the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        work(*arguments)
        os._exit(0)
    return os.waitpid(child, 0)[1] & 0x7F


def kills(directory: Path) -> None:
    """Every moment in a run of its own, each killed twice and then finished."""
    report = {}
    for where, number in MOMENTS:
        out = directory / f"{where}-{number}"
        signals = [in_a_child(killed_fit, out, where, number) for _ in range(2)]
        report[out.name] = [*signals, in_a_child(resumed_fit, out)]
    (directory / "signals.json").write_text(json.dumps(report), encoding="utf-8")


def slow(directory: Path) -> None:
    """A fit that takes long, for signals from outside."""
    task = Toy()
    loss = task.loss

    def slow_loss(model, batch):
        time.sleep(0.02)
        return loss(model, batch)

    task.loss = slow_loss
    run = Run.create(directory, default="toy")
    try:
        fit(task, FitConfig(epochs=10_000, batch_size=8, save_every=1e9), run)
    except Interrupted as error:
        sys.stderr.write(str(error))
        sys.exit(error.exit_code)


def distributed(directory: Path) -> None:
    """One of several processes: a fit that is stopped in the middle of an epoch and resumed."""
    losses: list[float] = []
    config = FitConfig(epochs=3, batch_size=4, accumulate=2, learning_rate=0.05, clip=0.5, device="cpu")
    run = Run.create(directory, default="toy")

    def part(**settings) -> FitResult:
        task = Toy(33, dropout=0.0, noise=0.0, dtype=torch.float64)
        return fit(task, config, run, progress=lambda tick: losses.append(tick.loss), **settings)

    part(should_stop=lambda: len(losses) == 4)
    best = part().best["mse"]
    fabric = "lightning_fabric" in sys.modules
    run.write_json("losses.json", {"losses": losses, "best": best, "fabric": fabric})


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"kills": kills, "slow": slow, "distributed": distributed}[sys.argv[1]](Path(sys.argv[2]))
