"""Seconds of a training epoch on MovieLens-1M: full cross-entropy, d 64, windows of 200, batch 128.

A batch is timed in its parts (windows, encoder, loss, backward, optimiser) and against the same step with
dense logits, in turns in one process, in CPU time on one thread; an epoch is the mean step times its steps.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import torch

from benchmarks.recsys.neural import PROTOCOL
from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions
from statewise.core.train import FitConfig, seeded
from statewise.core.train.optim import AdamW
from statewise.recsys.data import read
from statewise.recsys.network.losses import Loss, LossConfig
from statewise.recsys.network.model import Network
from statewise.recsys.network.task import SequenceTask
from statewise.recsys.recipes import recipe
from statewise.recsys.splits import make_split

STEPS, BATCH = 12, 128
MODELS = ("sasrec-plus", "lrurec", "min-gru")


def main() -> None:
    path = data_file("recsys/ml-1m.parquet")
    split = make_split(read([path]).log)
    rows = [row for name in MODELS for row in timed(name, split)]
    best = rows[0]
    publish(
        Result(
            benchmark="recsys/epoch_time",
            title="Time of an epoch on MovieLens-1M",
            summary=(
                f"An epoch of sasrec-plus takes {best['epoch_s']:.0f} CPU seconds on one thread "
                f"({best['tokens_per_s']:,.0f} tokens a second), {rows[1]['epoch_s'] / best['epoch_s']:.1f} "
                "times as fast as with dense logits in the same process. The machine was shared: what others "
                "did to its caches is in these figures."
            ),
            versions=versions("statewise-core", "statewise-recsys", "torch"),
            protocol={
                "data": PROTOCOL["split"] + "; the last 200 events of each user",
                "step": f"batch {BATCH} in four groups by length, AdamW, d 64, 2 blocks, 3,416 items",
                "timing": f"CPU time, median of {STEPS} steps, tiles and dense logits in turns",
                "threads": "one",
            },
            rows=tuple(rows),
            tables=(
                Table(
                    title="One thread",
                    columns=(
                        Column(key="model", label="model"),
                        Column(key="loss", label="loss"),
                        Column(key="epoch_s", label="CPU s per epoch", format=".1f"),
                        Column(key="tokens_per_s", label="tokens per CPU s", format=",.0f"),
                        Column(key="forward_ms", label="encoder ms", format=".0f"),
                        Column(key="loss_ms", label="loss ms", format=".0f"),
                        Column(key="backward_ms", label="backward ms", format=".0f"),
                        Column(key="update_ms", label="update ms", format=".0f"),
                    ),
                    rows=tuple(rows),
                    note="In tiles the loss computes its gradients too; with dense logits backward does.",
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
    )


def timed(name: str, split: Any) -> list[dict[str, Any]]:
    """A row for tiles and one for dense logits."""
    made = recipe(name, {"objective": {"windows": "last"}})
    with seeded(0):
        network = Network(made.network, split.log.n_items).train()
    task = SequenceTask(network, split, made.objective, made.loss)
    losses = {
        kind: Loss(LossConfig(name=kind), torch.from_numpy(task.counts)) for kind in ("chunked-ce", "ce")
    }
    optimizer = AdamW(network, FitConfig())
    order = torch.randperm(task.size, generator=torch.Generator().manual_seed(0))
    spent: dict[str, list[list[float]]] = {kind: [] for kind in losses}
    tokens: list[int] = []
    for step in range(STEPS + 2):
        batch = task.batch(order[step * BATCH : (step + 1) * BATCH])
        tokens.append(len(batch.targets))
        for kind, criterion in losses.items():
            marks = [time.process_time()]
            optimizer.clear()
            hidden, table, bias = network(batch)
            marks.append(time.process_time())
            loss = criterion(hidden, batch.targets, table, bias)
            marks.append(time.process_time())
            loss.backward()
            marks.append(time.process_time())
            optimizer.step(1e-4)
            marks.append(time.process_time())
            spent[kind].append([(after - before) / tokens[-1] for before, after in itertools.pairwise(marks)])
    total = int(np.sum(task.windows.stops - task.windows.starts - 1))
    rows = []
    for kind, parts in spent.items():
        each = np.median(np.array(parts[2:]), axis=0)
        per_step = 1e3 * each * float(np.mean(tokens))
        row: dict[str, Any] = {"model": name, "loss": kind, "epoch_s": float(each.sum() * total)}
        row |= {"tokens_per_s": float(1 / each.sum()), "tokens": total}
        row |= dict(
            zip(("forward_ms", "loss_ms", "backward_ms", "update_ms"), map(float, per_step), strict=True)
        )
        rows.append(row)
        print(row, flush=True)
    return rows


if __name__ == "__main__":
    main()
