"""Recorded episodes as flat arrays in an .npz file: `obs, act, rew, term, trunc, ep`, a row per step.

The file has no observation after the last action of an episode. A `manifest.json` beside it may name the
environment of each file: `{"pendulum-medium.npz": {"env": "Pendulum-v1"}}`.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from statewise.core.errors import DataError
from statewise.rl.data.trajectories import Episode, Trajectories, interface_of, refuse_bad_numbers
from statewise.rl.environments.make import EnvironmentSpec

__all__ = ["KEYS", "read_npz"]

KEYS = ("obs", "act", "rew", "term", "trunc", "ep")


def read_npz(path: Path) -> Trajectories:
    """The episodes of a file.

    Raises:
        DataError: it is no such file, an array is missing or does not fit, ids are out of order, an episode
            goes on after its end, or a number is not finite.
    """
    arrays = _load(path)
    where = str(path)
    _check_shapes(arrays, where)
    for name in ("obs", "act", "rew"):
        refuse_bad_numbers(name, arrays[name], where)
    starts = _starts(arrays["ep"], where)
    actions = _actions(arrays["act"], where)
    episodes = tuple(
        _episode(arrays, actions, begin, end, where)
        for begin, end in zip(starts, [*starts[1:], len(arrays["rew"])], strict=True)
    )
    unfinished = sum(1 for end in [*starts[1:], len(arrays["rew"])] if not _over(arrays, end - 1))
    notes = [f"{len(episodes)} episodes, {len(arrays['rew']):,} steps"]
    if unfinished:
        notes.append(f"{unfinished} episodes have no end in the file and count as cut off")
    return Trajectories(
        episodes=episodes,
        interface=interface_of(arrays["obs"], actions),
        source=where,
        spec=_named_environment(path),
        notes=tuple(notes),
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise DataError(
            "cannot be read: it is no archive",
            where=str(path),
            expected="an .npz file of numpy",
            fix="write it with numpy.savez",
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in KEYS if name not in file.files]
            if missing:
                raise DataError(
                    f"lacks the array '{missing[0]}'",
                    where=str(path),
                    seen=", ".join(file.files) or "no array",
                    expected=", ".join(KEYS),
                    fix="write all of them, a row per step",
                )
            return {name: file[name] for name in KEYS}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        objects = "pickle" in str(error).lower()
        raise DataError(
            "holds objects, which are not read: they could run code"
            if objects
            else f"cannot be read ({error})",
            where=str(path),
            expected="arrays of numbers" if objects else "an .npz file of numpy",
            fix="write arrays of numbers" if objects else "restore the file",
        ) from None


def _check_shapes(arrays: dict[str, np.ndarray], where: str) -> None:
    rows = len(arrays["rew"]) if arrays["rew"].ndim else 0
    if not rows:
        raise DataError("holds no step", where=where, seen="arrays of length 0", expected="at least one step")
    for name, array in arrays.items():
        if array.ndim < 1 or len(array) != rows:
            raise DataError(
                f"'{name}' has another number of rows than 'rew'",
                where=where,
                seen=str(array.shape),
                expected=f"({rows}, ...)",
                fix="write one row per step in every array",
            )
        if name in ("rew", "term", "trunc", "ep") and array.reshape(rows, -1).shape[1] != 1:
            raise DataError(f"'{name}' has several values per step", where=where, seen=str(array.shape))
    if arrays["ep"].dtype.kind not in "iu":
        raise DataError(
            "'ep' is not a whole number per step", where=where, seen=str(arrays["ep"].dtype), expected="int32"
        )


def _starts(ids: np.ndarray, where: str) -> list[int]:
    """The rows at which an episode begins; each id stands in one block."""
    ids = ids.reshape(-1)
    starts = [0, *(int(i) + 1 for i in np.flatnonzero(ids[1:] != ids[:-1]))]
    seen: dict[int, int] = {}
    for row in starts:
        name = int(ids[row])
        if name in seen:
            raise DataError(
                f"the episode id {name} comes back after another one",
                where=f"{where}, row {row}",
                seen=f"first at row {seen[name]}",
                expected="the steps of an episode in one block, in order",
                fix="sort the rows by episode, steps in their order",
            )
        seen[name] = row
    return starts


def _actions(actions: np.ndarray, where: str) -> np.ndarray:
    if actions.dtype.kind in "iub":
        flat = actions.reshape(len(actions), -1)
        if flat.shape[1] != 1 or int(flat.min()) < 0:
            raise DataError(
                "'act' holds whole numbers that are no classes",
                where=where,
                seen=f"shape {actions.shape}, least {flat.min()}",
                expected="one class per step, from 0 on, or floats",
            )
        return flat[:, 0].astype(np.int64)
    return actions.reshape(len(actions), -1).astype(np.float32)


def _over(arrays: dict[str, np.ndarray], row: int) -> bool:
    return bool(arrays["term"].reshape(-1)[row] or arrays["trunc"].reshape(-1)[row])


def _episode(arrays: dict[str, np.ndarray], actions: np.ndarray, begin: int, end: int, where: str) -> Episode:
    early = [row for row in range(begin, end - 1) if _over(arrays, row)]
    if early:
        raise DataError(
            "an episode goes on after its end",
            where=f"{where}, row {early[0]}",
            seen=f"term or trunc is set, and row {early[0] + 1} has the same id",
            expected="a new id after an end",
            fix="give each episode an id of its own",
        )
    observations = arrays["obs"][begin:end]
    if observations.dtype != np.uint8:
        observations = observations.reshape(end - begin, *arrays["obs"].shape[1:]).astype(np.float32)
    return Episode(
        observations=observations,
        actions=actions[begin:end],
        rewards=arrays["rew"][begin:end].reshape(-1).astype(np.float64),
        terminated=bool(arrays["term"].reshape(-1)[end - 1]),
    )


def _named_environment(path: Path) -> EnvironmentSpec | None:
    manifest = path.with_name("manifest.json")
    try:
        name = json.loads(manifest.read_text(encoding="utf-8"))[path.name]["env"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return EnvironmentSpec(id=name) if isinstance(name, str) else None
