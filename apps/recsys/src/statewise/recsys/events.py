"""An event log as arrays: who took what, in which order.

Letters: U users, V items, N events. Events are sorted by user, then time, then row of the file (a stable
sort): equal times keep the order of the file. A user's events are the slice `starts[u]:starts[u + 1]`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

__all__ = ["EventLog", "Histories", "build_log"]


@dataclass(frozen=True, kw_only=True)
class Histories:
    """What some users have taken so far, oldest first: n rows of uneven length."""

    starts: np.ndarray
    """Row i is `items[starts[i]:stops[i]]`, (n,) int64."""
    stops: np.ndarray
    """(n,) int64."""
    items: np.ndarray
    """Codes of items, int32; may hold more than the rows show."""
    times: np.ndarray | None = None
    """Microseconds since 1970, or plain order, int64, as long as `items`; None where nothing tells them."""

    def __len__(self) -> int:
        return len(self.starts)

    def row(self, index: int) -> np.ndarray:
        """Items of one user, oldest first."""
        return self.items[self.starts[index] : self.stops[index]]

    def take(self, rows: slice | np.ndarray) -> Histories:
        """Some of the rows."""
        return Histories(starts=self.starts[rows], stops=self.stops[rows], items=self.items, times=self.times)

    def last(self, count: int) -> Histories:
        """Only the newest `count` events of each row."""
        return Histories(
            starts=np.maximum(self.starts, self.stops - count),
            stops=self.stops,
            items=self.items,
            times=self.times,
        )

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """All events of the rows, (n_events,): the row of each and its index into `items`."""
        lengths = self.stops - self.starts
        row = np.repeat(np.arange(len(self)), lengths)
        first = np.cumsum(lengths) - lengths
        return row, np.arange(lengths.sum()) - first[row] + self.starts[row]

    def counts(self, n_items: int) -> np.ndarray:
        """Events of each item over all rows, (V,) int64, in tiles of rows: little is held at once."""
        counts = np.zeros(n_items, dtype=np.int64)
        for low in range(0, len(self), 65_536):
            _, place = self.take(slice(low, low + 65_536)).flat()
            counts += np.bincount(self.items[place], minlength=n_items)
        return counts

    @classmethod
    def of(cls, rows: list[list[int]] | list[np.ndarray]) -> Histories:
        """From lists of item codes."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        stops = np.cumsum(lengths)
        joined = [np.asarray(row, dtype=np.int32) for row in rows]
        items = np.concatenate(joined) if joined else np.zeros(0, dtype=np.int32)
        return cls(starts=stops - lengths, stops=stops, items=items.astype(np.int32))


@dataclass(frozen=True, kw_only=True)
class EventLog:
    """Events by user, in order."""

    users: pl.Series
    """Ids of the users in order of appearance, U strings."""
    items: pl.Series
    """Ids of the items in order of appearance, V strings."""
    starts: np.ndarray
    """(U + 1,) int64."""
    item: np.ndarray
    """Code of the item of each event, (N,) int32."""
    time: np.ndarray | None = None
    """(N,) int64; None where only the order is known."""
    clock: str = "none"
    """What `time` counts: `epoch` (microseconds since 1970), `order`, or `none`."""

    def __len__(self) -> int:
        return len(self.item)

    @property
    def n_users(self) -> int:
        return len(self.starts) - 1

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> np.ndarray:
        """Events of each user, (U,)."""
        return np.diff(self.starts)

    @cached_property
    def user_codes(self) -> dict[str, int]:
        """Codes by user id."""
        return {name: code for code, name in enumerate(self.users)}

    @cached_property
    def item_codes(self) -> dict[str, int]:
        """Codes by item id."""
        return {name: code for code, name in enumerate(self.items)}

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the sha256 of ids, order and times: the same log in any file has it."""
        digest = hashlib.sha256()
        for names in (self.users, self.items):
            digest.update("\n".join(names).encode())
            digest.update(b"\0")
        for array in (self.starts, self.item, self.time):
            if array is not None:
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()[:16]

    def histories(self, users: np.ndarray | None = None, stops: np.ndarray | None = None) -> Histories:
        """Events of `users` (default: all) up to `stops` (default: their ends)."""
        users = np.arange(self.n_users) if users is None else users
        return Histories(
            starts=self.starts[users],
            stops=self.starts[users + 1] if stops is None else stops,
            items=self.item,
            times=self.time,
        )


def build_log(
    user: pl.Series,
    item: pl.Series,
    time: np.ndarray | None = None,
    *,
    clock: str = "none",
    known_items: pl.Series | None = None,
) -> EventLog:
    """Sort rows of strings into a log.

    Args:
        user: id of each row.
        item: id of each row.
        time: int64 of each row; None: the order of the rows.
        clock: what `time` counts.
        known_items: ids that come first, also where they have no event; None: none.
    """
    who, users = codes_of(user)
    what, items = codes_of(item, known_items)
    order = np.argsort(who, kind="stable") if time is None else np.lexsort((time, who))
    counts = np.bincount(who, minlength=len(users))
    return EventLog(
        users=users,
        items=items,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        item=what[order].astype(np.int32),
        time=None if time is None else time[order],
        clock=clock if time is not None else "none",
    )


def codes_of(column: pl.Series, known: pl.Series | None = None) -> tuple[np.ndarray, pl.Series]:
    """Which distinct value each row holds, (n,) int64, and the values: the known ones, then by appearance."""
    both = column if known is None else pl.concat([known.rename(column.name), column])
    distinct = both.unique(maintain_order=True)
    table = pl.DataFrame({"value": distinct, "code": np.arange(len(distinct))})
    found = pl.DataFrame({"value": column}).join(table, on="value", how="left", maintain_order="left")
    return found["code"].to_numpy(), distinct
