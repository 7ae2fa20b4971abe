"""The protocols of early papers: one target among a hundred sampled items. For comparison with papers only.

    sampled-pop100      negatives drawn without replacement, in proportion to their count in all data
    sampled-uniform100  each item as likely as another

Items of the history and the target are never drawn. Both can put models in another order than ranking all
items does (Krichene and Rendle, On Sampled Metrics for Item Recommendation, 2020): figures of the two kinds
must not be compared, and every table says which it holds. The popular draw counts test events, as the papers'
code does.
"""

from __future__ import annotations

import numpy as np

from statewise.recsys.events import EventLog
from statewise.recsys.metrics import Ranked
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Cases

__all__ = ["PROTOCOLS", "rank_sampled"]

PROTOCOLS = ("full", "sampled-pop100", "sampled-uniform100")
_NEGATIVES = 100
_ROWS = 256


def rank_sampled(
    scorer: Scorer, log: EventLog, cases: Cases, *, popular: bool = True, seed: int = 0
) -> Ranked:
    """Rank the first target of each case among itself and 100 negatives, ties at their mean rank."""
    rng = np.random.default_rng(seed)
    counts = np.bincount(log.item, minlength=log.n_items).astype(np.float64)
    with np.errstate(divide="ignore"):
        weight = np.log(counts if popular else np.ones_like(counts))
    histories = cases.histories(log)
    target = log.item[cases.stop].astype(np.int64)
    ranks, tops = [], []
    for low in range(0, len(cases), _ROWS):
        tile = histories.take(slice(low, low + _ROWS))
        scores = np.asarray(scorer.scores(tile))
        wanted = target[low : low + len(tile)]
        # the largest of log w + Gumbel noise: a draw without replacement in proportion to w
        key = weight + rng.gumbel(size=scores.shape)
        row, place = tile.flat()
        key[row, tile.items[place]] = -np.inf
        key[np.arange(len(tile)), wanted] = -np.inf
        k = min(_NEGATIVES, scores.shape[1] - 1)
        drawn = np.argpartition(-key, k - 1, axis=1)[:, :k]
        there = np.isfinite(np.take_along_axis(key, drawn, axis=1))
        rivals = np.where(there, np.take_along_axis(scores, drawn, axis=1), -np.inf)
        own = scores[np.arange(len(tile)), wanted][:, None]
        ranks.append((rivals > own).sum(1) + (there & (rivals == own)).sum(1) / 2)
        best = np.argsort(-rivals, axis=1, kind="stable")[:, :10]
        tops.append(np.take_along_axis(drawn, best, axis=1))
    n = len(cases)
    return Ranked(
        case=np.arange(n),
        rank=np.concatenate(ranks),
        target=target,
        repeat=np.zeros(n, dtype=bool),
        cases=n,
        top=np.concatenate(tops),
    )
