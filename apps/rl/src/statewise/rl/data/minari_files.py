"""Data sets on disk in the layout of Minari, read and written without it.

    <set>/data/main_data.hdf5     episode_0, episode_1, ...: observations (T + 1, ...), actions (T, ...),
                                  rewards, terminations, truncations (T,); attributes id, total_steps, seed
    <set>/data/metadata.json      numbers of episodes and steps, spaces and environment as JSON

Minari finds a set by `$MINARI_DATASETS_PATH`: the folder that holds `<set>`, whose name ends in `-v0`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
from gymnasium import spaces

from statewise.core.config import to_dict
from statewise.core.errors import DataError
from statewise.core.train.atomic import replace_file, unwritable, write_text
from statewise.rl.data.spaces_json import space_from_json, space_to_json
from statewise.rl.data.trajectories import Episode, Trajectories, interface_of, refuse_bad_numbers
from statewise.rl.environments.encode import encode_arrays
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.interface import Interface

__all__ = ["Recorded", "read_hdf5", "write_dataset"]

OURS = "statewise_environment"
FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An episode to be written."""

    observations: np.ndarray
    """(T + 1, ...)."""
    actions: np.ndarray
    """(T,) or (T, A)."""
    rewards: np.ndarray
    """(T,)."""
    terminations: np.ndarray
    """(T,) bool."""
    truncations: np.ndarray
    """(T,) bool."""
    seed: int | None = None
    """Of its reset, where it had one of its own."""


def write_dataset(
    directory: Path,
    episodes: Sequence[Recorded],
    *,
    spec: EnvironmentSpec,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    author: str = "",
    algorithm: str = "",
) -> Path:
    """Write a data set that Minari reads; its directory.

    Args:
        directory: `<set>`; made if needed.
        episodes: at least one, each of at least one step.
        spec: the environment.
        observation_space: encoded.
        action_space: encoded.
        author: for the metadata.
        algorithm: what acted.

    Raises:
        CheckpointError: the files cannot be written.
    """
    data = directory / "data"
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(data, error) from None
    replace_file(data / "main_data.hdf5", lambda new: _write_hdf5(new, episodes))
    known = gymnasium.registry.get(spec.id)
    metadata: dict[str, Any] = {
        "total_episodes": len(episodes),
        "total_steps": int(sum(len(one.rewards) for one in episodes)),
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": space_to_json(observation_space),
        "action_space": space_to_json(action_space),
        "dataset_id": directory.name,
        "algorithm_name": algorithm,
        "author": [author] if author else [],
        "minari_version": "0.5.3",
        "dataset_size": round((data / "main_data.hdf5").stat().st_size / 1e6, 1),
        OURS: to_dict(spec),
    }
    if known is not None:
        metadata["env_spec"] = known.to_json()
    write_text(data / "metadata.json", json.dumps(metadata, indent=2) + "\n")
    return directory


def read_hdf5(path: Path) -> Trajectories:
    """The episodes of a file in Minari's layout.

    Raises:
        DataError: the file is damaged or of another layout, an episode has no steps or no final observation,
            or a number is not finite.
    """
    metadata = _metadata(path)
    observed = _space_of(metadata, "observation_space", path)
    acted = _space_of(metadata, "action_space", path)
    try:
        with h5py.File(path, "r") as file:
            keys: list[str] = list(file)
            names = sorted((n for n in keys if n.startswith("episode_")), key=lambda n: _number(n, path))
            if not names:
                raise DataError(
                    "holds no episodes",
                    where=str(path),
                    seen=", ".join(keys[:5]) or "an empty file",
                    expected="groups episode_0, episode_1, ...",
                )
            episodes = tuple(_episode(file[name], f"{path}, {name}", observed, acted) for name in names)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error})", where=str(path), expected="an HDF5 file", fix="restore the file"
        ) from None
    interface = _interface(observed, acted, episodes)
    steps = sum(one.steps for one in episodes)
    return Trajectories(
        episodes=episodes,
        interface=interface,
        source=str(path),
        spec=_spec(metadata),
        notes=(f"{len(episodes)} episodes, {steps:,} steps",),
    )


def _write_hdf5(path: Path, episodes: Iterable[Recorded]) -> None:
    with h5py.File(path, "w", track_order=True) as file:
        for number, one in enumerate(episodes):
            group = file.create_group(f"episode_{number}")
            group.attrs["id"] = number
            group.attrs["total_steps"] = len(one.rewards)
            if one.seed is not None:
                group.attrs["seed"] = one.seed
            for name in FIELDS:
                array = getattr(one, name)
                large = array.dtype == np.uint8
                group.create_dataset(name, data=array, chunks=True, compression="gzip" if large else None)


