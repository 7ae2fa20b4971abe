"""What every recommender is: scores of all items for each of some histories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from statewise.recsys.events import Histories

__all__ = ["Scorer"]


class Scorer(Protocol):
    """A fitted recommender."""

    name: str

    @property
    def n_items(self) -> int:
        """V."""
        ...

    def scores(self, histories: Histories) -> np.ndarray:
        """(n, V) float32 or float64, larger is better; equal scores are ties."""
        ...

    def because(self, history: np.ndarray, item: int) -> int | None:
        """The item of the history that speaks most for `item`; None where the method does not look at it."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What it has learnt, as arrays."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Its settings, as plain values."""
        ...
