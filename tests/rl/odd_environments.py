"""Environments that break the rules of gymnasium, each in one way: `odd_environments:Name-v0`."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces


class Plain(gymnasium.Env):
    """Ten steps, a reward of 1 each; `cut` says whether the end is a truncation."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, cut: bool = True, limit: int = 10):
        self.cut, self.limit, self.t = cut, limit, 0

    def look(self):
        return np.array([self.t / self.limit, self.np_random.uniform(-1, 1)], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.look(), {}

    def step(self, action):
        self.t += 1
        end = self.t >= self.limit
        return self.look(), 1.0, end and not self.cut, end and self.cut, {}


class Raises(Plain):
    def step(self, action):
        if self.t == 3:
            raise KeyError("joint_7")
        return super().step(action)


class NanReward(Plain):
    def step(self, action):
        o, _, *rest = super().step(action)
        return (o, float("nan") if self.t == 4 else 1.0, *rest)


class NanObservation(Plain):
    def step(self, action):
        o, *rest = super().step(action)
        return (np.full_like(o, np.inf) if self.t == 2 else o, *rest)


class Grows(Plain):
    def step(self, action):
        o, *rest = super().step(action)
        return (np.append(o, 0).astype(np.float32) if self.t == 5 else o, *rest)


class Four(Plain):
    """The step of gym 0.21."""

    def step(self, action):
        o, r, a, b, info = super().step(action)
        return o, r, a or b, info


class OldReset(Plain):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class TextReward(Plain):
    def step(self, action):
        o, _, *rest = super().step(action)
        return (o, "much", *rest)


class TextObservation(Plain):
    observation_space = spaces.Text(5)


class Unbounded(Plain):
    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class FailsToStart(Plain):
    def __init__(self):
        raise FileNotFoundError("no such file: robot.urdf")


class Private(Plain):
    """Draws its chance from a generator of its own, which nobody can save."""

    def __init__(self):
        super().__init__()
        self.own = np.random.default_rng()

    def look(self):
        return np.array([self.t / self.limit, self.own.uniform(-1, 1)], np.float32)


class Mixed(gymnasium.Env):
    """A dictionary of everything, and actions that begin at 5."""

    observation_space = spaces.Dict(
        {
            "place": spaces.Discrete(3, start=1),
            "flags": spaces.MultiBinary(2),
            "cards": spaces.MultiDiscrete([2, 3]),
            "pair": spaces.Tuple([spaces.Box(-1, 1, (2, 2), np.float32), spaces.Discrete(2)]),
        }
    )
    action_space = spaces.Discrete(2, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken = []
        self.observation_space.seed(int(self.np_random.integers(1000)))
        return self.observation_space.sample(), {}

    def step(self, action):
        self.taken.append(action)
        return self.observation_space.sample(), float(action == 6), len(self.taken) == 4, False, {}


for cls in (Plain, Raises, NanReward, NanObservation, Grows, Four, OldReset, TextReward, TextObservation,
            Unbounded, FailsToStart, Private, Mixed):  # fmt: skip
    gymnasium.register(f"{cls.__name__}-v0", entry_point=cls)
