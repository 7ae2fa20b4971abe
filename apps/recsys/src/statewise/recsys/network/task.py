"""The recommender as a problem for the shared training loop."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from statewise.recsys.events import Histories
from statewise.recsys.metrics import summarise
from statewise.recsys.network.losses import Loss, LossConfig
from statewise.recsys.network.model import Batch, Network
from statewise.recsys.network.objectives import ObjectiveConfig, make_batch, windows
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.ranking import Repeat, rank_cases
from statewise.recsys.splits import Split

__all__ = ["SequenceTask"]


class SequenceTask:
    """A `statewise.core.train.Task`: windows of the training events in, a loss out.

    Args:
        model: the network.
        split: the training events, and the cases that choose the best weights.
        objective: what is asked.
        loss: what a wrong guess costs.
        train: the training events, where they are not those of the split (a refit on everything).
        validate_on: cases that are looked at, at most.
        repeat: whether items of the history compete in validation.
        seed: which of the validation cases are looked at.
        judged: whether the validation cases choose the weights; else the training loss does.
    """

    def __init__(
        self,
        model: Network,
        split: Split,
        objective: ObjectiveConfig,
        loss: LossConfig,
        *,
        train: Histories | None = None,
        validate_on: int = 10_000,
        repeat: Repeat = "exclude",
        seed: int = 0,
        judged: bool = True,
    ) -> None:
        self.model: nn.Module = model
        self.network = model
        self.monitor = "val_miss" if judged else "train_loss"
        """`val_miss` is 1 - NDCG@10 on the validation cases."""
        self.objective = objective
        train = split.train if train is None else train
        self.windows = windows(train, objective, model.config.encoder.length)
        self.counts = train.counts(model.n_items)
        self.criterion = Loss(loss, torch.from_numpy(self.counts))
        self.log = split.log
        self.repeat: Repeat = repeat
        cases = split.valid
        if len(cases) > validate_on:
            chosen = np.random.default_rng(seed).choice(len(cases), validate_on, replace=False)
            cases = cases.take(np.sort(chosen))
        self.cases = cases

    @property
    def size(self) -> int:
        """Number of training windows."""
        return len(self.windows)

    def batch(self, indices: Tensor) -> Batch:
        """The windows at `indices`, masked or shifted."""
        return make_batch(self.windows.take(indices.numpy()), self.objective, self.network.n_items)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean over the places asked."""
        hidden, table, bias = model(batch)
        return self.criterion(hidden, batch.targets, table, bias)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """NDCG and HR among all items."""
        if self.monitor == "train_loss":
            return {}
        scorer = NetworkScorer(self.network, cloze=self.objective.name == "cloze")
        ranked = rank_cases(scorer, self.log, self.cases, repeat=self.repeat, top=0)
        found = summarise(ranked, self.counts)
        return {
            "val_miss": 1 - found.ndcg["10"],
            "val_ndcg@10": found.ndcg["10"],
            "val_hr@10": found.hr["10"],
        }