def _metadata(path: Path) -> dict[str, Any]:
    file = path.with_name("metadata.json")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        return {}
    except ValueError as error:
        raise DataError(f"is not valid JSON ({error})", where=str(file), fix="restore the file") from None
    return found if isinstance(found, dict) else {}


def _space_of(metadata: dict[str, Any], name: str, path: Path) -> spaces.Space | None:
    text = metadata.get(name)
    return None if text is None else space_from_json(text, f"{path.with_name('metadata.json')}, {name}")


def _number(name: str, path: Path) -> int:
    try:
        return int(name.removeprefix("episode_"))
    except ValueError:
        raise DataError(
            "has a group of an odd name", where=str(path), seen=name, expected="episode_0"
        ) from None


def _episode(group: Any, where: str, observed: Any, acted: Any) -> Episode:
    missing = [name for name in FIELDS if name not in group]
    if missing:
        raise DataError(
            f"lacks '{missing[0]}'", where=where, seen=", ".join(group), expected=", ".join(FIELDS)
        )
    rewards = np.asarray(group["rewards"][()], np.float64).reshape(-1)
    steps = len(rewards)
    if not steps:
        raise DataError(
            "is an episode without a step",
            where=where,
            seen="0 rewards",
            expected="at least one step",
            fix="leave the episode out of the file",
        )
    observations = _decoded(group["observations"], observed, where, "observations")
    if len(observations) != steps + 1:
        short = len(observations) == steps
        raise DataError(
            "has no final observation" if short else "has a wrong number of observations",
            where=where,
            seen=f"{len(observations)} observations for {steps} steps",
            expected=f"{steps + 1}: one before each action, and the one after the last",
            fix="record the observation after the last action too",
        )
    actions = _decoded(group["actions"], acted, where, "actions", action=True)
    if len(actions) != steps:
        raise DataError(
            "has another number of actions than of rewards",
            where=where,
            seen=f"{len(actions)} actions, {steps} rewards",
        )
    for name, values in (("observations", observations), ("actions", actions), ("rewards", rewards)):
        refuse_bad_numbers(name, values, where)
    over = np.asarray(group["terminations"][()], bool).reshape(-1)
    return Episode(
        observations=observations, actions=actions, rewards=rewards, terminated=bool(len(over) and over[-1])
    )


def _decoded(stored: Any, space: Any, where: str, name: str, *, action: bool = False) -> np.ndarray:
    """The arrays of a field, in the form that models know."""
    if isinstance(stored, h5py.Group):
        if space is None:
            raise DataError(
                f"'{name}' is a group, and the file does not say of which space",
                where=where,
                expected="metadata.json beside the file",
            )
        return encode_arrays(space, _tree(stored, space))
    array = np.asarray(stored[()])
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"'{name}' holds {array.dtype}", where=where, expected="numbers", fix="store raw arrays, no JPEG"
        )
    if action:
        if array.dtype.kind in "iub":
            start = int(space.start) if isinstance(space, spaces.Discrete) else 0
            return array.reshape(len(array)).astype(np.int64) - start
        return array.reshape(len(array), -1).astype(np.float32)
    if space is not None and not isinstance(space, spaces.Box):
        return encode_arrays(space, array)
    return array if array.dtype == np.uint8 and array.ndim == 4 else _vectors(array)


def _vectors(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.ndim == 4 else array.reshape(len(array), -1).astype(np.float32)


def _tree(group: Any, space: Any) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _tree(group[name], one) for name, one in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return [_tree(group[f"_index_{i}"], one) for i, one in enumerate(space.spaces)]
    return np.asarray(group[()])


def _interface(observed: Any, acted: Any, episodes: Sequence[Episode]) -> Interface:
    every = np.concatenate([one.observations for one in episodes])
    suggested = interface_of(every, np.concatenate([one.actions for one in episodes]))
    if isinstance(acted, spaces.Discrete):
        return Interface(observation=suggested.observation, classes=int(acted.n), scaled=suggested.scaled)
    if isinstance(acted, spaces.Box) and acted.is_bounded():
        low, high = (tuple(float(x) for x in bound.ravel()) for bound in (acted.low, acted.high))
        return Interface(observation=suggested.observation, low=low, high=high, scaled=suggested.scaled)
    return suggested


def _spec(metadata: dict[str, Any]) -> EnvironmentSpec | None:
    own = metadata.get(OURS)
    if isinstance(own, dict) and isinstance(own.get("id"), str):
        return EnvironmentSpec(id=own["id"], options=dict(own.get("options") or {}))
    try:
        facts = json.loads(metadata["env_spec"])
        return EnvironmentSpec(id=facts["id"], options=dict(facts.get("kwargs") or {}))
    except (KeyError, TypeError, ValueError):
        return None
