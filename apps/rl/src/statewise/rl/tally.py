"""Returns of the episodes that end during training."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from statewise.rl.environments.stream import Transition

__all__ = ["Tally"]

_RECENT = 50


class Tally:
    """Sums rewards per environment and keeps the last returns.

    Args:
        count: N, environments.
    """

    def __init__(self, count: int) -> None:
        self._sums, self._lengths = np.zeros(count), np.zeros(count, int)
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)
        self.episodes = 0
        """Episodes that have ended."""

    def add(self, step: Transition) -> None:
        """Count a step of all environments."""
        self._sums += np.where(step.valid, step.reward, 0.0)
        self._lengths += step.valid
        for lane in np.flatnonzero(step.done):
            self._recent.append((float(self._sums[lane]), int(self._lengths[lane])))
            self._sums[lane] = self._lengths[lane] = 0
            self.episodes += 1

    def row(self) -> dict[str, float | None]:
        """Mean return and length of the last episodes, for the log."""
        recent = list(self._recent)
        return {
            "episodes": float(self.episodes),
            "train_return": float(np.mean([r for r, _ in recent])) if recent else None,
            "train_length": float(np.mean([n for _, n in recent])) if recent else None,
        }

    def state(self) -> dict[str, Any]:
        """Plain values for `restore`."""
        return {
            "sums": self._sums.tolist(),
            "lengths": self._lengths.tolist(),
            "recent": [list(pair) for pair in self._recent],
            "episodes": self.episodes,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on counting from there."""
        self._sums, self._lengths = np.array(state["sums"], float), np.array(state["lengths"], int)
        self._recent = deque([(float(r), int(n)) for r, n in state["recent"]], maxlen=_RECENT)
        self.episodes = state["episodes"]
