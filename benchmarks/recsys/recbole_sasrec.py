"""RecBole's SASRec beside `sasrec-plus` on MovieLens-1M: seconds and accuracy for the same number of labels.

    STATEWISE_PEERS=recbole/bin/python uv run python -m benchmarks.recsys.recbole_sasrec

RecBole runs in an environment of its own, whose Python STATEWISE_PEERS names (see `recbole_runner.py`). A
label is an item that the loss asks for. RecBole asks for one with each of its sequences, ours at every place
of a window; both meet every training event but the first of each user once in an epoch. Both are judged here,
on the same test cases, from the scores that they give to all items.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.recsys.neural import PROTOCOL
from benchmarks.results import ROOT, Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from statewise.core.errors import DataError
from statewise.core.train import fit, seeded
from statewise.recsys.contest import counts_of
from statewise.recsys.data import read
from statewise.recsys.events import EventLog
from statewise.recsys.metrics import summarise
from statewise.recsys.models.blend import Held
from statewise.recsys.network.model import Batch, Network
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.network.task import SequenceTask
from statewise.recsys.ranking import rank_cases
from statewise.recsys.recipes import recipe
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Split, make_split

PER_STEP, STEPS = 2048, 30
LABELS = PER_STEP * STEPS
"""Labels of the comparison: RecBole's batch, and how many of them."""
PEER, SAME_LABELS, SAME_TIME = "RecBole SASRec", "sasrec-plus, as many labels", "sasrec-plus, as much time"
COLUMNS = (
    Column(key="model", label="method"),
    Column(key="labels", label="labels", format=","),
    Column(key="epochs", label="epochs", format=".2f"),
    Column(key="steps", label="steps", format=","),
    Column(key="cpu_s", label="CPU s of training", format=".1f"),
    Column(key="labels_per_s", label="labels per CPU s", format=",.0f"),
    Column(key="test_ndcg", label="test NDCG@10", format=".4f"),
    Column(key="test_hr", label="test HR@10", format=".4f"),
)


def main() -> None:
    python = os.environ.get("STATEWISE_PEERS")
    if not python:
        raise SystemExit(
            "set STATEWISE_PEERS to the Python of the environment that recbole_runner.py describes"
        )
    path = data_file("recsys/ml-1m.parquet")
    log = read([path]).log
    split, ledger = make_split(log), Ledger("recsys/recbole_sasrec", key=("model", "wanted"))
    peer = ledger.find(model=PEER, wanted=LABELS)
    if peer is None:
        peer = theirs(python, split, LABELS)
        ledger.add(peer)
    same = ledger.find(model=SAME_LABELS, wanted=LABELS)
    if same is None:
        same = {"model": SAME_LABELS, "wanted": LABELS} | ours(split, STEPS, batch_size=None)
        ledger.add(same)
    longer = ledger.find(model=SAME_TIME, wanted=LABELS)
    if longer is None:
        labels = int(peer["cpu_s"] * same["labels_per_s"])
        longer = {"model": SAME_TIME, "wanted": LABELS} | ours(split, steps_of(split, labels), batch_size=64)
        ledger.add(longer)
    publish(report([peer, same, longer], path, log.fingerprint))


