"""Item-to-item methods on the user x item matrix, blind to order: `ease` and `itemknn`.

    EASE (Steck, 2019)      P = (X'X + lambda I)^-1,  B = I - P diag(1 / diag P),  score = x B
    itemKNN (Sarwar, 2001)  S = X'X / (|x_a| |x_b| + 10), the 100 nearest of each item,  score = x S

X (U, V) holds 1 where a user has taken an item; x is a user's row in which the item taken i events ago
weighs decay^i. With decay = 1 they are the methods of the papers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from statewise.recsys.events import Histories
from statewise.recsys.models.markov import sparse_table

__all__ = ["EASE", "ItemKNN"]

EASE_ITEMS = 10_000
"""Largest catalogue of EASE: it holds V x V numbers."""


class _ItemToItem:
    """Scores are a weighted sum of rows of an item x item matrix."""

    name = ""

    def __init__(self, table: Any, decay: float) -> None:
        self.table, self.decay = table, decay

    @property
    def n_items(self) -> int:
        return self.table.shape[0]

    def scores(self, histories: Histories) -> np.ndarray:
        scores = _weights(histories, self.n_items, self.decay) @ self.table
        return scores.toarray() if sp.issparse(scores) else np.asarray(scores)

    def because(self, history: np.ndarray, item: int) -> int | None:
        if not len(history):
            return None
        recent = history[::-1]
        column = self.table[recent][:, [item]]
        votes = np.asarray(column.toarray() if sp.issparse(column) else column).ravel()
        votes = votes * self.decay ** np.arange(len(recent))
        return int(recent[int(np.argmax(votes))]) if votes.max() > 0 else None


class EASE(_ItemToItem):
    """Embarrassingly Shallow Autoencoders.

    Args:
        table: B, (V, V).
        decay: weight of an item relative to the one after it.
        ridge: lambda.
    """

    name = "ease"

    def __init__(self, table: np.ndarray, *, decay: float = 0.9, ridge: float = 200.0) -> None:
        super().__init__(table, decay)
        self.ridge = ridge

    @classmethod
    def fit(cls, train: Histories, n_items: int, *, decay: float = 0.9, ridge: float = 200.0) -> EASE:
        """Solve on the training events."""
        x = _binary(train, n_items)
        gram = (x.T @ x).toarray()
        gram[np.diag_indices(n_items)] += ridge
        inverse: Any = scipy.linalg.inv(gram, overwrite_a=True, assume_a="pos")
        table = inverse / -np.diag(inverse)
        np.fill_diagonal(table, 0.0)
        return cls(table.astype(np.float32), decay=decay, ridge=ridge)

    def state(self) -> dict[str, np.ndarray]:
        return {"table": self.table}

    def facts(self) -> Mapping[str, Any]:
        return {"decay": self.decay, "ridge": self.ridge}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> EASE:
        """From what `state` and `facts` returned."""
        return cls(arrays["table"], **facts)


class ItemKNN(_ItemToItem):
    """The nearest items by shrunk cosine.

    Args:
        table: S, (V, V) sparse.
        decay: weight of an item relative to the one after it.
        neighbours: kept of each item.
        shrink: added to the product of the norms.
    """

    name = "itemknn"

    def __init__(
        self, table: Any, *, decay: float = 0.9, neighbours: int = 100, shrink: float = 10.0
    ) -> None:
        super().__init__(table, decay)
        self.neighbours, self.shrink = neighbours, shrink

    @classmethod
    def fit(
        cls,
        train: Histories,
        n_items: int,
        *,
        decay: float = 0.9,
        neighbours: int = 100,
        shrink: float = 10.0,
    ) -> ItemKNN:
        """Count pairs of the training events, in tiles of items."""
        x = _binary(train, n_items)
        norms = np.sqrt(np.asarray(x.sum(axis=0)).ravel())
        turned, parts = x.T.tocsr(), []
        for low in range(0, n_items, 1024):
            tile = (turned[low : low + 1024] @ x).tocoo()
            kept = tile.row + low != tile.col
            row, col, both = tile.row[kept], tile.col[kept], tile.data[kept]
            value = both / (norms[row + low] * norms[col] + shrink)
            order = np.lexsort((-value, row))
            row, col, value = row[order], col[order], value[order]
            place = np.arange(len(row)) - np.searchsorted(row, row)
            near = place < neighbours
            parts.append((row[near] + low, col[near], value[near]))
        row, col, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        # row a of the table: what having taken a says about every other item
        table = sp.csr_array((value, (col, row)), shape=(n_items, n_items))
        return cls(table, decay=decay, neighbours=neighbours, shrink=shrink)

    def state(self) -> dict[str, np.ndarray]:
        table = self.table
        return {
            "data": table.data,
            "indices": table.indices.astype(np.int64),
            "indptr": table.indptr.astype(np.int64),
        }

    def facts(self) -> Mapping[str, Any]:
        return {"decay": self.decay, "neighbours": self.neighbours, "shrink": self.shrink}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> ItemKNN:
        """From what `state` and `facts` returned."""
        return cls(sparse_table(arrays), **facts)


def _binary(histories: Histories, n_items: int) -> Any:
    """X: 1 where a user has taken an item."""
    row, place = histories.flat()
    ones = np.ones(len(row))
    x: Any = sp.coo_array((ones, (row, histories.items[place])), shape=(len(histories), n_items)).tocsr()
    x.data[:] = 1.0
    return x


def _weights(histories: Histories, n_items: int, decay: float) -> Any:
    """x: decay^i where an item was taken i events ago, the last time it was."""
    row, place = histories.flat()
    age = histories.stops[row] - 1 - place
    x: Any = sp.coo_array((decay**age, (row, histories.items[place])), shape=(len(histories), n_items))
    if len(row) == len(np.unique(row * np.int64(n_items) + histories.items[place])):
        return x.tocsr()
    order = np.lexsort((age, histories.items[place], row))
    keys = row[order] * np.int64(n_items) + histories.items[place][order]
    first = order[np.unique(keys, return_index=True)[1]]
    pairs = (row[first], histories.items[place][first])
    return sp.csr_array((decay ** age[first], pairs), shape=(len(histories), n_items))
