"""The items with the largest h . E_v + b_v: exactly, or approximately through faiss.

The bias is one more feature of the index: E_v has b_v behind it and h a 1. Approximate search returns
candidates; those that may not be recommended are dropped, the others scored exactly. It looks into as many
cells as give `RECALL` of the exact first ten on the queries it is built with, and says what it measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from statewise.core.errors import MissingExtraError, UnknownNameError
from statewise.recsys.serving.exhaustive import Exhaustive

__all__ = ["KINDS", "RECALL", "Nearest"]

KINDS = ("auto", "exact", "approximate")
RECALL = 0.95
"""Share of the exact first ten that approximate search is set to find."""
_LARGE = 100_000
_MORE = 64
"""Candidates fetched beyond k and what is barred."""
_NOTHING = np.zeros(0, dtype=np.int64)


class Nearest:
    """A search over the item table.

    Args:
        table: E, (V, D) float32.
        bias: b, (V,).
        kind: `exact`, `approximate` or `auto`: approximate from 100,000 items on where faiss is there and a
            quarter of the cells is enough.
        queries: what the encoder says of some users, (n, D): approximate search is set on them.

    Raises:
        MissingExtraError: approximate search is asked for and faiss is not installed.
    """

    def __init__(
        self, table: np.ndarray, bias: np.ndarray, *, kind: str = "auto", queries: np.ndarray | None = None
    ) -> None:
        if kind not in KINDS:
            raise UnknownNameError("search", kind, KINDS)
        self.width = table.shape[1]
        self.exact = Exhaustive(table, bias)
        self.measured = 1.0
        """Recall of the first ten on `queries`."""
        self._index: Any = None
        if kind == "approximate" or (kind == "auto" and len(table) >= _LARGE and _faiss() is not None):
            self._index = self._built()
            self._set(table[:: max(1, len(table) // 64)] if queries is None else queries)
            if kind == "auto" and self._index.nprobe > self._index.nlist // 4:
                self._index, self.measured = None, 1.0  # reading everything is as fast

    @property
    def approximate(self) -> bool:
        return self._index is not None

    def search(
        self, said: np.ndarray, k: int, barred: np.ndarray, only: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items that may be recommended, and their scores.

        Args:
            said: h, (D,).
            k: items.
            barred: codes that may not be recommended.
            only: codes that alone may be; None: all.
        """
        if only is not None:
            candidates = np.setdiff1d(only, barred)
        elif self._index is None:
            return self.exact.search(said, k, barred)
        else:
            wanted = min(len(self.exact.table), k + len(barred) + _MORE)
            query = np.append(said, np.float32(1.0))
            candidates = np.setdiff1d(self._index.search(query[None], wanted)[1][0], np.append(barred, -1))
        scores = self.exact.scores(said, candidates)
        order = np.lexsort((candidates, -scores))[:k]
        return candidates[order], scores[order]

    def recall(self, queries: np.ndarray, k: int = 10) -> float:
        """Share of the exact first k that the search finds, over (n, D) queries."""
        k = min(k, len(self.exact.table))
        found = 0
        for said in queries:
            exact = self.exact.search(said, k, _NOTHING)[0]
            found += len(np.intersect1d(exact, self.search(said, k, _NOTHING)[0]))
        return found / (k * len(queries))

    def _set(self, queries: np.ndarray) -> None:
        """Look into more cells until enough is found, or into all."""
        cells = self._index.nlist
        self._index.nprobe = max(1, cells // 64)
        while (measured := self.recall(queries)) < RECALL and self._index.nprobe < cells:
            self._index.nprobe = min(cells, 2 * self._index.nprobe)
        self.measured = measured

    def _built(self) -> Any:
        faiss = _faiss()
        if faiss is None:
            raise MissingExtraError("faiss", "statewise-recsys[ann]", "approximate search")
        table = np.concatenate([self.exact.table, self.exact.bias[:, None]], axis=1)
        cells = int(max(1, min(4 * len(table) ** 0.5, len(table) // 40)))
        quantiser = faiss.IndexFlatIP(table.shape[1])
        index = faiss.IndexIVFFlat(quantiser, table.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = 0
        index.train(table)
        index.add(table)
        return index


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