def theirs(python: str, split: Split, labels: int) -> dict[str, Any]:
    """The row of RecBole.

    Raises:
        DataError: its split has other test items than ours.
    """
    kept = ROOT / "runs" / "benchmarks" / "recsys-recbole" / str(labels)
    if not (kept / "facts.json").exists():
        kept.mkdir(parents=True, exist_ok=True)
        told(python, split.log, labels, kept)
    facts = json.loads((kept / "facts.json").read_text(encoding="utf-8"))
    scorer = Told(kept / "scores.npz", split)
    row = {"model": PEER, "wanted": labels, "steps": -(-facts["labels"] // PER_STEP)} | facts
    row |= {"epochs": facts["labels"] / facts["labels_per_epoch"]}
    return row | {"labels_per_s": facts["labels"] / facts["cpu_s"]} | judged(scorer, split)


def told(python: str, log: EventLog, labels: int, kept: Path) -> None:
    """Run RecBole in a folder of its own; its scores and facts are kept, the events are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_atomic(folder / "events" / "events.inter", log)
        script = Path(__file__).with_name("recbole_runner.py")
        words = [python, str(script), str(folder), str(labels)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(done.stderr)
        shutil.move(folder / "scores.npz", kept / "scores.npz")
        (kept / "facts.json").write_text(done.stdout.splitlines()[-1], encoding="utf-8")


def write_atomic(path: Path, log: EventLog) -> None:
    """The log in RecBole's format; the time of an event is its place in the history."""
    path.parent.mkdir()
    user = np.repeat(np.arange(log.n_users), log.lengths)
    place = np.arange(len(log)) - log.starts[user]
    columns = {
        "user_id:token": log.users.gather(user),
        "item_id:token": log.items.gather(log.item),
        "timestamp:float": pl.Series(place.astype(np.float64)),
    }
    pl.DataFrame(columns).write_csv(path, separator="\t")


class Told(Held):
    """Scores of the test cases that another program has written, handed out in the order of the cases.

    Args:
        path: an archive with scores (n, V), the names of its users, targets and items.
        split: our split of the same events.

    Raises:
        DataError: other users, items or targets than those of the split.
    """

    name = "told"

    def __init__(self, path: Path, split: Split) -> None:
        found, log = np.load(path), split.log
        users = [log.user_codes.get(name, -1) for name in found["users"].tolist()]
        items = [log.item_codes.get(name, -1) for name in found["items"].tolist()]
        targets = [log.item_codes.get(name, -1) for name in found["targets"].tolist()]
        order = np.argsort(users, kind="stable")
        same = np.array_equal(np.sort(items), np.arange(log.n_items))
        same = same and np.array_equal(np.array(users)[order], split.test.user)
        if not same or not np.array_equal(np.array(targets)[order], log.item[split.test.stop]):
            raise DataError("the test cases are not those of our split", where=PEER)
        table = np.empty((len(users), log.n_items), dtype=np.float32)
        table[:, items] = found["scores"][order]
        super().__init__(table)


class CountedTask(SequenceTask):
    """A task that counts the labels it hands out."""

    labels = 0

    def batch(self, indices: torch.Tensor) -> Batch:
        made = super().batch(indices)
        self.labels += len(made.targets)
        return made


def ours(split: Split, steps: int, *, batch_size: int | None) -> dict[str, Any]:
    """What `sasrec-plus` is after `steps` steps; no batch size for as many labels a step as RecBole takes."""
    made = recipe("sasrec-plus", n_items=split.log.n_items)
    with seeded(0):
        network = Network(made.network, split.log.n_items)
    task = CountedTask(network, split, made.objective, made.loss, judged=False)
    config = replace(
        made.fit,
        epochs=None,
        steps=steps,
        batch_size=batch_size or round(PER_STEP * task.size / labels_of(task)),
        warmup_steps=min(made.fit.warmup_steps, steps // 10),
        eval_every=steps,
        patience=None,
        threads=1,
    )
    started = time.process_time()
    result = fit(task, config)
    cpu = time.process_time() - started
    row: dict[str, Any] = {"labels": task.labels, "epochs": result.epochs, "steps": result.steps}
    row |= {"batch_size": config.batch_size, "cpu_s": cpu, "labels_per_s": task.labels / cpu}
    row["parameters"] = sum(p.numel() for p in network.parameters())
    return row | judged(NetworkScorer(network, name="sasrec-plus"), split)


def labels_of(task: SequenceTask) -> int:
    """Labels of an epoch."""
    return int(np.sum(task.windows.stops - task.windows.starts - 1))


def steps_of(split: Split, labels: int) -> int:
    """Steps of the preset's 64 windows that hold about so many labels."""
    made = recipe("sasrec-plus", n_items=split.log.n_items)
    with seeded(0):
        network = Network(made.network, split.log.n_items)
    task = SequenceTask(network, split, made.objective, made.loss, judged=False)
    return max(1, round(labels / labels_of(task) * task.size / made.fit.batch_size))


def judged(scorer: Scorer, split: Split) -> dict[str, float]:
    """NDCG@10 and HR@10 on the test cases."""
    ranked = rank_cases(scorer, split.log, split.test, top=0)
    found = summarise(ranked, counts_of(split.train, split.log.n_items))
    return {"test_ndcg": found.ndcg["10"], "test_hr": found.hr["10"]}


def report(rows: list[dict[str, Any]], path: Path, mark: str) -> Result:
    peer, same, longer = rows
    return Result(
        benchmark="recsys/recbole_sasrec",
        title="SASRec in RecBole and here",
        summary=(
            f"For {peer['labels']:,} labels ({peer['epochs']:.2f} epochs of MovieLens-1M) RecBole's SASRec "
            f"takes {peer['cpu_s']:.0f} CPU seconds, ours {same['cpu_s']:.1f} for {same['labels']:,}: "
            f"{same['labels_per_s'] / peer['labels_per_s']:.1f} times as many a second. Test NDCG@10 is "
            f"then {peer['test_ndcg']:.4f} and {same['test_ndcg']:.4f}; in {longer['cpu_s']:.0f} CPU seconds "
            f"ours gets to {longer['test_ndcg']:.4f} ({longer['epochs']:.1f} epochs). RecBole prepares its "
            f"sequences for {peer['prepare_s']:.0f} CPU seconds before that, which are not counted."
        ),
        versions=versions("statewise-core", "statewise-recsys", "torch") | {"recbole": peer["version"]},
        protocol={
            "split": PROTOCOL["split"] + "; the test items of both were compared and are the same",
            "ranking": PROTOCOL["ranking"] + "; RecBole's own figures let items of the history compete",
            "networks": "d 64, inner 64, 2 blocks, 1 head, L 200, dropout .1, full cross-entropy, tied table",
            "differences": "RecBole: norm behind the branches, GELU, no bias of items, places counted from "
            "the oldest event; ours: norm before, ReLU, a bias, places from the newest, input times sqrt(d)",
            "labels": f"{PER_STEP:,} a step in RecBole, as many on average in ours; last row: 64 windows",
            "optimiser": "RecBole: Adam, 1e-3, constant (its defaults); ours: the preset's AdamW, 2e-3 with "
            "warm-up and cosine over the run",
            "precision": f"RecBole: {peer['precision']}, the faster of two by a batch of each (float32 "
            f"{peer['batch_fp32_s']:.2f} s, bf16 {peer['batch_bf16_s']:.2f} s); ours: float32, products of "
            "the loss in bf16",
            "validation": "none during the runs; the last weights are judged",
            "threads": "one each; CPU seconds of the loop with its batches, on a shared machine",
            "fingerprint": mark,
        },
        rows=tuple(rows),
        tables=(
            Table(title="One thread", columns=COLUMNS, rows=tuple(rows)),
            Table(
                title="RecBole's own evaluation",
                columns=(
                    Column(key="model", label="method"),
                    Column(key="own_ndcg", label="NDCG@10", format=".4f"),
                    Column(key="own_hr", label="HR@10", format=".4f"),
                    Column(key="prepare_s", label="CPU s before training", format=".0f"),
                ),
                rows=(peer,),
                note="For sequential models RecBole does not leave out the items of the history.",
            ),
        ),
        data=(
            fingerprint(
                path,
                origin="MovieLens-1M (GroupLens), items with 5 ratings or more, order of LRURec",
                licence="research use; no redistribution",
            ),
        ),
        seeds=(0,),
    )


torch.set_num_threads(1)

if __name__ == "__main__":
    main()
