"""Atari frames as the world-model papers see them: every action four times, 64 x 64 pixels in colour.

Of the last two of the four frames the brighter pixel counts, since sprites flicker. No sticky actions, no
frame stack and no clipped rewards: Kaiser et al., "Model Based Reinforcement Learning for Atari", 2020 (Atari
100k).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

__all__ = ["AtariFrames"]


class AtariFrames(gymnasium.Wrapper):
    """Repeats actions and shrinks frames.

    Args:
        env: an ALE environment with `frameskip=1` that observes RGB.
        repeat: frames per action.
        size: height and width of what is observed.
    """

    def __init__(self, env: gymnasium.Env, repeat: int = 4, size: int = 64) -> None:
        super().__init__(env)
        self.repeat, self.size = repeat, size
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin a game."""
        frame, info = self.env.reset(seed=seed, options=options)
        return self._shrunk(frame), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        """Take an action `repeat` times, fewer where the game ends."""
        total, frames = 0.0, []
        terminated = truncated = False
        info: Any = {}
        for _ in range(self.repeat):
            frame, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            frames.append(frame)
            if terminated or truncated:
                break
        return self._shrunk(np.maximum.reduce(frames[-2:])), total, terminated, truncated, info

    def _shrunk(self, frame: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(frame).resize((self.size, self.size), Image.Resampling.BOX))
