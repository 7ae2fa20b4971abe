"""A method and the baselines beside it, scored on the same cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from statewise.recsys.events import Histories
from statewise.recsys.metrics import Summary, summarise
from statewise.recsys.models import BASELINES, MODELS
from statewise.recsys.models.neighbours import EASE_ITEMS
from statewise.recsys.ranking import Repeat, rank_cases
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Cases, Split

__all__ = ["Row", "counts_of", "fit_counting", "judge", "judge_baselines", "too_large"]

_PAIRS = 10**9
"""Products that the neighbours' table may take."""
_EVENTS = 10**7
"""Training events that are counted in pairs in memory."""
JUDGED = 20_000
"""Users that judge a method in the scoreboard of a fit, at most."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method's figures."""

    method: str
    valid: Summary | None
    test: Summary | None
    seconds: float
    """CPU seconds of fitting and scoring."""
    note: str = ""
    parts: dict[str, Summary] | None = None
    """Repeat and novel targets apart, on the test cases, where a user has several."""


def counts_of(train: Histories, n_items: int) -> np.ndarray:
    """Training events of each item, (V,)."""
    return train.counts(n_items)


def fit_counting(name: str, train: Histories, n_items: int) -> Scorer:
    """Fit a counting method with its default settings."""
    return MODELS.load(name).fit(train, n_items)


def judge(scorer: Scorer, split: Split, repeat: Repeat, *, name: str, started: float, note: str = "") -> Row:
    """Score a method on the validation and the test cases."""
    popularity = counts_of(split.train, split.log.n_items)
    split = judged_part(split)

    def score(cases: Cases, how: Repeat) -> Summary:
        return summarise(rank_cases(scorer, split.log, cases, repeat=how), popularity)

    parts = None
    if split.kind == "next-period":
        again = rank_cases(scorer, split.log, split.test, repeat="only")
        fresh = rank_cases(scorer, split.log, split.test, repeat="exclude")
        parts = {
            "repeat": summarise(again.part(again.repeat), popularity),
            "novel": summarise(fresh.part(~fresh.repeat), popularity),
        }
    return Row(
        method=name,
        valid=score(split.valid, repeat),
        test=score(split.test, repeat),
        seconds=time.process_time() - started,
        note=note,
        parts=parts,
    )


def judge_baselines(
    split: Split,
    repeat: Repeat,
    *,
    names: Sequence[str] = BASELINES,
    progress: Callable[[float, str], None] | None = None,
) -> list[Row]:
    """Fit every baseline on the training events and score it; one that is too large says so."""
    rows: list[Row] = []
    for place, name in enumerate(names):
        if progress is not None:
            progress(place / len(names), name)
        started = time.process_time()
        reason = too_large(name, split)
        if reason:
            rows.append(Row(method=name, valid=None, test=None, seconds=0.0, note=reason))
            continue
        scorer = fit_counting(name, split.train, split.log.n_items)
        rows.append(judge(scorer, split, repeat, name=name, started=started))
    return rows


def judged_part(split: Split, most: int = JUDGED) -> Split:
    """The split with at most `most` validation and test cases, spread evenly over the users."""

    def some(cases: Cases) -> Cases:
        if len(cases) <= most:
            return cases
        return cases.take(np.linspace(0, len(cases) - 1, most).astype(np.int64))

    return replace(split, valid=some(split.valid), test=some(split.test))


def too_large(name: str, split: Split) -> str:
    """Why a baseline is not run on this split; empty when it is."""
    if name == "ease" and split.log.n_items > EASE_ITEMS:
        return f"not run: more than {EASE_ITEMS:,} items"
    if name == "markov" and int((split.train_stop - split.log.starts[:-1]).sum()) > _EVENTS:
        return f"not run: more than {_EVENTS:,} training events"
    if name == "itemknn":
        lengths = (split.train_stop - split.log.starts[:-1]).astype(np.float64)
        if (lengths**2).sum() > _PAIRS:
            return "not run: too many pairs of items"
    return ""


def best_baseline(rows: Sequence[Row]) -> Row | None:
    """The baseline with the best NDCG@10 on validation."""
    scored: list[Any] = [row for row in rows if row.valid is not None and row.method in BASELINES]
    return max(scored, key=lambda row: row.valid.ndcg["10"], default=None)
