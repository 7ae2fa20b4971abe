"""Ranks and first places from scores, in tiles of users: users x items is never held at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from statewise.recsys.events import EventLog, Histories
from statewise.recsys.metrics import Ranked
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Cases

__all__ = ["Repeat", "first_places", "rank_cases"]

Repeat: TypeAlias = Literal["exclude", "allow", "only"]
"""Whether items of the history are candidates: no, yes, or only they."""

_SCORES = 2**24
"""Scores held at once."""


def rank_cases(
    scorer: Scorer,
    log: EventLog,
    cases: Cases,
    *,
    repeat: Repeat = "exclude",
    top: int = 10,
    progress: Callable[[float], None] | None = None,
) -> Ranked:
    """Rank the targets of each case among all items.

    Args:
        scorer: the method.
        log: where the cases come from.
        cases: the questions.
        repeat: whether items of the history compete. A target that may not be recommended is a miss, with an
            infinite rank: the list that is shown cannot hold it.
        top: first places to keep.
        progress: told the fraction done.
    """
    histories, targets = cases.histories(log), cases.targets(log)
    step = max(1, min(512, _SCORES // max(1, scorer.n_items)))
    parts, tops = [], []
    for low in range(0, len(cases), step):
        rows = slice(low, low + step)
        tile, wanted = histories.take(rows), targets.take(rows)
        scores = np.asarray(scorer.scores(tile))
        case, rank, target, again = _ranks(scores, tile, wanted, repeat)
        parts.append((case + low, rank, target, again))
        tops.append(first_places(_barred(scores, tile, repeat), top)[0])
        if progress is not None:
            progress(min(1.0, (low + step) / len(cases)))
    case, rank, target, again = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Ranked(
        case=case, rank=rank, target=target, repeat=again, cases=len(cases), top=np.concatenate(tops)
    )


def _ranks(
    scores: np.ndarray, tile: Histories, wanted: Histories, repeat: Repeat
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Case, rank, item and whether it repeats, of each distinct target of a tile."""
    n, v = scores.shape
    seen = _mask(tile, n, v)
    case, place = wanted.flat()
    pairs = np.unique(np.stack([case, wanted.items[place]], axis=1), axis=0)
    case, target = pairs[:, 0], pairs[:, 1]
    again = seen[case, target]
    barred = {"exclude": again, "only": ~again, "allow": np.zeros_like(again)}[repeat]
    candidates = {"exclude": ~seen, "only": seen, "allow": np.ones_like(seen)}[repeat]
    rank = np.full(len(case), np.inf)
    for i in np.flatnonzero(~barred):
        row, item = case[i], target[i]
        rivals = scores[row][candidates[row]]
        own = scores[row, item]
        rank[i] = (rivals > own).sum() + ((rivals == own).sum() - 1) / 2  # the target is among them
    return case, rank, target, again


def _mask(tile: Histories, n: int, v: int) -> np.ndarray:
    """(n, V) bool: which items each user has taken."""
    seen = np.zeros((n, v), dtype=bool)
    row, place = tile.flat()
    seen[row, tile.items[place]] = True
    return seen


def _barred(scores: np.ndarray, tile: Histories, repeat: Repeat) -> np.ndarray:
    """The scores with -inf where an item may not be recommended."""
    if repeat == "allow":
        return scores
    seen = _mask(tile, *scores.shape)
    return np.where(seen if repeat == "exclude" else ~seen, -np.inf, scores)


def first_places(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of each row and their scores, (n, k); -1 where fewer are finite.

    Equal scores go by the code of the item, that is by first appearance in the data.
    """
    n, v = scores.shape
    k = min(k, v)
    if k < v:
        edge = np.partition(scores, v - k, axis=1)[:, v - k]
        items = np.empty((n, k), dtype=np.int64)
        for row in range(n):
            near = np.flatnonzero(scores[row] >= edge[row])
            items[row] = near[np.argsort(-scores[row, near], kind="stable")][:k]
    else:
        items = np.argsort(-scores, axis=1, kind="stable")
    values = np.take_along_axis(scores, items, axis=1)
    return np.where(np.isfinite(values), items, -1), values
