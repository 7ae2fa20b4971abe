"""The steps of a vector environment as transitions, the same in every autoreset mode.

gymnasium has three ways to go on after an episode's end. In NEXT_STEP the next call of `step` ignores the
action and returns the first observation; in SAME_STEP the call that ends an episode already returns the first
observation of the next and hides the last one in `info`; in DISABLED the caller resets. Here a transition
always holds the observation that the action was chosen on and the one that followed from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from statewise.rl.environments.guard import EnvironmentFault

__all__ = ["Stream", "Transition"]


@dataclass(frozen=True)
class Transition:
    """One step of N environments."""

    observation: np.ndarray
    """(N, ...): what the action was chosen on."""
    action: np.ndarray
    """(N,) or (N, A)."""
    reward: np.ndarray
    """(N,) float64."""
    successor: np.ndarray
    """(N, ...): what followed from the action, also at the end of an episode."""
    terminated: np.ndarray
    """(N,) bool: the episode is over and nothing follows."""
    truncated: np.ndarray
    """(N,) bool: the episode was cut off and would have gone on."""
    first: np.ndarray
    """(N,) bool: the first step of an episode."""
    valid: np.ndarray
    """(N,) bool; False where the environment was only reset (NEXT_STEP), and nothing else holds."""

    @property
    def done(self) -> np.ndarray:
        """(N,) bool: the last step of an episode."""
        return self.terminated | self.truncated


class Stream:
    """A vector environment, its present observations, and which of them begin an episode.

    Args:
        env: in any autoreset mode.
    """

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        self.mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.observation = np.zeros(0)
        """(N, ...): the present observations."""
        self.first = np.ones(env.num_envs, bool)
        """(N,) bool: where they begin an episode."""
        self._pending = np.zeros(env.num_envs, bool)

    def reset(self, seed: int) -> None:
        """Begin everywhere: environment i with seed + i, once; later episodes go on with its generator."""
        self.observation, _ = self.env.reset(seed=seed)
        self.first[:] = True
        self._pending[:] = False

    def step(self, action: np.ndarray) -> Transition:
        """Take one action in each environment; environments whose episode is over begin a new one."""
        before, first, skipped = self.observation, self.first.copy(), self._pending.copy()
        after, reward, terminated, truncated, info = self.env.step(action)
        terminated, truncated = terminated & ~skipped, truncated & ~skipped
        done = terminated | truncated
        successor = after
        if self.mode == AutoresetMode.SAME_STEP and done.any():
            successor = _with_final(after, info, done)
        elif self.mode == AutoresetMode.DISABLED and done.any():
            after, _ = self.env.reset(options={"reset_mask": done.copy()})
        if self.mode == AutoresetMode.NEXT_STEP:
            self._pending = done
            self.first = skipped
        else:
            self.first = done
        self.observation = after
        return Transition(before, action, reward.copy(), successor, terminated, truncated, first, ~skipped)

    def snapshots(self) -> list[dict[str, Any]]:
        """The state of every environment in plain values."""
        envs: Any = self.env
        return list(envs.call("snapshot"))

    def restore(
        self, snapshots: Sequence[dict[str, Any]], observation: np.ndarray, first: np.ndarray
    ) -> None:
        """Bring all environments back to where they were; only for environments that reset on demand."""
        envs: Any = self.env
        self.env.reset(seed=0)
        for env, snapshot, expected in zip(envs.envs, snapshots, observation, strict=True):
            env.restore(snapshot, expected)
        self.observation, self.first = observation.copy(), first.copy()


def _with_final(after: np.ndarray, info: dict[str, Any], done: np.ndarray) -> np.ndarray:
    """`after` with the last observations of the episodes that are over."""
    finals = info.get("final_obs")
    if finals is None:
        raise EnvironmentFault(
            "hides the last observation of an episode",
            where="vector environment in SAME_STEP mode",
            expected="info['final_obs']",
            fix="use another autoreset mode",
        )
    successor = after.copy()
    for lane in np.flatnonzero(done):
        successor[lane] = finals[lane]
    return successor
