"""MovieLens-1M: counting methods, SASRec+ alone and mixed with them, beside the best published figures.

The shared file orders events of the same second by film id, as LRURec's does; published figures on that order
are the ones to compare with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.recsys.neural import COLUMNS, PROTOCOL, baselines, blended, trained
from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions
from statewise.recsys.data import read
from statewise.recsys.splits import make_split

MODELS: dict[str, dict[str, Any]] = {
    "sasrec-plus": {"fit": {"epochs": 24}, "eval_epochs": 3},
}
"""Recipes and what differs in them from their presets, in the order in which they are trained."""
PUBLISHED = (
    {
        "model": "SASRec, same order of the file",
        "source": "LRURec paper (2024)",
        "ndcg": 0.1902,
        "hr": 0.3181,
    },
    {
        "model": "BERT4Rec, same order of the file",
        "source": "LRURec paper (2024)",
        "ndcg": 0.1638,
        "hr": 0.3089,
    },
    {
        "model": "LRURec, same order of the file",
        "source": "LRURec paper (2024)",
        "ndcg": 0.1930,
        "hr": 0.3264,
    },
    {
        "model": "SASRec+, another order",
        "source": "Klenitskiy and Vasilev (2023)",
        "ndcg": 0.1821,
        "hr": 0.3152,
    },
)


def main() -> None:
    path = data_file("recsys/ml-1m.parquet")
    reading = read([path])
    split = make_split(reading.log)
    rows: list[dict[str, Any]] = baselines(split)
    for name, changes in MODELS.items():
        row, scorer = trained(name, split, "recsys-ml1m", changes)
        rows += [row, blended(name, scorer, ("markov",), split)]
        print(rows[-2:], flush=True)
        report(rows, path, reading.log.fingerprint)


def report(rows: list[dict[str, Any]], path: Path, mark: str) -> None:
    """Publish the rows there are: those of the next recipes are added when they are trained."""
    best = max(rows, key=lambda one: one["val_ndcg"])
    alone = max((one for one in rows if "epochs" in one), key=lambda one: one["val_ndcg"])
    minutes = ", ".join(f"{one['model']} {one['cpu_s'] / 60:.0f}" for one in rows if "epochs" in one)
    publish(
        Result(
            benchmark="recsys/ml_1m",
            title="Recommenders on MovieLens-1M",
            summary=(
                f"Validation chooses {best['model']}: test NDCG@10 {best['test_ndcg']:.4f}, "
                f"HR@10 {best['test_hr']:.4f}. The best network alone is {alone['model']}: "
                f"{alone['test_ndcg']:.4f}, {alone['test_hr']:.4f} after {alone['epochs']:.0f} epochs. "
                f"Minutes of one processor: {minutes}; the published figures have had more epochs."
            ),
            versions=versions("statewise-core", "statewise-recsys", "torch"),
            protocol=PROTOCOL
            | {
                "networks": "d 64, 2 blocks, L 200, all windows of a history, full cross-entropy in tiles",
                "training": "batch 64, AdamW 2e-3, cosine over the epochs; products of the loss in bf16",
                "interruptions": "stopped and gone on with; "
                "the cosine was that of 36 epochs until the last one",
                "changes": "; ".join(f"{name}: {said(changes)}" for name, changes in MODELS.items()),
                "fingerprint": mark,
            },
            rows=tuple(rows),
            tables=(
                Table(title="Full ranking, leave-one-out", columns=COLUMNS, rows=tuple(rows)),
                Table(
                    title="Published",
                    columns=(
                        Column(key="model", label="method"),
                        Column(key="source", label="source"),
                        Column(key="ndcg", label="NDCG@10", format=".4f"),
                        Column(key="hr", label="HR@10", format=".4f"),
                    ),
                    rows=PUBLISHED,
                    note="LRURec's table filters only the last 200 items of a history; ours all of them.",
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


def said(changes: dict[str, Any]) -> str:
    """What a recipe changes, in a few words."""
    flat = changes.get("network", {}).get("encoder", {}) | changes.get("fit", {})
    return ", ".join(f"{name} {value}" for name, value in flat.items())


if __name__ == "__main__":
    main()
