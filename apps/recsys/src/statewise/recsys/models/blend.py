"""`--blend`: a network and counting methods, mixed as distributions over the items.

    p(v) = w_0 softmax(s_0)_v + sum_m w_m s_m(v) / sum_v s_m(v)+

Linear interpolation (Jelinek and Mercer, 1980), as language models are mixed with counts. Scores of counting
methods are cut off at zero and divided by their sum. The weights are chosen on the validation cases, on a
grid of tenths; test cases choose nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from statewise.recsys.events import Histories
from statewise.recsys.metrics import summarise
from statewise.recsys.ranking import Repeat, rank_cases
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Split

__all__ = ["Blend", "Held", "choose_weights"]

_STEPS = 10


class Blend:
    """A weighted mean of distributions.

    Args:
        parts: the methods, the network first.
        weights: of each, summing to 1.
    """

    name = "blend"

    def __init__(self, parts: Sequence[Scorer], weights: Sequence[float]) -> None:
        self.parts, self.weights = list(parts), [float(weight) for weight in weights]

    @property
    def n_items(self) -> int:
        return self.parts[0].n_items

    def scores(self, histories: Histories) -> np.ndarray:
        return sum(
            weight * _distribution(part, histories)
            for part, weight in zip(self.parts, self.weights, strict=True)
            if weight
        ) + np.zeros((len(histories), self.n_items))

    def because(self, history: np.ndarray, item: int) -> int | None:
        reasons = (part.because(history, item) for part in reversed(self.parts))
        return next((reason for reason in reasons if reason is not None), None)

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def facts(self) -> Mapping[str, Any]:
        return {"weights": self.weights}


def choose_weights(parts: Sequence[Scorer], split: Split, repeat: Repeat, most: int = 2_000) -> list[float]:
    """The weights of the grid with the best NDCG@10 on (at most `most`) validation cases."""
    cases = split.valid
    if len(cases) > most:
        cases = cases.take(np.linspace(0, len(cases) - 1, most).astype(np.int64))
    held = [Held(_distribution(part, cases.histories(split.log))) for part in parts]
    ones = np.ones(split.log.n_items)
    best, chosen = -1.0, [1.0] + [0.0] * (len(parts) - 1)
    for others in itertools.product(range(_STEPS + 1), repeat=len(parts) - 1):
        if sum(others) > _STEPS:
            continue
        weights = [(_STEPS - sum(others)) / _STEPS, *(other / _STEPS for other in others)]
        mixed = Held(sum(w * part.table for w, part in zip(weights, held, strict=True)))
        ranked = rank_cases(mixed, split.log, cases, repeat=repeat, top=0)
        found = summarise(ranked, ones).ndcg["10"]
        if found > best:
            best, chosen = found, weights
    return chosen


def _distribution(part: Scorer, histories: Histories) -> np.ndarray:
    """(n, V) float32, rows that sum to 1."""
    scores = np.asarray(part.scores(histories), dtype=np.float32)
    if hasattr(part, "network"):
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    else:
        scores = np.maximum(scores, 0.0)
    total = scores.sum(axis=1, keepdims=True)
    return scores / np.where(total > 0, total, 1.0)


class Held:
    """Scores that are known already, handed out in the order of the cases."""

    name = "held"

    def __init__(self, table: Any) -> None:
        self.table = table
        self._next = 0

    @property
    def n_items(self) -> int:
        return self.table.shape[1]

    def scores(self, histories: Histories) -> np.ndarray:
        rows = slice(self._next, self._next + len(histories))
        self._next = rows.stop
        return self.table[rows]

    def because(self, history: np.ndarray, item: int) -> int | None:
        return None

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def facts(self) -> Mapping[str, Any]:
        return {}
