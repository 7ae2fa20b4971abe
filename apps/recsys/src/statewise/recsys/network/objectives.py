"""What the network is asked while it learns: the next item at every place, or masked items.

    next    in x_1 .. x_{n-1}, to be found x_2 .. x_n at every place
    cloze   each place masked with probability rho, at least one; for a share of the windows only the last
            (as in use, where the mask stands behind the history); drawn anew every time (BERT4Rec, 2019)

Windows hold at most L + 1 events for `next` and L for `cloze`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from statewise.core.config import require
from statewise.core.errors import UnknownNameError
from statewise.recsys.events import Histories
from statewise.recsys.network.model import Batch

__all__ = ["OBJECTIVES", "ObjectiveConfig", "make_batch", "pad", "windows"]


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Settings of the objective."""

    name: str = "next"
    """One of `OBJECTIVES`."""
    rho: float = 0.2
    """Share of masked places (cloze)."""
    last_only: float = 0.1
    """Share of windows with only the last place masked (cloze)."""
    windows: str = "last"
    """Windows of a history that is longer than one: the `last`, or `all`, cut from the end."""

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise UnknownNameError("objective", self.name, OBJECTIVES)
        require(0 < self.rho < 1, "rho", self.rho, "between 0 and 1")
        require(0 <= self.last_only <= 1, "last_only", self.last_only, "from 0 to 1")
        require(self.windows in ("last", "all"), "windows", self.windows, "last or all")


def windows(train: Histories, config: ObjectiveConfig, length: int) -> Histories:
    """The training windows: slices of the log, nothing is copied.

    Args:
        train: training events of each user.
        config: the objective.
        length: L.
    """
    size = length + (config.name == "next")
    least = 2 if config.name == "next" else 1
    starts, stops = train.starts, train.stops
    if config.windows == "last":
        cut = train.last(size)
        kept = cut.stops - cut.starts >= least
        return cut.take(np.flatnonzero(kept))
    # windows of `next` overlap by one event: the last one of a window is the first input of the one after it
    stride = size - (config.name == "next")
    count = np.maximum(1, -(-(stops - starts - (size - stride)) // stride))
    row = np.repeat(np.arange(len(train)), count)
    back = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    ends = stops[row] - back * stride
    cut = Histories(
        starts=np.maximum(starts[row], ends - size), stops=ends, items=train.items, times=train.times
    )
    return cut.take(np.flatnonzero(cut.stops - cut.starts >= least))


def make_batch(rows: Histories, config: ObjectiveConfig, n_items: int, groups: int = 4) -> Batch:
    """Windows as a batch: sorted by length into groups, so that little is padded."""
    order = np.argsort(rows.stops - rows.starts, kind="stable")
    parts = [part for part in np.array_split(order, min(groups, len(order))) if len(part)]
    made = [OBJECTIVES[config.name](*pad(rows.take(part)), config, n_items) for part in parts]
    items, lengths, asked, targets = (list(column) for column in zip(*made, strict=True))
    return Batch(items, lengths, asked, torch.cat(targets))


def pad(rows: Histories, *, behind: int = 0) -> tuple[Tensor, Tensor]:
    """(B, L) int64 items, zero after the end of each row, and (B,) lengths.

    Args:
        rows: the windows.
        behind: further places at the end of each row, which count into its length and hold 0.
    """
    lengths = rows.stops - rows.starts + behind
    items = np.zeros((len(rows), max(1, int(lengths.max(initial=0)))), dtype=np.int64)
    row, place = rows.flat()
    items[row, place - rows.starts[row]] = rows.items[place]
    return torch.from_numpy(items), torch.from_numpy(lengths.astype(np.int64))


def _next(
    items: Tensor, lengths: Tensor, config: ObjectiveConfig, n_items: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs, lengths = items[:, :-1], lengths - 1
    there = torch.arange(inputs.shape[1]) < lengths[:, None]
    return inputs, lengths, torch.nonzero(there.flatten()).flatten(), items[:, 1:][there]


def _cloze(
    items: Tensor, lengths: Tensor, config: ObjectiveConfig, n_items: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    place = torch.arange(items.shape[1])
    there = place < lengths[:, None]
    chance = torch.rand(items.shape)
    hidden = (chance < config.rho) & there
    # at least one: the place with the smallest number
    lowest = torch.where(there, chance, 2.0).argmin(1)
    hidden |= (place == lowest[:, None]) & ~hidden.any(1, keepdim=True)
    last = place == (lengths - 1)[:, None]
    hidden = torch.where((torch.rand(len(items)) < config.last_only)[:, None], last, hidden)
    inputs = torch.where(hidden, n_items, items)
    return inputs, lengths, torch.nonzero(hidden.flatten()).flatten(), items[hidden]


OBJECTIVES: dict[
    str, Callable[[Tensor, Tensor, ObjectiveConfig, int], tuple[Tensor, Tensor, Tensor, Tensor]]
] = {"next": _next, "cloze": _cloze}
"""Objectives by name: padded windows to inputs, lengths, flat places asked, and their items."""
