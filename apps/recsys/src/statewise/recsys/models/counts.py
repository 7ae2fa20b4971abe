"""Counting methods that look at popularity or at the user alone: `popularity`, `recent`, `personal`.

popularity   training events of the item
recent       the same, each event weighted by 2^(-age / half-life)
personal     how often the user has taken the item; items never taken follow by popularity
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from statewise.recsys.events import Histories

__all__ = ["Personal", "Popularity", "RecentPopularity"]

_DAY = 86_400_000_000


class Popularity:
    """The same list for everyone.

    Args:
        counts: weight of each item, (V,).
    """

    name = "popularity"

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = np.asarray(counts, dtype=np.float64)

    @classmethod
    def fit(cls, train: Histories, n_items: int) -> Popularity:
        """Count the training events."""
        return cls(train.counts(n_items))

    @property
    def n_items(self) -> int:
        return len(self.counts)

    def scores(self, histories: Histories) -> np.ndarray:
        return np.broadcast_to(self.counts, (len(histories), self.n_items))

    def because(self, history: np.ndarray, item: int) -> int | None:
        return None

    def state(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    def facts(self) -> Mapping[str, Any]:
        return {}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Popularity:
        """From what `state` and `facts` returned."""
        return cls(arrays["counts"], **facts)


class RecentPopularity(Popularity):
    """Popularity in which an event counts half as much after each half-life.

    Args:
        counts: weight of each item, (V,).
        half_life: in days, or in events where the log has no times.
    """

    name = "recent"

    def __init__(self, counts: np.ndarray, half_life: float = 7.0) -> None:
        super().__init__(counts)
        self.half_life = half_life

    @classmethod
    def fit(cls, train: Histories, n_items: int, half_life: float = 7.0) -> RecentPopularity:
        """Weight the training events by their age at the last one of all.

        Without times the age of an event is the number of the user's events behind it, in tens.
        """
        row, place = train.flat()
        if train.times is not None and train.times.max(initial=0) > _DAY:
            stamps = train.times[place]
            age = (stamps.max(initial=0) - stamps) / _DAY
        else:
            age = (train.stops[row] - 1 - place) / 10
        return cls(np.bincount(train.items[place], np.exp2(-age / half_life), minlength=n_items), half_life)

    def facts(self) -> Mapping[str, Any]:
        return {"half_life": self.half_life}


class Personal(Popularity):
    """What the user takes most often."""

    name = "personal"

    def scores(self, histories: Histories) -> np.ndarray:
        below_one = self.counts / (self.counts.max(initial=0.0) + 1)
        scores = np.tile(below_one, (len(histories), 1))
        row, place = histories.flat()
        np.add.at(scores, (row, histories.items[place]), 1.0)
        return scores

    def because(self, history: np.ndarray, item: int) -> int | None:
        return item if item in history else None
