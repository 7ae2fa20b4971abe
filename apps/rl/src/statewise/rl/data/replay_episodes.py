"""The experience that a run has kept, as recorded episodes: its rings, cut where episodes begin.

What the ring has overwritten of an episode is gone, and the rest of that episode is left out; one that was
still going on counts as cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from statewise.core.errors import DataError
from statewise.rl.data.trajectories import Episode, Trajectories
from statewise.rl.progress_file import CURRENT, read_progress
from statewise.rl.saved import load_policy

__all__ = ["read_replay", "ring_episodes"]

_PART = "learner/replay/"


def read_replay(run: Path) -> Trajectories:
    """The episodes in the replay of a run.

    Raises:
        DataError: the run keeps no experience, or no whole beginning of an episode.
        CheckpointError: its checkpoint or its model cannot be read.
    """
    found = read_progress(run)
    tensors = {} if found is None else found[0]
    kept = {name.removeprefix(_PART): part for name, part in tensors.items() if name.startswith(_PART)}
    if not kept:
        raise DataError(
            "keeps no experience",
            where=str(run),
            expected=f"a run of drama, whose {CURRENT} holds its replay, or a data file",
            fix="name one of them, or record episodes: rl collect ENV --policy RUN",
        )
    policy = load_policy(run)
    episodes = ring_episodes(kept)
    if not episodes:
        raise DataError("holds no beginning of an episode", where=str(run), fix="train for longer")
    steps = sum(one.steps for one in episodes)
    return Trajectories(
        episodes=episodes,
        interface=policy.interface,
        source=str(run),
        spec=policy.spec,
        notes=(f"{len(episodes)} episodes, {steps:,} steps",),
    )


def ring_episodes(kept: Mapping[str, Tensor]) -> tuple[Episode, ...]:
    """Episodes of the arrays that `Replay.state` returns, ring by ring, oldest first."""
    arrays = {name: part.numpy() for name, part in kept.items() if name != "added"}
    size = arrays["action"].shape[1]
    order = (int(kept["added"]) - size + np.arange(size)) % size
    episodes = []
    for lane in range(len(arrays["action"])):
        ring = {name: array[lane][order] for name, array in arrays.items()}
        starts = np.flatnonzero(ring["first"])
        for begin, end in zip(starts, [*starts[1:], size], strict=True):
            episodes.append(
                Episode(
                    observations=ring["observation"][begin:end],
                    actions=ring["action"][begin:end],
                    rewards=ring["reward"][begin:end].astype(np.float64),
                    terminated=bool(ring["end"][end - 1]),
                )
            )
    return tuple(episodes)
