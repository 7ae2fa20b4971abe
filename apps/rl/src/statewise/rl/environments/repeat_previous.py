"""RepeatPrevious: cards of four suits pass by; say the suit of k steps ago.

After the task of the same name in Morad et al., "POPGym: Benchmarking Partially Observable Reinforcement
Learning", 2023. Here the first answer that counts is that of step k, and right answers alone add up to 1.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from statewise.core.config import require

__all__ = ["RepeatPrevious"]

SUITS = 4
COLOURS = np.array([(0, 114, 178), (213, 94, 0), (0, 158, 115), (230, 159, 0)], np.uint8)


class RepeatPrevious(gymnasium.Env[np.int64, np.int64]):
    """Observation: the suit of the card, one of 4. The return is -1 to 1; guessing gives -0.5.

    Args:
        lag: k, steps between a card and the answer.
        decks: n, decks of 52 cards that are shuffled together; an episode has 52 n steps.
        render_mode: `rgb_array` or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, lag: int = 4, decks: int = 1, render_mode: str | None = None) -> None:
        require(decks >= 1, "decks", decks, "at least 1")
        require(0 <= lag < 52 * decks, "lag", lag, f"from 0 to {52 * decks - 1}")
        self.lag, self.decks, self.render_mode = lag, decks, render_mode
        self.observation_space = spaces.Discrete(SUITS)
        self.action_space = spaces.Discrete(SUITS)
        self._cards = np.repeat(np.arange(SUITS), 13 * decks)
        self._place = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Shuffle and show the first card."""
        super().reset(seed=seed)
        self._cards = self.np_random.permutation(np.repeat(np.arange(SUITS), 13 * self.decks))
        self._place = 0
        return self._cards[0], {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Judge the answer to the card on show, then show the next one; after the last one the end."""
        reward = 0.0
        if self._place >= self.lag:
            right = int(action) == int(self._cards[self._place - self.lag])
            reward = (1.0 if right else -1.0) / (len(self._cards) - self.lag)
        self._place += 1
        ended = self._place == len(self._cards)
        return self._cards[min(self._place, len(self._cards) - 1)], reward, ended, False, {}

    def render(self) -> np.ndarray:
        """(48, 48, 3): a card of the suit's colour."""
        card = np.zeros((48, 48, 3), np.uint8)
        card[4:44, 10:38] = COLOURS[self._cards[min(self._place, len(self._cards) - 1)]]
        return card
