"""Closed-loop evaluation: fresh episodes from fixed seeds, each in an environment of its own.

Episode i runs in an environment reset with seed + i, so that its course depends neither on how many others
run beside it nor on when they end. Seeds of training start elsewhere (see `SEEDS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from statewise.rl.acting import Actor
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.statistics import bootstrap_interval, iqm

__all__ = ["SEEDS", "VALIDATION_SEEDS", "Episodes", "play"]

SEEDS = 1_000_000
"""Seeds of the episodes that judge a model: these and the following."""
VALIDATION_SEEDS = 2_000_000
"""Seeds of the episodes that choose among the weights of a run."""


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """What came of some episodes."""

    returns: np.ndarray
    """(E,) sums of rewards."""
    lengths: np.ndarray
    """(E,) steps."""
    cut: np.ndarray
    """(E,) bool: truncated by the environment, or by `limit`."""

    def summary(self) -> dict[str, Any]:
        """Interquartile mean with its interval, mean, deviation, extremes and mean length."""
        low, high = bootstrap_interval([self.returns])
        return {
            "episodes": len(self.returns),
            "iqm": iqm(self.returns),
            "iqm_low": low,
            "iqm_high": high,
            "mean": float(self.returns.mean()),
            "deviation": float(self.returns.std()),
            "least": float(self.returns.min()),
            "most": float(self.returns.max()),
            "length": float(self.lengths.mean()),
        }


def play(
    actor: Actor, spec: EnvironmentSpec, *, episodes: int, seed: int = SEEDS, limit: int | None = None
) -> Episodes:
    """Play whole episodes with `actor`, all at once, and close the environments.

    Args:
        actor: what acts.
        spec: the environment.
        episodes: E.
        seed: episode i is reset with seed + i.
        limit: steps after which an episode is cut off here; None for no limit but the environment's.

    Raises:
        EnvironmentFault: the environment breaks the rules of gymnasium.
    """
    envs = [make(spec) for _ in range(episodes)]
    try:
        observation = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
        returns, lengths = np.zeros(episodes), np.zeros(episodes, int)
        cut, alive = np.zeros(episodes, bool), np.ones(episodes, bool)
        reward, first = np.zeros(episodes), np.ones(episodes, bool)
        actor.begin(episodes, seed)
        while alive.any():
            actions = actor.act(observation, reward, first)
            first[:] = False
            for lane in np.flatnonzero(alive):
                after, reward[lane], terminated, truncated, _ = envs[lane].step(actions[lane])
                observation[lane] = after
                returns[lane] += reward[lane]
                lengths[lane] += 1
                at_limit = limit is not None and lengths[lane] >= limit
                cut[lane] = (truncated or at_limit) and not terminated
                alive[lane] = not (terminated or truncated or at_limit)
        return Episodes(returns=returns, lengths=lengths, cut=cut)
    finally:
        for env in envs:
            env.close()
