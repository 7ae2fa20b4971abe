"""Train a recipe on a split and score it once on the test cases: what the recsys benchmarks share.

A run directory under `runs/benchmarks` keeps the checkpoint: a benchmark that is stopped goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.results import ROOT, Column
from statewise.core.train import Run, fit, seeded
from statewise.recsys.contest import counts_of, fit_counting
from statewise.recsys.metrics import summarise
from statewise.recsys.models import BASELINES
from statewise.recsys.models.blend import Blend, choose_weights
from statewise.recsys.network.model import Network
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.network.task import SequenceTask
from statewise.recsys.ranking import rank_cases
from statewise.recsys.recipes import recipe
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Split
from statewise.recsys.training import fit_config

__all__ = ["COLUMNS", "PROTOCOL", "baselines", "blended", "figures", "trained"]

COLUMNS = (
    Column(key="model", label="method"),
    Column(key="val_ndcg", label="validation NDCG@10", format=".4f"),
    Column(key="val_hr", label="validation HR@10", format=".4f"),
    Column(key="test_ndcg", label="test NDCG@10", format=".4f"),
    Column(key="test_hr", label="test HR@10", format=".4f"),
    Column(key="epochs", label="epochs", format=".1f"),
    Column(key="best_epoch", label="best epoch", format=".1f"),
    Column(key="cpu_s", label="CPU s", format=".0f"),
)
PROTOCOL = {
    "split": "leave-one-out: last event tests, the one before it validates; the test history holds it",
    "ranking": "all items; those of the history left out; equal scores at their mean rank",
    "equal times": "the order of the rows of the file",
    "choice": "weights, epoch and mixture by validation NDCG@10; test is scored once",
    "threads": "one; times are CPU seconds on a shared machine, training and validation together",
}


def figures(scorer: Scorer, split: Split) -> dict[str, float]:
    """NDCG@10 and HR@10 on the validation and the test cases."""
    counts = counts_of(split.train, split.log.n_items)
    row: dict[str, float] = {}
    for part, cases in (("val", split.valid), ("test", split.test)):
        found = summarise(rank_cases(scorer, split.log, cases), counts)
        row |= {f"{part}_ndcg": found.ndcg["10"], f"{part}_hr": found.hr["10"]}
    return row


def baselines(split: Split) -> list[dict[str, Any]]:
    """A row for each counting method that the catalogue allows."""
    rows: list[dict[str, Any]] = []
    for name in BASELINES:
        if name == "ease" and split.log.n_items > 10_000:
            continue
        started = time.process_time()
        scorer = fit_counting(name, split.train, split.log.n_items)
        row = {"model": name} | figures(scorer, split)
        rows.append(row | {"cpu_s": time.process_time() - started})
    return rows


def blended(name: str, network: Scorer, counting: Sequence[str], split: Split) -> dict[str, Any]:
    """The row of a network mixed with counting methods."""
    parts = [network, *(fit_counting(one, split.train, split.log.n_items) for one in counting)]
    weights = choose_weights(parts, split, "exclude")
    row: dict[str, Any] = {"model": " + ".join([name, *counting])}
    return row | figures(Blend(parts, weights), split) | {"weights": ", ".join(f"{w:.1f}" for w in weights)}


def trained(
    name: str, split: Split, folder: str, changes: Mapping[str, Any], seed: int = 0
) -> tuple[dict[str, Any], NetworkScorer]:
    """Fit the recipe `name` with `changes` and score it: its row, and the network."""
    made = recipe(name, changes, n_items=split.log.n_items)
    path = ROOT / "runs" / "benchmarks" / folder / f"{name}-{seed}"
    run = Run.open(path) if path.exists() else Run.create(path, default=name)
    with seeded(seed):
        network = Network(made.network, split.log.n_items)
    task = SequenceTask(network, split, made.objective, made.loss, seed=seed)
    before, started = _spent(path), time.process_time()

    def keep(tick: Any) -> None:
        if tick.step % 50 == 0:
            (path / "cpu_seconds.txt").write_text(f"{before + time.process_time() - started:.1f}")

    result = fit(task, fit_config(made, task.size, seed=seed, threads=1), run, progress=keep)
    cpu = before + time.process_time() - started
    if result.steps:
        (path / "cpu_seconds.txt").write_text(f"{cpu:.1f}")
    scorer = NetworkScorer(network, cloze=made.objective.name == "cloze", name=name)
    row = {"model": name, "seed": seed} | figures(scorer, split)
    row |= {"epochs": result.epochs, "best_epoch": result.best["epoch"], "cpu_s": cpu}
    row["parameters"] = sum(p.numel() for p in network.parameters())
    row["tokens_per_epoch"] = int(np.sum(task.windows.stops - task.windows.starts - 1))
    return row, scorer


def _spent(path: Path) -> float:
    file = path / "cpu_seconds.txt"
    return float(file.read_text()) if file.exists() else 0.0


torch.set_num_threads(1)
