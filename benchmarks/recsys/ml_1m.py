"""MovieLens-1M: counting methods, SASRec+ alone and mixed with them, beside the best published figures.

The shared file orders events of the same second by film id, as LRURec's does; published figures on that order
are the ones to compare with.
"""

from __future__ import annotations

from typing import Any

from benchmarks.recsys.neural import COLUMNS, PROTOCOL, baselines, blended, trained
from benchmarks.results import Column, Result, Table, data_file, fingerprint, publish, versions
from statewise.recsys.data import read
from statewise.recsys.splits import make_split

EPOCHS = 13
CHANGES: dict[str, Any] = {"fit": {"epochs": EPOCHS}, "eval_epochs": 2}
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
    rows: list[dict[str, Any]] = []
    row, scorer = trained("sasrec-plus", split, "recsys-ml1m", CHANGES)
    rows += [row, blended("sasrec-plus", scorer, ("markov",), split), *baselines(split)]
    best = max(rows, key=lambda one: one["val_ndcg"])
    columns = [
        Column(key="model", label="method"),
        Column(key="source", label="source"),
        Column(key="ndcg", label="NDCG@10", format=".4f"),
        Column(key="hr", label="HR@10", format=".4f"),
    ]
    publish(
        Result(
            benchmark="recsys/ml_1m",
            title="Recommenders on MovieLens-1M",
            summary=(
                f"Validation chooses {best['model']}: test NDCG@10 {best['test_ndcg']:.4f}, "
                f"HR@10 {best['test_hr']:.4f}. SASRec+ had {row['epochs']:.0f} epochs "
                f"({row['cpu_s'] / 60:.0f} minutes of one processor); the published figures have had more."
            ),
            versions=versions("statewise-core", "statewise-recsys", "torch"),
            protocol=PROTOCOL
            | {
                "network": "sasrec-plus: d 64, 2 blocks, 1 head, L 200, dropout .1, all windows of a history",
                "training": f"batch 64, AdamW 2e-3, cosine over {EPOCHS} epochs, full cross-entropy in tiles",
                "interruptions": "stopped and resumed; the cosine was shortened from 30 epochs on the way",
                "fingerprint": reading.log.fingerprint,
            },
            rows=tuple(rows),
            tables=(
                Table(title="Full ranking, leave-one-out", columns=COLUMNS, rows=tuple(rows)),
                Table(
                    title="Published",
                    columns=tuple(columns),
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


if __name__ == "__main__":
    main()
