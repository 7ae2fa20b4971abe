"""What a model needs to know of an environment's spaces, in values that a model file can hold."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces

from statewise.core.errors import DataError

__all__ = ["Interface"]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Shapes of observations and actions."""

    observation: tuple[int, ...]
    """(D,) of a vector, (H, W, C) of an image."""
    classes: int = 0
    """Number of discrete actions; 0 for actions that are numbers."""
    low: tuple[float, ...] = ()
    """Least value of each number of an action."""
    high: tuple[float, ...] = ()
    """Largest value of each number of an action."""
    scaled: bool = False
    """Whether vectors are worth standardising: some element is not within [-1.5, 1.5]."""

    @classmethod
    def of(cls, env: gymnasium.Env) -> Interface:
        """The interface of an environment made by `make`."""
        return cls.from_spaces(env.observation_space, env.action_space)

    @classmethod
    def from_spaces(cls, observation: spaces.Space, action: spaces.Space) -> Interface:
        """The interface of encoded spaces: a Box, and a Discrete or a Box."""
        if not isinstance(observation, spaces.Box):
            raise TypeError(f"{type(observation).__name__} is not encoded")
        bounds = np.concatenate([observation.low.ravel(), observation.high.ravel()])
        scaled = len(observation.shape) == 1 and bool((np.abs(bounds) > 1.5).any())
        shape = tuple(int(size) for size in observation.shape)
        if isinstance(action, spaces.Discrete):
            return cls(observation=shape, classes=int(action.n), scaled=scaled)
        if not isinstance(action, spaces.Box):
            raise TypeError(f"{type(action).__name__} is not encoded")
        low, high = (tuple(float(x) for x in bound) for bound in (action.low, action.high))
        return cls(observation=shape, low=low, high=high, scaled=scaled)

    @property
    def is_image(self) -> bool:
        """Whether observations have axes of height and width."""
        return len(self.observation) == 3

    @property
    def discrete(self) -> bool:
        """Whether actions are classes."""
        return self.classes > 0

    @property
    def size(self) -> int:
        """Numbers of a flat observation."""
        return int(np.prod(self.observation))

    @property
    def action_width(self) -> int:
        """Numbers of an action as a model reads it: one-hot or as it is."""
        return self.classes or len(self.low)

    def flat(self, observation: np.ndarray) -> np.ndarray:
        """Observations (..., *shape) as (..., size) float32; bytes of an image become 0 to 1."""
        lead = observation.shape[: observation.ndim - len(self.observation)]
        flat = observation.reshape(*lead, self.size).astype(np.float32)
        return flat / 255 if observation.dtype == np.uint8 else flat

    def encode_action(self, action: np.ndarray) -> np.ndarray:
        """Actions (...,) or (..., A) as (..., action_width) float32; numbers scaled to [-1, 1]."""
        if self.discrete:
            return np.eye(self.classes, dtype=np.float32)[np.asarray(action, np.int64)]
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        return (2 * (np.asarray(action, np.float32) - low) / (high - low) - 1).astype(np.float32)

    def decode_numbers(self, scaled: np.ndarray) -> np.ndarray:
        """Numbers (..., A) in [-1, 1] as actions within bounds."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        return (low + (np.clip(scaled, -1, 1) + 1) / 2 * (high - low)).astype(np.float32)

    def require_same(self, other: Interface, *, model: str, environment: str) -> None:
        """Raise unless an environment has the shapes that a model was made for."""
        mine = (self.observation, self.classes, self.low, self.high)
        theirs = (other.observation, other.classes, other.low, other.high)
        if mine != theirs:
            raise DataError(
                "the environment does not fit the model",
                where=f"environment '{environment}'",
                seen=other.words(),
                expected=f"{self.words()}, as {model} was trained with",
                fix="name the environment the model was trained in, or one of the same spaces",
            )

    def words(self) -> str:
        """The shapes for people."""
        action = f"{self.classes} actions" if self.discrete else f"actions in {self.low} to {self.high}"
        return f"observations {self.observation}, {action}"
