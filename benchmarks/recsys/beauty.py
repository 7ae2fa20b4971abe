"""Amazon Beauty: counting methods, two networks alone and mixed with one of them, beside published figures.

The file is that of BERT4Rec (40,226 users, 54,542 items). There are other versions of this data set, with
figures of their own.
"""

from __future__ import annotations

from benchmarks.recsys.neural import Study

STUDY = Study(
    benchmark="recsys/beauty",
    title="Recommenders on Amazon Beauty",
    file="recsys/beauty.bert4rec.parquet",
    origin="Amazon reviews, Beauty (McAuley et al., 2015), as prepared for BERT4Rec",
    licence="released for research; no redistribution",
    folder="recsys-beauty",
    models={
        "sasrec-plus": {
            "network": {"encoder": {"length": 50}},
            "fit": {"batch_size": 256, "epochs": 15},
            "eval_epochs": 3,
        },
        "lrurec": {
            "network": {"encoder": {"length": 50}},
            "fit": {"batch_size": 256, "epochs": 12},
            "eval_epochs": 3,
        },
    },
    protocol={
        "networks": "d 64, 2 blocks, L 50, all windows of a history",
        "loss": "softmax over the target and 1,024 sampled items, logQ: the default of a large catalogue",
        "training": "batch 256, AdamW 2e-3, cosine over the epochs; 10,000 validation cases choose the epoch",
    },
    published=(
        {
            "model": "SASRec, softmax",
            "source": "RecTools, replication of BERT4Rec",
            "ndcg": 0.0359,
            "hr": 0.0595,
        },
        {
            "model": "SASRec+, full cross-entropy",
            "source": "Klenitskiy and Vasilev (2023)",
            "ndcg": 0.0327,
            "hr": 0.0533,
        },
        {
            "model": "SASRec+, 3,000 negatives",
            "source": "Klenitskiy and Vasilev (2023)",
            "ndcg": 0.0295,
            "hr": 0.0490,
        },
        {"model": "BERT4Rec", "source": "Klenitskiy and Vasilev (2023)", "ndcg": 0.0187, "hr": 0.0338},
        {
            "model": "SASRec, binary cross-entropy",
            "source": "Klenitskiy and Vasilev (2023)",
            "ndcg": 0.0126,
            "hr": 0.0246,
        },
    ),
)


if __name__ == "__main__":
    STUDY.run()
