"""Train a recipe on a split and score it once on the test cases: what the recsys benchmarks share.

A run directory under `runs/benchmarks` keeps the checkpoint: a benchmark that is stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.results import ROOT
from statewise.core.config import to_dict
from statewise.core.train import Run, fit, seeded
from statewise.recsys.metrics import summarise
from statewise.recsys.network.model import Network
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.network.task import SequenceTask
from statewise.recsys.ranking import rank_cases
from statewise.recsys.recipes import recipe
from statewise.recsys.splits import Split

__all__ = ["trained"]


def trained(
    name: str, split: Split, folder: str, changes: Mapping[str, Any], seed: int = 0
) -> dict[str, Any]:
    """Fit the recipe `name` with `changes` and score it: a row with validation, test, epochs and CPU seconds."""
    log = split.log
    made = recipe(name, changes, n_items=log.n_items)
    path = ROOT / "runs" / "benchmarks" / folder / f"{name}-{seed}"
    run = Run.open(path) if path.exists() else Run.create(path, default=name)
    with seeded(seed):
        network = Network(made.network, log.n_items)
    task = SequenceTask(network, split, made.objective, made.loss, seed=seed)
    steps = -(-task.size // made.fit.batch_size)
    settings = to_dict(made.fit) | {"eval_every": steps * made.eval_epochs, "threads": 1, "seed": seed}
    from statewise.core.config import from_dict
    from statewise.core.train import FitConfig

    before, started = _spent(path), time.process_time()
    spent = [before]

    def keep(tick: Any) -> None:
        if tick.step % 50 == 0:
            spent[0] = before + time.process_time() - started
            (path / "cpu_seconds.txt").write_text(f"{spent[0]:.1f}")

    result = fit(task, from_dict(FitConfig, settings), run, progress=keep)
    cpu = before + time.process_time() - started
    (path / "cpu_seconds.txt").write_text(f"{cpu:.1f}")
    scorer = NetworkScorer(network, cloze=made.objective.name == "cloze")
    row: dict[str, Any] = {
        "model": name,
        "seed": seed,
        "epochs": round(result.epochs, 2),
        "cpu_s": round(cpu),
    }
    row["best_epoch"] = round(result.best["epoch"] or 0, 2)
    for part, cases in (("val", split.valid), ("test", split.test)):
        found = summarise(rank_cases(scorer, log, cases), np.asarray(task.counts))
        row |= {f"{part}_ndcg": found.ndcg["10"], f"{part}_hr": found.hr["10"]}
    row["parameters"] = sum(p.numel() for p in network.parameters())
    row["tokens_per_epoch"] = int((task.windows.stops - task.windows.starts - 1).sum())
    return row


def _spent(path: Path) -> float:
    file = path / "cpu_seconds.txt"
    return float(file.read_text()) if file.exists() else 0.0


torch.set_num_threads(1)
