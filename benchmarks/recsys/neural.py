"""Train a recipe on a split and score it once on the test cases: what the recsys benchmarks share.

A run directory under `runs/benchmarks` keeps the checkpoint: a benchmark that is stopped goes on from there.
A `Study` is counting methods and recipes on one file, each recipe alone and mixed with the counting method
that validation likes best.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.results import ROOT, Column, Result, Table, data_file, fingerprint, publish, versions
from statewise.core.train import Run, fit, seeded
from statewise.recsys.contest import counts_of, fit_counting, too_large
from statewise.recsys.data import read
from statewise.recsys.metrics import summarise
from statewise.recsys.models import BASELINES
from statewise.recsys.models.blend import Blend, choose_weights
from statewise.recsys.network.model import Network
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.network.task import SequenceTask
from statewise.recsys.ranking import rank_cases
from statewise.recsys.recipes import recipe
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Split, make_split
from statewise.recsys.training import fit_config

__all__ = ["COLUMNS", "PROTOCOL", "Study", "baselines", "blended", "figures", "trained"]

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
        found = summarise(rank_cases(scorer, split.log, cases, top=0), counts)
        row |= {f"{part}_ndcg": found.ndcg["10"], f"{part}_hr": found.hr["10"]}
    return row


def baselines(split: Split) -> list[dict[str, Any]]:
    """A row for each counting method that the catalogue allows."""
    rows: list[dict[str, Any]] = []
    for name in BASELINES:
        if too_large(name, split):
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


@dataclass(frozen=True, kw_only=True)
class Study:
    """Recipes and counting methods on one file of events, beside published figures."""

    benchmark: str
    """As in `Result`."""
    title: str
    file: str
    """The events, under the folder of data sets."""
    origin: str
    licence: str
    folder: str
    """Where the runs are kept, under `runs/benchmarks`."""
    models: Mapping[str, Mapping[str, Any]]
    """Recipes and what differs in them from their presets, in the order in which they are trained."""
    protocol: Mapping[str, str]
    """What is particular to this study."""
    published: Sequence[Mapping[str, Any]]
    """Figures of others: model, source, ndcg, hr."""
    remark: str = ""
    """What the summary has to say beside the figures."""
    published_note: str = ""

    def run(self) -> None:
        """Measure and publish; what there is is published after each recipe."""
        reading = read([data_file(self.file)])
        split = make_split(reading.log)
        rows = baselines(split)
        best = max(rows, key=lambda row: row["val_ndcg"])["model"]
        for name, changes in self.models.items():
            row, scorer = trained(name, split, self.folder, changes)
            rows += [row, blended(name, scorer, (best,), split)]
            print(rows[-2:], flush=True)
            self._publish(tuple(rows), reading.log.fingerprint)

    def _publish(self, rows: tuple[dict[str, Any], ...], mark: str) -> None:
        changes = "; ".join(f"{name}: {_said(changed)}" for name, changed in self.models.items())
        publish(
            Result(
                benchmark=self.benchmark,
                title=self.title,
                summary=self._summary(rows),
                versions=versions("statewise-core", "statewise-recsys", "torch"),
                protocol=PROTOCOL | dict(self.protocol) | {"changes": changes, "fingerprint": mark},
                rows=rows,
                tables=(
                    Table(
                        title="Full ranking, leave-one-out",
                        columns=(*COLUMNS, Column(key="weights", label="weights")),
                        rows=rows,
                        note="Weights are those of the parts in the order of the name.",
                    ),
                    Table(
                        title="Published",
                        columns=(
                            Column(key="model", label="method"),
                            Column(key="source", label="source"),
                            Column(key="ndcg", label="NDCG@10", format=".4f"),
                            Column(key="hr", label="HR@10", format=".4f"),
                        ),
                        rows=tuple(dict(row) for row in self.published),
                        note=self.published_note,
                    ),
                ),
                data=(fingerprint(data_file(self.file), origin=self.origin, licence=self.licence),),
                seeds=(0,),
            )
        )

    def _summary(self, rows: Sequence[dict[str, Any]]) -> str:
        best = max(rows, key=lambda row: row["val_ndcg"])
        networks = [row for row in rows if "epochs" in row]
        alone = max(networks, key=lambda row: row["val_ndcg"])
        minutes = ", ".join(f"{row['model']} {row['cpu_s'] / 60:.0f}" for row in networks)
        return (
            f"Validation chooses {best['model']}: test NDCG@10 {best['test_ndcg']:.4f}, "
            f"HR@10 {best['test_hr']:.4f}. The best network alone is {alone['model']}: "
            f"{alone['test_ndcg']:.4f}, {alone['test_hr']:.4f} after {alone['epochs']:.0f} epochs. "
            f"Minutes of one processor: {minutes}. {self.remark}"
        ).rstrip()


def _said(changes: Mapping[str, Any]) -> str:
    """What a recipe changes, in a few words."""
    parts = (changes.get("network", {}).get("encoder", {}), changes.get("loss", {}), changes.get("fit", {}))
    return ", ".join(f"{name} {value}" for part in parts for name, value in part.items())


def _spent(path: Path) -> float:
    file = path / "cpu_seconds.txt"
    return float(file.read_text()) if file.exists() else 0.0


torch.set_num_threads(1)
