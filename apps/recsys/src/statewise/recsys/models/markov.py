"""`markov`: what comes after what, counted; the last ten items vote.

    C[a, b] = sum over lags l = 1..5 of (times b came l events after a) / l
    P[a, b] = C[a, b] / (sum_b C[a, b] + 20)
    score(b) = sum_{i=0..9} 0.8^i P[x_{n-i}, b]

A counter with no training, and a serious opponent: see the benchmarks. P is sparse, (V, V).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from statewise.recsys.events import Histories

__all__ = ["Markov", "sparse_table"]


class Markov:
    """A decayed Markov counter.

    Args:
        table: P, (V, V) sparse.
        window: items of the history that vote.
        decay: weight of an item relative to the one after it.
        lags: distances that are counted.
        shrink: events added to each row's sum.
    """

    name = "markov"

    def __init__(
        self,
        table: Any,
        *,
        window: int = 10,
        decay: float = 0.8,
        lags: int = 5,
        shrink: float = 20.0,
    ) -> None:
        self.table = table
        self.window, self.decay, self.lags, self.shrink = window, decay, lags, shrink

    @classmethod
    def fit(
        cls,
        train: Histories,
        n_items: int,
        *,
        window: int = 10,
        decay: float = 0.8,
        lags: int = 5,
        shrink: float = 20.0,
    ) -> Markov:
        """Count the training events."""
        row, place = train.flat()
        items = train.items[place]
        total: Any = sp.csr_array((n_items, n_items), dtype=np.float64)
        for lag in range(1, lags + 1):
            same = row[lag:] == row[:-lag]
            pair = items[:-lag][same], items[lag:][same]
            weights = np.full(len(pair[0]), 1.0 / lag)
            total = total + sp.coo_array((weights, pair), shape=(n_items, n_items)).tocsr()
        scale = 1.0 / (np.asarray(total.sum(axis=1)).ravel() + shrink)
        table = (sp.diags_array(scale) @ total).tocsr()
        return cls(table, window=window, decay=decay, lags=lags, shrink=shrink)

    @property
    def n_items(self) -> int:
        return self.table.shape[0]

    def scores(self, histories: Histories) -> np.ndarray:
        recent = histories.last(self.window)
        row, place = recent.flat()
        weights = self.decay ** (recent.stops[row] - 1 - place)
        shape = (len(histories), self.n_items)
        votes: Any = sp.csr_array((weights, (row, recent.items[place])), shape=shape)
        return (votes @ self.table).toarray()

    def because(self, history: np.ndarray, item: int) -> int | None:
        recent = history[-self.window :][::-1]
        if not len(recent):
            return None
        votes = self.table[recent][:, [item]].toarray().ravel() * self.decay ** np.arange(len(recent))
        return int(recent[int(np.argmax(votes))]) if votes.max() > 0 else None

    def state(self) -> dict[str, np.ndarray]:
        table = self.table
        return {
            "data": table.data,
            "indices": table.indices.astype(np.int64),
            "indptr": table.indptr.astype(np.int64),
        }

    def facts(self) -> Mapping[str, Any]:
        return {"window": self.window, "decay": self.decay, "lags": self.lags, "shrink": self.shrink}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Markov:
        """From what `state` and `facts` returned."""
        return cls(sparse_table(arrays), **facts)


def sparse_table(arrays: Mapping[str, np.ndarray]) -> Any:
    """The (V, V) matrix whose parts `state` returned."""
    n = len(arrays["indptr"]) - 1
    return sp.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(n, n))
