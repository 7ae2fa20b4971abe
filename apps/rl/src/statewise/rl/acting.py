"""What acts in an environment: a policy together with all that it remembers of the episodes under way.

Letters: N environments side by side, A numbers of an action.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from gymnasium import spaces

__all__ = ["Actor", "RandomActor"]


class Actor(ABC):
    """Acts in N environments at once; an episode that begins is told by `first`."""

    @abstractmethod
    def begin(self, count: int, seed: int) -> None:
        """Get ready for `count` environments; whatever is drawn follows from `seed`."""

    @abstractmethod
    def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The next action of every environment.

        Args:
            observation: (N, ...), as the environments give them.
            reward: (N,), of the step before; 0 at the first step of an episode.
            first: (N,) bool, where an episode begins.

        Returns:
            (N,) classes or (N, A) numbers within bounds.
        """


class RandomActor(Actor):
    """Draws every action evenly from the space, for each environment from a generator of its own.

    Args:
        space: Discrete, or Box of finite bounds.
    """

    def __init__(self, space: spaces.Space) -> None:
        self.space = space
        self._generators: list[np.random.Generator] = []

    def begin(self, count: int, seed: int) -> None:
        self._generators = [np.random.default_rng((seed, lane)) for lane in range(count)]

    def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
        space = self.space
        if isinstance(space, spaces.Discrete):
            return np.array([generator.integers(space.n) for generator in self._generators])
        if isinstance(space, spaces.Box):
            draws = [generator.uniform(space.low, space.high) for generator in self._generators]
            return np.stack(draws).astype(np.float32)
        raise TypeError(f"{type(space).__name__} is not encoded")
