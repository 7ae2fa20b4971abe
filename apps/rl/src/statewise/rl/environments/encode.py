"""Observations and actions in the two forms that models know: vectors or images, numbers or classes.

A Box of three axes (H, W, C) stays an image. Everything else becomes one float32 vector: boxes are flattened,
classes become one-hot, dictionaries and tuples are joined in the order of their keys. Actions are classes
from 0 on, or vectors within bounds.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from statewise.core.errors import DataError

__all__ = ["Encoded", "encode_arrays", "is_image"]


def is_image(space: spaces.Space) -> bool:
    """Whether observations of this space stay images (H, W, C)."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3


class Encoded(gymnasium.Wrapper):
    """An environment of vectors or images, whose actions are classes from 0 on or flat vectors.

    Args:
        env: any environment.
        name: what the user calls it, for messages.

    Raises:
        DataError: its spaces have no such form.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self._name = name
        self._space = env.observation_space
        if is_image(self._space):
            self.observation_space = self._space
        else:
            low, high = self._bounds(self._space)
            self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self._start = 0
        self.action_space = self._actions(env.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """As the environment's, with the observation in its new form."""
        answer: Any = self.env.reset(seed=seed, options=options)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            return answer  # `Guard` says what is wrong with it
        return self._encode(answer[0]), answer[1]

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, Any]:
        """As the environment's, with action and observation in their new forms."""
        if isinstance(self.action_space, spaces.Discrete):
            native: Any = int(action) + self._start
        else:
            box = self.env.action_space
            native = np.asarray(action, box.dtype).reshape(box.shape)  # pyright: ignore[reportArgumentType]
        answer: Any = self.env.step(native)
        if not (isinstance(answer, tuple) and len(answer) == 5):
            return answer  # `Guard` says what is wrong with it
        return self._encode(answer[0]), *answer[1:]

    def _encode(self, observation: Any) -> np.ndarray:
        if is_image(self._space):
            return np.asarray(observation)
        return np.concatenate(list(_parts(self._space, observation))).astype(np.float32)

    def _bounds(self, space: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(space, spaces.Box):
            return space.low.ravel().astype(np.float32), space.high.ravel().astype(np.float32)
        if isinstance(space, (spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)):
            width = _width(space)
            return np.zeros(width, np.float32), np.ones(width, np.float32)
        inner = _inner(space)
        if inner is None:
            raise DataError(
                "has observations of a kind that cannot be turned into numbers",
                where=self._name,
                seen=type(space).__name__,
                expected="Box, Discrete, MultiBinary, MultiDiscrete, or a Dict or Tuple of them",
                fix="wrap the environment so that it observes one of these",
            )
        bounds = [self._bounds(one) for one in inner]
        return np.concatenate([low for low, _ in bounds]), np.concatenate([high for _, high in bounds])

    def _actions(self, space: spaces.Space) -> spaces.Space:
        if isinstance(space, spaces.Discrete):
            self._start = int(space.start)
            return spaces.Discrete(int(space.n))
        bounded = isinstance(space, spaces.Box) and bool(space.is_bounded())
        if isinstance(space, spaces.Box) and bounded and space.dtype in (np.float32, np.float64):
            return spaces.Box(space.low.ravel(), space.high.ravel(), dtype=np.float32)
        raise DataError(
            "has actions of a kind that no model here can take",
            where=self._name,
            seen=str(space),
            expected="Discrete, or Box of finite bounds",
            fix="wrap the environment so that its actions are one of these",
        )


def _width(space: spaces.Space) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return int(np.prod(space.shape or ()))


def _inner(space: spaces.Space) -> list[spaces.Space] | None:
    if isinstance(space, spaces.Dict):
        return list(space.spaces.values())
    if isinstance(space, spaces.Tuple):
        return list(space.spaces)
    return None


def _parts(space: spaces.Space, value: Any) -> Any:
    """The flat pieces of an observation, in the order of the space."""
    if isinstance(space, spaces.Discrete):
        yield np.eye(int(space.n), dtype=np.float32)[int(value) - int(space.start)]
    elif isinstance(space, spaces.MultiDiscrete):
        for size, one in zip(space.nvec.ravel(), np.ravel(value), strict=True):
            yield np.eye(int(size), dtype=np.float32)[int(one)]
    elif isinstance(space, spaces.Dict):
        for key, one in space.spaces.items():
            yield from _parts(one, value[key])
    elif isinstance(space, spaces.Tuple):
        for one, part in zip(space.spaces, value, strict=True):
            yield from _parts(one, part)
    else:
        yield np.ravel(value)


def encode_arrays(space: spaces.Space, value: Any) -> np.ndarray:
    """Many native observations at once, each leaf with an axis of T in front, as vectors (T, D) float32."""
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[
            np.asarray(value, np.int64).reshape(-1) - int(space.start)
        ]
    if isinstance(space, spaces.MultiDiscrete):
        columns = np.asarray(value, np.int64).reshape(len(value), -1)
        sizes = space.nvec.ravel()
        return np.concatenate(
            [np.eye(int(size), dtype=np.float32)[columns[:, i]] for i, size in enumerate(sizes)], 1
        )
    if isinstance(space, spaces.Dict):
        return np.concatenate([encode_arrays(one, value[key]) for key, one in space.spaces.items()], 1)
    if isinstance(space, spaces.Tuple):
        return np.concatenate(
            [encode_arrays(one, part) for one, part in zip(space.spaces, value, strict=True)], 1
        )
    return np.asarray(value, np.float32).reshape(len(value), -1)
