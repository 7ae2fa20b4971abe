"""MovieLens-1M: counting methods, networks alone and mixed with one of them, beside published figures.

The shared file orders events of the same second by film id, as LRURec's does; published figures on that order
are the ones to compare with.
"""

from __future__ import annotations

from benchmarks.recsys.neural import Study

STUDY = Study(
    benchmark="recsys/ml_1m",
    title="Recommenders on MovieLens-1M",
    file="recsys/ml-1m.parquet",
    origin="MovieLens-1M (GroupLens), items with 5 ratings or more, order of LRURec",
    licence="research use; no redistribution",
    folder="recsys-ml1m",
    models={
        "sasrec-plus": {"fit": {"epochs": 24}, "eval_epochs": 3},
        "lrurec": {"fit": {"epochs": 30}, "eval_epochs": 3},
        "bert4rec": {"fit": {"epochs": 40}, "eval_epochs": 4},
    },
    protocol={
        "networks": "d 64, 2 blocks, L 200, all windows of a history, full cross-entropy in tiles",
        "training": "batch 64, AdamW 2e-3, cosine over the epochs; products of the loss in bf16",
        "interruptions": "stopped and gone on with; the cosine was that of 36 epochs until the last one",
    },
    published=(
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
    ),
    remark="The published figures have had more epochs.",
    published_note="LRURec's table filters only the last 200 items of a history; ours all of them.",
)


if __name__ == "__main__":
    STUDY.run()
