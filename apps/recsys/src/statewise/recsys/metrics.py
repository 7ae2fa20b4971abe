"""Ranking metrics over the full catalogue, with ties at their mean rank.

    r_i      rank of target i from 0: candidates with a larger score + half of the others with the same score
    HR@k     share of users with a target at r < k          recall@k   share of the targets at r < k
    NDCG@k   sum_i [r_i < k] / log2(r_i + 2), over the same sum for a perfect ranking
    MRR@k    mean of 1 / (r + 1) of the best target, 0 from r >= k on

A constant scorer gets rank (C - 1) / 2 of C candidates, not the first or last place: the order
in which items are stored tells nothing. Several targets compete with each other too. Letters: n users, V
items.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["CUTS", "Ranked", "Summary", "summarise"]

CUTS = (1, 5, 10, 20)


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Where the targets of each case ended up."""

    case: np.ndarray
    """Case of each target, ascending, (m,)."""
    rank: np.ndarray
    """Mean-tie rank from 0, (m,)."""
    target: np.ndarray
    """Code of the item, (m,)."""
    repeat: np.ndarray
    """Whether the user had taken it before, (m,) bool."""
    cases: int
    """Number of cases."""
    top: np.ndarray
    """The first items recommended to each case, (cases, k), -1 where there are fewer."""

    def part(self, chosen: np.ndarray) -> Ranked:
        """Only some of the targets, and the cases that still have one; ranks stay as they are."""
        kept = np.unique(self.case[chosen])
        return Ranked(
            case=np.searchsorted(kept, self.case[chosen]),
            rank=self.rank[chosen],
            target=self.target[chosen],
            repeat=self.repeat[chosen],
            cases=len(kept),
            top=self.top[kept],
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The figures of one method on one set of cases."""

    cases: int
    hr: dict[str, float]
    """By cut."""
    ndcg: dict[str, float]
    recall: dict[str, float]
    mrr: float
    """At the largest cut."""
    coverage: float
    """Share of the catalogue among the ten first of all cases."""
    novelty: float
    """Mean -log2 of the share of training events that the ten first have."""
    debiased: float
    """NDCG@10 with each target weighted by 1 / its training count: popular targets count less."""
    per_case: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """NDCG@10 and HR@10 of each case, (n,), for paired tests."""

    def as_dict(self) -> dict[str, float]:
        """Flat, for JSON: `hr@10`, `ndcg@10`, ..."""
        flat = {f"hr@{k}": v for k, v in self.hr.items()} | {f"ndcg@{k}": v for k, v in self.ndcg.items()}
        flat |= {f"recall@{k}": v for k, v in self.recall.items()}
        names = ("mrr", "coverage", "novelty", "debiased")
        return flat | {name: getattr(self, name) for name in names} | {"cases": self.cases}


def summarise(ranked: Ranked, popularity: np.ndarray, cuts: tuple[int, ...] = CUTS) -> Summary:
    """All figures.

    Args:
        ranked: the ranks.
        popularity: training events of each item, (V,).
        cuts: the k of HR, NDCG and recall.
    """
    n = max(1, ranked.cases)
    per_case = {k: _of_cases(ranked, k) for k in cuts}
    best = np.full(n, np.inf)
    np.minimum.at(best, ranked.case, ranked.rank)
    reciprocal = np.where(best < cuts[-1], 1 / (best + 1), 0.0)
    ten = 10 if 10 in cuts else cuts[-1]
    share = (popularity + 1) / (popularity.sum() + len(popularity))
    shown = ranked.top[ranked.top >= 0]
    hit, gain, _ = per_case[ten]
    return Summary(
        cases=ranked.cases,
        hr={str(k): float(per_case[k][0].mean()) for k in cuts},
        ndcg={str(k): float(per_case[k][1].mean()) for k in cuts},
        recall={str(k): float(per_case[k][2].mean()) for k in cuts},
        mrr=float(reciprocal.mean()),
        coverage=len(np.unique(shown)) / len(popularity),
        novelty=float(-np.log2(share[shown]).mean()) if len(shown) else 0.0,
        debiased=_debiased(ranked, popularity, ten),
        per_case={"ndcg": gain, "hr": hit},
    )


def _of_cases(ranked: Ranked, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HR, NDCG and recall at k of each case, (n,)."""
    n = max(1, ranked.cases)
    counts = np.bincount(ranked.case, minlength=n)
    inside = ranked.rank < k
    gain = np.bincount(ranked.case, np.where(inside, 1 / np.log2(ranked.rank + 2), 0.0), minlength=n)
    found = np.bincount(ranked.case, inside, minlength=n)
    ideal = np.concatenate([[1.0], np.cumsum(1 / np.log2(np.arange(k) + 2))])
    return (
        (found > 0).astype(np.float64),
        gain / ideal[np.clip(counts, 1, k)],
        found / np.maximum(counts, 1),
    )


def _debiased(ranked: Ranked, popularity: np.ndarray, k: int) -> float:
    if not len(ranked.rank):
        return 0.0
    weight = 1 / np.maximum(popularity[ranked.target], 1)
    gain = np.where(ranked.rank < k, 1 / np.log2(ranked.rank + 2), 0.0)
    return float((weight * gain).sum() / weight.sum())
