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
        top: first places to keep; 0 where only ranks are wanted, which is quicker.
        progress: told the fraction done.
    """
    histories, targets = cases.histories(log), cases.targets(log)
    step = max(1, min(512, _SCORES // max(1, scorer.n_items)))
    parts, tops = [], []
    for low in range(0, len(cases), step):
        rows = slice(low, low + step)
        tile, wanted = histories.take(rows), targets.take(rows)
        scores = np.asarray(scorer.scores(tile))
        seen = _mask(tile, *scores.shape)
        case, rank, target, again = _ranks(scores, seen, wanted, repeat)
        parts.append((case + low, rank, target, again))
        tops.append(_shown(scores, seen, repeat, top))
        if progress is not None:
            progress(min(1.0, (low + step) / len(cases)))
    case, rank, target, again = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Ranked(
        case=case, rank=rank, target=target, repeat=again, cases=len(cases), top=np.concatenate(tops)
    )


def _ranks(
    scores: np.ndarray, seen: np.ndarray, wanted: Histories, repeat: Repeat
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Case, rank, item and whether it repeats, of each distinct target of a tile."""
    case, place = wanted.flat()
    pairs = np.unique(np.stack([case, wanted.items[place]], axis=1), axis=0)
    case, target = pairs[:, 0], pairs[:, 1]
    again = seen[case, target]
    barred = {"exclude": again, "only": ~again, "allow": np.zeros_like(again)}[repeat]
    candidates = _candidates(seen, repeat)
    rank = np.full(len(case), np.inf)
    for i in np.flatnonzero(~barred):
        row, own = case[i], scores[case[i], target[i]]
        above, level = scores[row] > own, scores[row] == own
        if candidates is not None:
            above &= candidates[row]
            level &= candidates[row]
        # the target itself is level with itself
        rank[i] = np.count_nonzero(above) + (np.count_nonzero(level) - 1) / 2
    return case, rank, target, again


def _candidates(seen: np.ndarray, repeat: Repeat) -> np.ndarray | None:
    """(n, V) bool: what may be recommended; None for everything."""
    if repeat == "allow":
        return None
    return seen if repeat == "only" else ~seen


def _mask(tile: Histories, n: int, v: int) -> np.ndarray:
    """(n, V) bool: which items each user has taken."""
    seen = np.zeros((n, v), dtype=bool)
    row, place = tile.flat()
    seen[row, tile.items[place]] = True
    return seen


def _shown(scores: np.ndarray, seen: np.ndarray, repeat: Repeat, top: int) -> np.ndarray:
    """The first items that may be recommended, (n, top)."""
    if not top:
        return np.empty((len(scores), 0), dtype=np.int64)
    candidates = _candidates(seen, repeat)
    return first_places(scores if candidates is None else np.where(candidates, scores, -np.inf), top)[0]


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
