"""The items with the largest h . E_v + b_v: exactly, or approximately through faiss.

The bias is one more feature: E_v has b_v behind it and h a 1, so that an inner-product index carries it.
Approximate search returns candidates; those that may not be recommended are dropped, the others scored
exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from statewise.core.errors import MissingExtraError, UnknownNameError

__all__ = ["KINDS", "Nearest"]

KINDS = ("auto", "exact", "approximate")
_LARGE = 100_000
_MORE = 64
"""Candidates fetched beyond k and what is barred."""


class Nearest:
    """A search over the item table.

    Args:
        table: E, (V, D) float32.
        bias: b, (V,).
        kind: `exact`, `approximate` or `auto`.

    Raises:
        MissingExtraError: approximate search is asked for and faiss is not installed.
    """

    def __init__(self, table: np.ndarray, bias: np.ndarray, *, kind: str = "auto") -> None:
        if kind not in KINDS:
            raise UnknownNameError("search", kind, KINDS)
        self.width = table.shape[1]
        self.table = np.ascontiguousarray(np.concatenate([table, bias[:, None]], axis=1), dtype=np.float32)
        self._shared = torch.from_numpy(self.table)
        self._index: Any = None
        if kind == "approximate" or (kind == "auto" and len(table) > _LARGE and _faiss() is not None):
            self._index = self._built()

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
        query = np.append(said, np.float32(1.0))
        if only is not None:
            candidates = np.setdiff1d(only, barred)
        elif self._index is None:
            return self._exact(query, k, barred)
        else:
            wanted = min(len(self.table), k + len(barred) + _MORE)
            candidates = np.setdiff1d(self._index.search(query[None], wanted)[1][0], np.append(barred, -1))
        scores = self.table[candidates] @ query
        order = np.lexsort((candidates, -scores))[:k]
        return candidates[order], scores[order]

    def recall(self, queries: np.ndarray, k: int = 10) -> float:
        """Share of the exact first k that the index finds, over (n, D) queries."""
        none = np.zeros(0, dtype=np.int64)
        found = 0
        for said in queries:
            exact = self._exact(np.append(said, np.float32(1.0)), k, none)[0]
            found += len(np.intersect1d(exact, self.search(said, k, none)[0]))
        return found / (k * len(queries))

    def _exact(self, query: np.ndarray, k: int, barred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first of all items; torch's product and selection take half the time of numpy's here."""
        scores = self._shared @ torch.from_numpy(query)
        wanted = min(len(self.table), k + len(barred))
        values, items = (part.numpy() for part in torch.topk(scores, wanted))
        left = ~np.isin(items, barred) if len(barred) else np.ones(wanted, dtype=bool)
        return items[left][:k], values[left][:k]

    def _built(self) -> Any:
        faiss = _faiss()
        if faiss is None:
            raise MissingExtraError("faiss", "statewise-recsys[ann]", "approximate search")
        cells = int(max(1, min(4 * len(self.table) ** 0.5, len(self.table) // 40)))
        quantiser = faiss.IndexFlatIP(self.table.shape[1])
        index = faiss.IndexIVFFlat(quantiser, self.table.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = 0
        index.train(self.table)
        index.add(self.table)
        index.nprobe = max(1, cells // 8)
        return index


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
