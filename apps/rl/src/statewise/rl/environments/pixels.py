"""Two games on 16 x 16 pixels, small enough to learn a world model of on a laptop.

Observations are (16, 16, 1) uint8: 255 for what falls, 160 for the player. A single frame shows no velocity.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from statewise.core.config import require

__all__ = ["Catch", "Dodge"]

SIZE = 16
FALLING, PLAYER = 255, 160
SCALE = 16


class PixelGame(gymnasium.Env[np.ndarray, np.int64], ABC):
    """What both games share: the picture and three actions (left, stay, right)."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 1), np.uint8)
        self.action_space = spaces.Discrete(3)
        self.player = SIZE // 2

    @abstractmethod
    def frame(self) -> np.ndarray:
        """The present picture, (16, 16, 1) uint8."""

    def render(self) -> np.ndarray:
        """(256, 256, 3) uint8: the picture, enlarged."""
        return self.frame().repeat(SCALE, 0).repeat(SCALE, 1).repeat(3, 2)

    def _move(self, action: np.int64, half: int) -> None:
        self.player = int(np.clip(self.player + int(action) - 1, half, SIZE - 1 - half))


class Catch(PixelGame):
    """A ball falls, drifts and bounces off the walls; catch it with a paddle three pixels wide.

    +1 for a ball that is caught, -1 for one that is missed; the paddle stays where it is between balls.

    Args:
        balls: balls of an episode, 15 steps each.
        render_mode: `rgb_array` or None.
    """

    def __init__(self, balls: int = 5, render_mode: str | None = None) -> None:
        require(balls >= 1, "balls", balls, "at least 1")
        super().__init__(render_mode)
        self.balls = balls
        self.row, self.column, self.drift, self.left = 0, 0, 1, balls

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Put the paddle in the middle and drop the first ball."""
        super().reset(seed=seed)
        self.player, self.left = SIZE // 2, self.balls
        self._drop()
        return self.frame(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move the paddle, then the ball."""
        self._move(action, half=1)
        self.row += 1
        self.column += self.drift
        if not 0 <= self.column < SIZE:
            self.drift = -self.drift
            self.column += 2 * self.drift
        reward = 0.0
        if self.row == SIZE - 1:
            reward = 1.0 if abs(self.column - self.player) <= 1 else -1.0
            self.left -= 1
            if self.left:
                self._drop()
        return self.frame(), reward, self.left == 0, False, {}

    def frame(self) -> np.ndarray:
        picture = np.zeros((SIZE, SIZE, 1), np.uint8)
        picture[SIZE - 1, self.player - 1 : self.player + 2] = PLAYER
        picture[self.row, self.column] = FALLING
        return picture

    def _drop(self) -> None:
        self.row, self.column = 0, int(self.np_random.integers(SIZE))
        self.drift = int(self.np_random.integers(-1, 2))


class Dodge(PixelGame):
    """Blocks of two pixels fall; every step that is survived gives 0.1, a hit ends the episode with -1.

    Args:
        gap: steps from one block to the next.
        limit: steps after which the episode is truncated.
        render_mode: `rgb_array` or None.
    """

    def __init__(self, gap: int = 3, limit: int = 200, render_mode: str | None = None) -> None:
        require(gap >= 1, "gap", gap, "at least 1")
        require(limit >= 1, "limit", limit, "at least 1")
        super().__init__(render_mode)
        self.gap, self.limit = gap, limit
        self.blocks: list[tuple[int, int]] = []
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Clear the sky and stand in the middle."""
        super().reset(seed=seed)
        self.player, self.blocks, self.steps = SIZE // 2, [], 0
        return self.frame(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move the player, let all blocks fall by one row, and send a new one every `gap` steps."""
        self._move(action, half=0)
        self.blocks = [(row + 1, column) for row, column in self.blocks if row + 1 < SIZE]
        if self.steps % self.gap == 0:
            self.blocks.append((0, int(self.np_random.integers(SIZE - 1))))
        self.steps += 1
        hit = any(row == SIZE - 1 and column <= self.player <= column + 1 for row, column in self.blocks)
        return self.frame(), -1.0 if hit else 0.1, hit, not hit and self.steps >= self.limit, {}

    def frame(self) -> np.ndarray:
        picture = np.zeros((SIZE, SIZE, 1), np.uint8)
        picture[SIZE - 1, self.player] = PLAYER
        for row, column in self.blocks:
            picture[row, column : column + 2] = FALLING
        return picture
