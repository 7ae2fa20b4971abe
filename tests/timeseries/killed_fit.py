"""Fits of one small forecaster, each killed at a random moment and resumed; writes what came of it as JSON.

Run as `python killed_fit.py FOLDER MOMENTS SEED`. Every fit runs in a fork, so that torch is imported once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from statewise.core.train.checkpoint import read_checkpoint
from statewise.core.train.run import Run
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models.tpgn import TPGNForecaster, TPGNForecasterConfig
from statewise.timeseries.panel import Panel, Series

HOUR = Frequency("hour")


def fit(run: Run, out: Path) -> None:
    """Fit, or go on with a fit, and write the state."""
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(400) * np.pi / 6) + rng.normal(0, 0.3, 400)
    times = HOUR.range(np.datetime64("2022-03-01", "us"), 400)
    panel = Panel(series=(Series(id="y", times=times, values=values),), frequency=HOUR)
    config = TPGNForecasterConfig(hidden=2, lookback=48, batch_size=16, patience=100, save_every=0.03)
    forecaster = TPGNForecaster(config)
    forecaster.fit(panel, Context(horizon=12, period=12, frequency=HOUR, epochs=20, seed=4, run=run))
    np.savez(out, **forecaster.state())


def start(run: Run, out: Path) -> int:
    """Fit in a fork; its process id."""
    child = os.fork()
    if child == 0:
        try:
            fit(run, out)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return child


def finish(child: int) -> int:
    """Wait for a fork; 0, its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def same(one: Path, other: Path) -> bool:
    a, b = np.load(one), np.load(other)
    return a.files == b.files and all(np.array_equal(a[name], b[name]) for name in a.files)


def main(folder: Path, moments: int, seed: int) -> None:
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports what the forks would import each
    begun = time.monotonic()
    whole = folder / "whole.npz"
    if finish(start(Run.create(folder / "whole", default=""), whole)):
        sys.exit("the uninterrupted fit failed")
    seconds = time.monotonic() - begun
    draw, tries = random.Random(seed), []
    for number in range(moments):
        run = Run.create(folder / f"killed{number}", default="")
        out = folder / f"killed{number}.npz"
        child = start(run, out)
        time.sleep(draw.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        killed = finish(child) == -signal.SIGKILL
        checkpoint = read_checkpoint(run.path)
        step = checkpoint.position.step if checkpoint else 0
        resumed = out.exists() or finish(start(Run.open(run.path), out)) == 0
        tries.append({"killed": killed, "step": step, "resumed": resumed, "same": same(whole, out)})
    sys.stdout.write(json.dumps(tries))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
