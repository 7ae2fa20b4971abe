"""The items with the largest h . E_v + b_v, exactly: a rough sweep over all, a fine one over few.

Reading the table is what a search costs. The rough sweep reads it in bf16, half the bytes; its error has a
bound, so that no item of the exact first k can be missed:

    |rough_v - (h . E_v + b_v)| <= delta = (2^-8 + 2^-9 + D 2^-20) |h| max_v |E_v|

(two roundings to 2^-9 of each product, one of the sum, and the sums of D products in float32; by Cauchy and
Schwarz). Items whose rough score is within 2 delta of the k-th best are scored again in float32.

Letters: V items, D width.
"""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["Exhaustive"]

_BLOCK = 64
_SMALL = 20_000
"""Items up to which a single sweep in float32 is as fast."""


class Exhaustive:
    """A search that looks at every item.

    Args:
        table: E, (V, D) float32.
        bias: b, (V,).
    """

    def __init__(self, table: np.ndarray, bias: np.ndarray) -> None:
        self.table, self.bias = (np.ascontiguousarray(part, dtype=np.float32) for part in (table, bias))
        self._fine, self._bias = torch.from_numpy(self.table), torch.from_numpy(self.bias)
        width = table.shape[1]
        self._error = (2**-8 + 2**-9 + width * 2**-20) * float(self._fine.norm(dim=1).max())
        self._rough = self._fine.bfloat16() if len(table) > _SMALL else None
        if self._rough is not None and not self._keeps_the_bound(self._rough):
            self._rough = None

    def _keeps_the_bound(self, rough: torch.Tensor) -> bool:
        """Whether this processor sums products of bf16 in float32: one item is tried with all."""
        h = self._fine[0]
        error = (rough @ h.bfloat16()).float() - self._fine @ h
        return float(error.abs().max()) <= self._error * float(h.norm())

    def search(self, said: np.ndarray, k: int, barred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The k best items that are not barred, and their scores; equal scores by the code of the item.

        Args:
            said: h, (D,) float32.
            k: items.
            barred: codes that may not be recommended.
        """
        h = torch.tensor(said, dtype=torch.float32)
        k = min(k, len(self.table))
        if self._rough is None:
            scores, margin = torch.addmv(self._bias, self._fine, h), 0.0
        else:
            scores = (self._rough @ h.bfloat16()).float().add_(self._bias)
            margin = 2 * self._error * float(h.norm())
        if len(barred):
            scores[torch.from_numpy(barred)] = -torch.inf
        edge = _kth_or_less(scores, k) - margin
        found = np.flatnonzero(scores.numpy() >= max(edge, np.finfo(np.float32).min))
        values = self.scores(said, found)
        order = np.lexsort((found, -values))[:k]
        return found[order], values[order]

    def scores(self, said: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of some items, float32; each the same whatever the others are."""
        return (self.table[items] * said.astype(np.float32, copy=False)).sum(axis=1) + self.bias[items]


def _kth_or_less(scores: torch.Tensor, k: int) -> float:
    """The k-th largest of (V,) scores or less: that of the blocks' maxima, of which there are far fewer."""
    whole = len(scores) // _BLOCK * _BLOCK
    if whole < 4 * k * _BLOCK:
        return float(torch.topk(scores, k).values[-1])
    return float(torch.topk(scores[:whole].view(-1, _BLOCK).amax(1), k).values[-1])
