"""T-maze: a cue at the start says which way to turn at the end of a corridor.

The walk is passive: only the action at the junction counts. Without memory the return is 0 on average, with
it 1. Bakker, "Reinforcement Learning with Long Short-Term Memory", 2001; the passive form follows Ni et al.,
"When Do Transformers Shine in RL?", 2023, without their penalty for standing still.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from statewise.core.config import require

__all__ = ["TMaze"]


class TMaze(gymnasium.Env[np.ndarray, np.int64]):
    """Observation (2,): the cue (1 or -1 in the first step, then 0) and whether this is the junction.

    Args:
        length: steps between the cue and the junction.
        render_mode: `rgb_array` or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, length: int = 20, render_mode: str | None = None) -> None:
        require(length >= 1, "length", length, "at least 1")
        self.length, self.render_mode = length, render_mode
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self._cue, self._place, self._turned = 1.0, 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw a cue and stand at the beginning of the corridor."""
        super().reset(seed=seed)
        self._cue, self._place, self._turned = float(self.np_random.choice((-1.0, 1.0))), 0, 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Walk on; at the junction action 1 turns to where a cue of 1 points, 0 to where -1 does."""
        if self._place < self.length:
            self._place += 1
            return self._observation(), 0.0, False, False, {}
        self._turned = 1 if action == 1 else -1
        reward = 1.0 if self._turned == self._cue else -1.0
        return self._observation(), reward, True, False, {}

    def render(self) -> np.ndarray:
        """(48, 16 (length + 3), 3): the corridor, the two arms, the goal and the walker."""
        cells = np.zeros((3, self.length + 3, 3), np.uint8)
        cells[1, : self.length + 1] = cells[:, self.length + 1] = 70
        cells[1 - int(self._cue), self.length + 1] = (0, 158, 115)
        if self._place == 0:
            cells[1 - int(self._cue), 0] = (0, 158, 115)
        column = self._place if not self._turned else self.length + 1
        cells[1 - self._turned, column] = (230, 159, 0)
        return cells.repeat(16, 0).repeat(16, 1)

    def _observation(self) -> np.ndarray:
        at_junction = self._place == self.length
        return np.array([self._cue if self._place == 0 else 0.0, float(at_junction)], np.float32)
