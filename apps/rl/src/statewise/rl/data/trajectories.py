"""Recorded episodes in memory, whatever file they came from.

Letters: T steps of an episode, D numbers of an observation, A numbers of an action.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from statewise.core.errors import DataError
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.interface import Interface
from statewise.rl.returns import returns_to_go

__all__ = ["Episode", "Trajectories", "fingerprint", "interface_of", "locate", "read", "refuse_bad_numbers"]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One recorded episode."""

    observations: np.ndarray
    """(T, D) what each action was chosen on; (T + 1, D) where the last observation was recorded too."""
    actions: np.ndarray
    """(T,) classes or (T, A) numbers."""
    rewards: np.ndarray
    """(T,)."""
    terminated: bool
    """It was over; False: it was cut off, by the environment or by the end of the recording."""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.rewards)

    @property
    def has_final(self) -> bool:
        """Whether the observation after the last action was recorded."""
        return len(self.observations) == self.steps + 1

    @property
    def total(self) -> float:
        """The return."""
        return float(self.rewards.sum())

    def delayed(self) -> Episode:
        """The same with all reward given in the last step."""
        rewards = np.zeros_like(self.rewards)
        rewards[-1] = self.rewards.sum()
        return replace(self, rewards=rewards)


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """Recorded episodes of one environment."""

    episodes: tuple[Episode, ...]
    interface: Interface
    source: str
    """The file."""
    spec: EnvironmentSpec | None = None
    """The environment, where the file or its manifest names it."""
    notes: tuple[str, ...] = ()
    """What was assumed."""

    @property
    def steps(self) -> int:
        """Steps of all episodes."""
        return sum(episode.steps for episode in self.episodes)

    @property
    def returns(self) -> np.ndarray:
        """(E,) returns."""
        return np.array([episode.total for episode in self.episodes])

    def best(self, fraction: float) -> Trajectories:
        """The given part of the episodes with the highest returns, at least one."""
        count = max(1, round(fraction * len(self.episodes)))
        order = np.argsort(-self.returns, kind="stable")[:count]
        return replace(self, episodes=tuple(self.episodes[i] for i in sorted(order)))

    def columns(self, places: Sequence[int]) -> Trajectories:
        """The same with some elements of each observation only.

        Raises:
            DataError: there is no such element, or observations are images.
        """
        shape = self.interface.observation
        if len(shape) != 1 or not places or min(places) < 0 or max(places) >= shape[0]:
            raise DataError(
                "has no such elements of an observation",
                where=self.source,
                seen=f"--columns {','.join(map(str, places))}",
                expected=f"numbers from 0 to {shape[0] - 1}" if len(shape) == 1 else "a file of vectors",
                fix="correct --columns",
            )
        chosen = list(places)
        episodes = tuple(replace(one, observations=one.observations[:, chosen]) for one in self.episodes)
        return replace(self, episodes=episodes, interface=replace(self.interface, observation=(len(chosen),)))

    def to_go(self) -> list[np.ndarray]:
        """Returns-to-go of every episode, (T,) each."""
        return [returns_to_go(episode.rewards) for episode in self.episodes]


def read(path: str | Path) -> Trajectories:
    """Recorded episodes from a file: .npz, or HDF5 in the layout of Minari (the file or its directory).

    Raises:
        DataError: the file cannot be read, or what it holds are not episodes.
    """
    from statewise.rl.data import minari_files, npz

    found = locate(path)
    if found.suffix == ".npz":
        return npz.read_npz(found)
    return minari_files.read_hdf5(found)


def locate(path: str | Path) -> Path:
    """The data file itself; of a directory, the HDF5 file that Minari puts there.

    Raises:
        DataError: there is none.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        for inside in (path / "data" / "main_data.hdf5", path / "main_data.hdf5"):
            if inside.is_file():
                return inside
        raise DataError(
            "holds no recorded episodes",
            where=str(path),
            seen="a directory without data/main_data.hdf5",
            expected="a .npz file, or a data set as Minari or `rl collect` writes it",
            fix="name the file",
        )
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), fix="check the path")
    if path.suffix not in (".npz", ".hdf5", ".h5"):
        raise DataError(
            "is of a kind that is not read here",
            where=str(path),
            seen=path.suffix or "no ending",
            expected=".npz, .hdf5 or .h5",
            fix="convert it; Minari data sets and arrays obs, act, rew, term, trunc, ep are read",
        )
    return path


def fingerprint(path: str | Path) -> str:
    """What identifies the contents of a data file."""
    with open(locate(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def refuse_bad_numbers(name: str, values: np.ndarray, where: str) -> None:
    """Raise for the first number that is not finite, naming its row."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"'{name}' holds a number that is not finite",
            where=f"{where}, row {place[0]}",
            seen=str(values[place]),
            expected="finite numbers",
            fix="leave the episode out, or correct the recording",
        )


def interface_of(observations: np.ndarray, actions: np.ndarray) -> Interface:
    """The interface that recorded arrays suggest: as many classes, and bounds as wide, as were seen."""
    shape = tuple(int(size) for size in observations.shape[1:])
    scaled = len(shape) == 1 and bool((np.abs(observations) > 1.5).any())
    if actions.dtype.kind in "iub":
        return Interface(observation=shape, classes=int(actions.max()) + 1, scaled=scaled)
    bound = np.maximum(np.abs(actions).reshape(-1, actions.shape[-1]).max(0), 1e-6)
    low, high = (tuple(float(x) for x in one) for one in (-bound, bound))
    return Interface(observation=shape, low=low, high=high, scaled=scaled)
