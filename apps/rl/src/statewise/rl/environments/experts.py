"""Scripted controllers: the yardstick beside a model, and a source of data.

Each stands for what can be reached; none is claimed to be optimal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from statewise.core.registry import canonical
from statewise.rl.acting import Actor

__all__ = ["Noisy", "expert"]


class Remembering(Actor, ABC):
    """A controller that keeps what it has seen of each episode."""

    def __init__(self) -> None:
        self._seen: list[list[np.ndarray]] = []

    def begin(self, count: int, seed: int) -> None:
        self._seen = [[] for _ in range(count)]

    def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
        for lane in range(len(observation)):
            if first[lane]:
                self._seen[lane] = []
            self._seen[lane].append(np.array(observation[lane], copy=True))
        return np.stack([self.choose(seen) for seen in self._seen])

    @abstractmethod
    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        """The action after the observations of an episode so far."""


class CartPole(Remembering):
    """Pushes towards where the pole falls, the cart's place and speed weighing a little."""

    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        place, speed, angle, turn = seen[-1]
        return np.asarray(angle + 0.4 * turn + 0.04 * place + 0.08 * speed > 0, np.int64)


class MaskedCartPole(Remembering):
    """The same, with velocities from the last two observations."""

    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        place, angle = seen[-1]
        before = seen[-2] if len(seen) > 1 else seen[-1]
        speed, turn = (seen[-1] - before) / 0.02
        return np.asarray(angle + 0.4 * turn + 0.04 * place + 0.08 * speed > 0, np.int64)


class Pendulum(Remembering):
    """Pumps energy until the pole is up, then holds it with a linear controller."""

    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        cosine, sine, turn = (float(value) for value in seen[-1])
        return _torque(cosine, sine, turn)


class MaskedPendulum(Remembering):
    """The same, with the angular velocity from the last two observations."""

    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        cosine, sine = (float(value) for value in seen[-1])
        old_cosine, old_sine = (float(value) for value in (seen[-2] if len(seen) > 1 else seen[-1]))
        turn = np.arctan2(sine * old_cosine - cosine * old_sine, cosine * old_cosine + sine * old_sine)
        return _torque(cosine, sine, float(turn) / 0.05)


class TMaze(Remembering):
    """Turns where the cue pointed."""

    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        return np.asarray(seen[0][0] > 0, np.int64)


class RepeatPrevious(Remembering):
    """Looks `lag` cards back.

    Args:
        lag: of the environment.
    """

    def __init__(self, lag: int = 4) -> None:
        super().__init__()
        self.lag = lag

    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        return np.asarray(seen[max(0, len(seen) - 1 - self.lag)].argmax(), np.int64)


class Catch(Remembering):
    """Goes to where the ball will be, its drift read from the last two frames."""

    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        frame = seen[-1][..., 0]
        rows, columns = np.nonzero(frame == 255)
        players = np.nonzero(frame == 160)[1]
        player = int(players.mean().round()) if len(players) else 8
        target = int(columns[0])
        if len(seen) > 1:
            old_rows, old_columns = np.nonzero(seen[-2][..., 0] == 255)
            if len(old_rows) and old_rows[0] == rows[0] - 1:
                target = _landing(int(rows[0]), int(columns[0]), int(columns[0] - old_columns[0]))
        return np.asarray(1 + np.sign(target - player), np.int64)


class Dodge(Remembering):
    """Stays unless the lowest block is above it, and then takes the shorter way out."""

    def choose(self, seen: list[np.ndarray]) -> np.ndarray:
        frame = seen[-1][..., 0]
        player = int(np.nonzero(frame[-1] == 160)[0].mean()) if (frame[-1] == 160).any() else 8
        danger = (frame[-8:-1] == 255).any(0)
        if not danger[player]:
            return np.asarray(1, np.int64)
        free = np.flatnonzero(~danger)
        goal = free[np.abs(free - player).argmin()]
        return np.asarray(1 + np.sign(goal - player), np.int64)


class Noisy(Actor):
    """An actor whose actions are now and then replaced by a random one that is held for some steps.

    Args:
        actor: the clean one.
        noise: draws random actions.
        chance: probability of a disturbance at each step.
        hold: least and most steps of one.
    """

    def __init__(self, actor: Actor, noise: Actor, chance: float, hold: tuple[int, int] = (2, 6)) -> None:
        self.actor, self.noise, self.chance, self.hold = actor, noise, chance, hold
        self.clean = np.zeros(0)
        """The undisturbed actions of the last step."""
        self._left = np.zeros(0, int)
        self._held = np.zeros(0)
        self._generators: list[np.random.Generator] = []

    def begin(self, count: int, seed: int) -> None:
        self.actor.begin(count, seed)
        self.noise.begin(count, seed + 1)
        self._left = np.zeros(count, int)
        self._held = np.zeros(0)
        self._generators = [np.random.default_rng((seed, lane, 1)) for lane in range(count)]

    def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
        self.clean = self.actor.act(observation, reward, first)
        drawn = self.noise.act(observation, reward, first)
        if len(self._held) != len(drawn):
            self._held = drawn.copy()
        for lane, generator in enumerate(self._generators):
            if first[lane]:
                self._left[lane] = 0
            if self._left[lane] == 0 and generator.random() < self.chance:
                self._left[lane] = generator.integers(self.hold[0], self.hold[1] + 1)
                self._held[lane] = drawn[lane]
        disturbed = self._left > 0
        self._left = np.maximum(self._left - 1, 0)
        action = self.clean.copy()
        action[disturbed] = self._held[disturbed]
        return action


def expert(name: str, options: dict[str, int]) -> Actor | None:
    """The controller of an environment, or None where there is none."""
    key = canonical(name)
    if key == "repeat-previous":
        return RepeatPrevious(int(options.get("lag", 4)))
    table = {
        "cartpole-v1": CartPole,
        "masked-cartpole": MaskedCartPole,
        "pendulum-v1": Pendulum,
        "masked-pendulum": MaskedPendulum,
        "tmaze": TMaze,
        "catch": Catch,
        "dodge": Dodge,
    }
    return table[key]() if key in table else None


def _torque(cosine: float, sine: float, turn: float) -> np.ndarray:
    if cosine > 0.9 and abs(turn) < 4:
        torque = -9 * np.arctan2(sine, cosine) - 2.2 * turn
    else:
        energy = turn**2 / 6 + 5 * cosine
        torque = np.clip(3 * (5 - energy), -2, 2) * (1.0 if turn >= 0 else -1.0)
    return np.array([np.clip(torque, -2, 2)], np.float32)


def _landing(row: int, column: int, drift: int) -> int:
    while row < 15:
        row, column = row + 1, column + drift
        if not 0 <= column < 16:
            drift = -drift
            column += 2 * drift
    return column
