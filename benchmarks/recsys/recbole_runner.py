"""RecBole's SASRec: trained on a number of labels and asked, in an environment of its own.

    uv venv --python 3.11 recbole
    uv pip install --python recbole/bin/python "recbole==1.2.1" "torch==2.14.1" "numpy<2" "pandas<3"
    recbole/bin/python benchmarks/recsys/recbole_runner.py FOLDER LABELS

FOLDER holds `events/events.inter`, RecBole's atomic file. What SASRec says after the test histories goes to
`scores.npz` there; seconds of CPU time, labels and figures of RecBole's own evaluation are printed as JSON.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import itertools
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

SETTINGS = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
    "MAX_ITEM_LIST_LENGTH": 200,
    "hidden_size": 64,
    "inner_size": 64,
    "n_layers": 2,
    "n_heads": 1,
    "hidden_dropout_prob": 0.1,
    "attn_dropout_prob": 0.0,
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "train_batch_size": 2048,
    "eval_batch_size": 128,
    "learning_rate": 1e-3,
    "metrics": ["NDCG", "Hit"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "use_gpu": False,
    "seed": 0,
    "show_progress": False,
}
"""What is set; all else has RecBole's defaults: Adam, a constant rate, GELU, norms behind the branches."""


class Some:
    """The first batches of a pass over the training data, counted.

    Args:
        data: RecBole's loader, which shuffles anew for every pass.
        batches: how many.
    """

    shuffle = True

    def __init__(self, data, batches):
        self.data, self.batches, self.labels = data, batches, 0

    def __iter__(self):
        for batch in itertools.islice(iter(self.data), self.batches):
            self.labels += len(batch)
            yield batch


def trainer_of(config, dataset, amp):
    """A fresh model and its trainer, in float32 or under bf16 autocast."""
    config["enable_amp"] = amp
    init_seed(config["seed"], config["reproducibility"])
    return Trainer(config, SASRec(config, dataset))


def seconds_of_batch(config, data, amp):
    """CPU time of one training batch, the second one."""
    trainer = trainer_of(config, data._dataset, amp)
    trainer._train_epoch(Some(data, 1), 0)
    started = time.process_time()
    trainer._train_epoch(Some(data, 1), 0)
    return time.process_time() - started


def main() -> None:
    folder, labels = Path(sys.argv[1]).absolute(), int(sys.argv[2])
    sys.argv = sys.argv[:1]  # RecBole reads settings from there
    os.chdir(folder)  # it writes its logs where it stands
    torch.set_num_threads(1)
    config = Config(model="SASRec", dataset="events", config_dict=SETTINGS | {"data_path": str(folder)})
    init_seed(config["seed"], config["reproducibility"])
    started = time.process_time()
    dataset = create_dataset(config)
    train, _, test = data_preparation(config, dataset)
    prepared = time.process_time() - started
    batch = {amp: seconds_of_batch(config, train, amp) for amp in (False, True)}
    amp = batch[True] < batch[False]
    trainer = trainer_of(config, train._dataset, amp)
    done, started = 0, time.process_time()
    for epoch in itertools.count():
        some = Some(train, -(-(labels - done) // config["train_batch_size"]))
        trainer._train_epoch(some, epoch)
        done += some.labels
        if done >= labels:
            break
    trained = time.process_time() - started
    trainer.eval_collector.data_collect(train)
    own = trainer.evaluate(test, load_best_model=False)
    write_scores(folder / "scores.npz", trainer.model, dataset, test)
    facts = {
        "labels": done,
        "labels_per_epoch": len(train._dataset),
        "cpu_s": trained,
        "prepare_s": prepared,
        "batch_fp32_s": batch[False],
        "batch_bf16_s": batch[True],
        "precision": "bf16 autocast" if amp else "float32",
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "own_ndcg": float(own["ndcg@10"]),
        "own_hr": float(own["hit@10"]),
        "version": metadata.version("recbole"),
    }
    print(json.dumps(facts))


@torch.no_grad()
def write_scores(path: Path, model, dataset, test) -> None:
    """What the model says of every item after each test history, with the names of users and items."""
    model.eval()
    scores, users, targets = [], [], []
    for question, *_ in test:
        scores.append(model.full_sort_predict(question)[:, 1:].numpy())  # item 0 is padding
        users.append(question[dataset.uid_field].numpy())
        targets.append(question[dataset.iid_field].numpy())
    items = np.arange(1, dataset.item_num)
    np.savez(
        path,
        scores=np.concatenate(scores),
        users=dataset.id2token(dataset.uid_field, np.concatenate(users)).astype(str),
        targets=dataset.id2token(dataset.iid_field, np.concatenate(targets)).astype(str),
        items=dataset.id2token(dataset.iid_field, items).astype(str),
    )


if __name__ == "__main__":
    main()
