"""The k-core: the largest part of a log where every user and every item has enough events.

Rare users and items are dropped again and again until none is left, as each round makes others rare. Once for
rows in memory, once for memory maps that are read in tiles of users. Letters: U users, V items, N events.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Survivors", "compact", "k_core", "survivors"]

_USERS = 65_536
"""Users whose events are in memory at once."""


def k_core(who: np.ndarray, what: np.ndarray, kept: np.ndarray, min_user: int, min_item: int) -> np.ndarray:
    """Which rows are in the k-core, (n,) bool.

    Args:
        who: code of the user of each row, (n,).
        what: code of the item.
        kept: rows to start from, (n,) bool.
        min_user: fewest events of a user.
        min_item: fewest events of an item.
    """
    kept = kept.copy()
    while True:
        users = np.bincount(who[kept], minlength=1 + int(who.max(initial=0)))
        items = np.bincount(what[kept], minlength=1 + int(what.max(initial=0)))
        after = kept & (users[who] >= min_user) & (items[what] >= min_item)
        if after.sum() == kept.sum():
            return after
        kept = after


@dataclass(frozen=True)
class Survivors:
    """Codes that stay, in the order in which they appear among the events that stay."""

    users: np.ndarray
    """Old codes, ascending by first row."""
    items: np.ndarray


def survivors(
    starts: np.ndarray, item: np.ndarray, row: np.ndarray, n_items: int, min_user: int, min_item: int
) -> Survivors:
    """The k-core of a log in memory maps.

    Args:
        starts: (U + 1,); events of user u are `starts[u]:starts[u + 1]`.
        item: code of the item of each event, (N,).
        row: place of each event in the file, (N,).
        n_items: V.
        min_user: fewest events of a user.
        min_item: fewest events of an item.
    """
    n_users = len(starts) - 1
    users, items = np.ones(n_users, dtype=bool), np.ones(n_items, dtype=bool)
    while True:
        of_user, of_item = np.zeros(n_users, dtype=np.int64), np.zeros(n_items, dtype=np.int64)
        first_user, first_item = (np.full(n, np.iinfo(np.int64).max) for n in (n_users, n_items))
        for low in range(0, n_users, _USERS):
            high = min(low + _USERS, n_users)
            events = slice(starts[low], starts[high])
            who = np.repeat(np.arange(low, high), np.diff(starts[low : high + 1]))
            what, where = np.asarray(item[events]), np.asarray(row[events])
            stays = users[who] & items[what]
            who, what, where = who[stays], what[stays], where[stays]
            of_user += np.bincount(who, minlength=n_users)
            of_item += np.bincount(what, minlength=n_items)
            np.minimum.at(first_user, who, where)
            np.minimum.at(first_item, what, where)
        left = users & (of_user >= min_user), items & (of_item >= min_item)
        if left[0].sum() == users.sum() and left[1].sum() == items.sum():
            order = (np.flatnonzero(users), first_user), (np.flatnonzero(items), first_item)
            return Survivors(*(codes[np.argsort(first[codes])] for codes, first in order))
        users, items = left


def compact(folder: Path, names: dict[str, type], starts: np.ndarray, kept: Survivors) -> np.ndarray:
    """Rewrite the maps `item.i32` and those of `names` with the survivors alone; the new starts.

    Args:
        folder: where the maps are.
        names: further files, one value for each event, and their types.
        starts: (U + 1,) before.
        kept: what stays.
    """
    maps = {name: np.memmap(folder / name, dtype=kind, mode="r") for name, kind in names.items()}
    item = np.memmap(folder / "item.i32", dtype=np.int32, mode="r")
    codes = np.full(1 + int(item.max(initial=0)), -1, dtype=np.int32)
    codes[kept.items] = np.arange(len(kept.items), dtype=np.int32)
    sizes = np.zeros(len(kept.users), dtype=np.int64)
    files = {name: open(folder / f"{name}.new", "wb") for name in ("item.i32", *maps)}  # noqa: SIM115  # closed below
    try:
        for low in range(0, len(kept.users), _USERS):
            users = kept.users[low : low + _USERS]
            lengths = starts[users + 1] - starts[users]
            row = np.repeat(np.arange(len(users)), lengths)
            place = np.arange(lengths.sum()) - (np.cumsum(lengths) - lengths)[row] + starts[users][row]
            what = codes[item[place]]
            stays = what >= 0
            sizes[low : low + len(users)] = np.bincount(row[stays], minlength=len(users))
            what[stays].tofile(files["item.i32"])
            for name, values in maps.items():
                values[place[stays]].tofile(files[name])
    finally:
        for file in files.values():
            file.close()
    for name in files:
        (folder / f"{name}.new").replace(folder / name)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
