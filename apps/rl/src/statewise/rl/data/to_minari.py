"""Recorded episodes, or the experience of a run, as a data set that Minari reads.

Minari wants the observation after the last action too. Where it was not recorded, as in .npz files and in a
replay, the last one that was stands in for it; how often is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gymnasium import spaces

from statewise.core.errors import ConfigError
from statewise.rl.data.minari_files import Recorded, write_dataset
from statewise.rl.data.replay_episodes import read_replay
from statewise.rl.data.trajectories import Episode, Trajectories, read
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.interface import Interface
from statewise.rl.progress_file import CURRENT

__all__ = ["Converted", "to_minari"]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written."""

    path: Path
    episodes: int
    steps: int
    repeated: int
    """Episodes whose last observation was written twice."""


def to_minari(source: Path, out: Path) -> Converted:
    """Write a data set in the layout of Minari.

    Args:
        source: a data file that `rl data` describes, or a run whose checkpoint holds a replay.
        out: directory of the set; a name ending in -v0 is one that Minari finds.

    Raises:
        ConfigError: the directory holds something.
        DataError: the source cannot be read, or keeps no experience.
    """
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise ConfigError("holds something already", where=str(out), fix="name a new directory")
    is_run = (source / CURRENT).exists() or (source / "settings.json").exists()
    found = read_replay(source) if is_run else read(source)
    observed, acted = _spaces(found)
    path = write_dataset(
        out,
        [_recorded(one) for one in found.episodes],
        spec=found.spec or EnvironmentSpec(id="unknown"),
        observation_space=observed,
        action_space=acted,
        algorithm=f"converted from {source.name}",
    )
    repeated = sum(not one.has_final for one in found.episodes)
    return Converted(path=path, episodes=len(found.episodes), steps=found.steps, repeated=repeated)


def _recorded(episode: Episode) -> Recorded:
    seen = episode.observations
    last = np.zeros(episode.steps, bool)
    last[-1] = True
    return Recorded(
        observations=seen if episode.has_final else np.concatenate([seen, seen[-1:]]),
        actions=episode.actions,
        rewards=episode.rewards,
        terminations=last & episode.terminated,
        truncations=last & (not episode.terminated),
    )


def _spaces(found: Trajectories) -> tuple[spaces.Space, spaces.Space]:
    """Those of the environment where the data name one that fits, else what the arrays suggest."""
    mine = found.interface
    if found.spec is not None:
        env = make(found.spec)
        theirs = Interface.of(env)
        observed, acted = env.observation_space, env.action_space
        env.close()
        if theirs.observation == mine.observation and theirs.discrete == mine.discrete:
            return observed, acted
    kind = found.episodes[0].observations.dtype
    low, high = (0, 255) if kind == np.uint8 else (-np.inf, np.inf)
    observed = spaces.Box(low, high, mine.observation, kind.type)
    if mine.discrete:
        return observed, spaces.Discrete(mine.classes)
    return observed, spaces.Box(np.array(mine.low, np.float32), np.array(mine.high, np.float32))
