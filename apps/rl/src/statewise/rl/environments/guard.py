"""A wrapper that trusts no environment: what it returns is checked, and its state can be saved.

No environment can be saved as such: its state is whatever its author keeps in attributes. But an episode
follows from the generator at its reset and from the actions since. Both are kept, so that a snapshot is a few
plain values, and restoring one plays the episode again; the last observation must then be the same.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from statewise.core.errors import CheckpointError, DataError

__all__ = ["EnvironmentFault", "Guard"]


class EnvironmentFault(DataError):
    """An environment broke the rules of gymnasium, or failed."""


class Guard(gymnasium.Wrapper):
    """Checks every answer of an environment and remembers how its present episode came about.

    Args:
        env: the environment, its spaces already in the form that models know.
        name: what the user calls it.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self._name = name
        self._first_seed: int | None = None
        self._seed: int | None = None
        self._generator: dict[str, Any] | None = None
        self._actions: list[Any] = []
        self._last: np.ndarray | None = None
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin an episode.

        Raises:
            EnvironmentFault: the environment fails, or observes what its space does not hold.
        """
        if seed is not None:
            self._first_seed = seed
        self._seed = seed
        self._generator = None if seed is not None else _generator_of(self.env)
        self._actions = []
        try:
            answer = self.env.reset(seed=seed, options=options)
        except DataError:
            raise
        except Exception as error:
            raise self._fault("fails at reset", f"{type(error).__name__}: {error}") from error
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise self._fault(
                "returns no observation and info at reset", _kind(answer), "two values, as of gymnasium 1.0"
            )
        self._last = self._checked(answer[0])
        return self._last, answer[1]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        """One step.

        Raises:
            EnvironmentFault: the environment fails, or returns what gymnasium does not allow.
        """
        self._steps += 1
        try:
            answer = self.env.step(action)
        except DataError:
            raise
        except Exception as error:
            raise self._fault("fails in step", f"{type(error).__name__}: {error}") from error
        if not (isinstance(answer, tuple) and len(answer) == 5):
            expected = "observation, reward, terminated, truncated, info"
            raise self._fault("returns something else than five values", _kind(answer), expected)
        observation, reward, terminated, truncated, info = answer
        self._actions.append(np.asarray(action).tolist())
        self._last = self._checked(observation)
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, (bool, np.bool_)):
                raise self._fault(f"returns a '{name}' that is no bool", _kind(flag), "True or False")
        return self._last, self._number(reward), bool(terminated), bool(truncated), info

    def snapshot(self) -> dict[str, Any]:
        """The state of the environment in plain values, to be given to `restore`."""
        return {
            "first_seed": self._first_seed,
            "seed": self._seed,
            "generator": self._generator,
            "actions": list(self._actions),
        }

    def restore(self, snapshot: dict[str, Any], expected: np.ndarray | None) -> None:
        """Play the episode of a snapshot up to where it was.

        Args:
            snapshot: what `snapshot` returned.
            expected: the observation of that moment; None is not compared.

        Raises:
            CheckpointError: the environment does not repeat itself, so that the run cannot go on exactly.
        """
        if snapshot["generator"] is None:
            self.reset(seed=snapshot["seed"])
        else:
            self.reset(seed=snapshot["first_seed"])
            _set_generator(self.env, snapshot["generator"])
            self.reset()
            self._first_seed = snapshot["first_seed"]
        for action in snapshot["actions"]:
            self.step(np.asarray(action, self.action_space.dtype))
        if expected is not None and not np.array_equal(np.asarray(self._last), expected, equal_nan=True):
            raise CheckpointError(
                "does not repeat an episode from the same generator and actions: a run cannot go on exactly",
                where=self._name,
                seen=f"another observation after {len(snapshot['actions'])} steps",
                expected="an environment that draws all its chance from `np_random`",
                fix="start a new run; `rl evaluate` and `rl export` still take the weights of this one",
            )

    def _checked(self, observation: Any) -> np.ndarray:
        space = self.observation_space
        value = np.asarray(observation)
        if not isinstance(space, spaces.Box):
            raise TypeError(f"{type(space).__name__} is not encoded")
        if value.shape != space.shape:
            raise self._fault(
                "changes the shape of its observation", str(value.shape), f"{space.shape}, as its space says"
            )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            raise self._fault("observes a number that is not finite", f"{value[place]} at {place}")
        return value.astype(space.dtype, copy=True)

    def _number(self, reward: Any) -> float:
        try:
            number = float(reward)
        except (TypeError, ValueError):
            raise self._fault("returns a reward that is no number", _kind(reward), "a float") from None
        if not math.isfinite(number):
            raise self._fault("returns a reward that is not finite", str(number), "a finite number")
        return number

    def _fault(self, what: str, seen: str, expected: str | None = None) -> EnvironmentFault:
        return EnvironmentFault(
            what,
            where=f"environment '{self._name}', step {self._steps}",
            seen=seen,
            expected=expected,
            fix="correct the environment; gymnasium.utils.env_checker.check_env finds such faults",
        )


def _kind(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{length}"


def _generator_of(env: gymnasium.Env) -> dict[str, Any]:
    """The state of the environment's generator in values that JSON can hold."""
    return _plain(env.unwrapped.np_random.bit_generator.state)


def _set_generator(env: gymnasium.Env, state: dict[str, Any]) -> None:
    kind = getattr(np.random, state["bit_generator"], None)
    if kind is None:
        raise CheckpointError("holds a generator that numpy does not know", seen=str(state["bit_generator"]))
    generator = np.random.Generator(kind())
    generator.bit_generator.state = state
    env.unwrapped.np_random = generator


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
