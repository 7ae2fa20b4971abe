"""Score a saved recommender again: another protocol, or another rule for items of the history."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from statewise.core.errors import CheckpointError, ConfigError
from statewise.recsys.contest import Row, counts_of, fit_counting, judge, too_large
from statewise.recsys.metrics import Summary, summarise
from statewise.recsys.models import BASELINES
from statewise.recsys.models.blend import Blend
from statewise.recsys.ranking import Repeat
from statewise.recsys.sampled import PROTOCOLS, rank_sampled
from statewise.recsys.saved import Recommender, load_recommender, split_of
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Cases, Split

__all__ = ["Evaluation", "evaluate_run"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of a saved model and of the baselines."""

    rows: tuple[Row, ...]
    split: Split
    repeat: Repeat
    protocol: str


def evaluate_run(
    path: str | Path,
    *,
    protocol: str = "full",
    repeat: Repeat | None = None,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> Evaluation:
    """Score a saved model on the split it was fitted with, beside the baselines.

    Args:
        path: the run or model directory.
        protocol: one of `PROTOCOLS`.
        repeat: whether items of the history compete; None: as found at the fit.
        seed: of the sampled negatives.
        progress: told the fraction done and a few words.

    Raises:
        CheckpointError: there is no model, or it was fitted on everything and nothing is left to judge it.
        ConfigError: there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(
            "there is no such protocol", where="--protocol", seen=protocol,
            expected=f"one of {', '.join(PROTOCOLS)}", fix="leave it out to rank all items",
        )  # fmt: skip
    one = load_recommender(path)
    if one.facts["trained_on"] != "train":
        raise CheckpointError(
            "was fitted on all events: none is left to judge it",
            where=str(path),
            fix="evaluate the run that it was refitted from",
        )
    split = split_of(one)
    rule = repeat or one.repeat
    rows = []
    names = [one.model, *(name for name in BASELINES if name != one.model)]
    for place, name in enumerate(names):
        if progress is not None:
            progress(place / len(names), name)
        started = time.process_time()
        scorer = _as_judged(one, split) if place == 0 else _baseline(name, split)
        if scorer is None:
            continue
        if protocol == "full":
            rows.append(judge(scorer, split, rule, name=name, started=started))
        else:
            rows.append(_sampled(scorer, split, name, protocol, seed, started))
    return Evaluation(rows=tuple(rows), split=split, repeat=rule, protocol=protocol)


def _as_judged(one: Recommender, split: Split) -> Scorer:
    """The scorer as it was when `fit` judged it: what counts is counted on the training events only."""
    if one.recipe is None:
        return fit_counting(one.model, split.train, split.log.n_items)
    if isinstance(one.scorer, Blend):
        counted = [fit_counting(part.name, split.train, split.log.n_items) for part in one.scorer.parts[1:]]
        return Blend([one.scorer.parts[0], *counted], one.scorer.weights)
    return one.scorer


def _baseline(name: str, split: Split) -> Scorer | None:
    return None if too_large(name, split) else fit_counting(name, split.train, split.log.n_items)


def _sampled(scorer: Scorer, split: Split, name: str, protocol: str, seed: int, started: float) -> Row:
    popularity = counts_of(split.train, split.log.n_items)

    def score(cases: Cases) -> Summary:
        ranked = rank_sampled(scorer, split.log, cases, popular=protocol == "sampled-pop100", seed=seed)
        return summarise(ranked, popularity)

    valid, test = score(split.valid), score(split.test)
    return Row(
        method=name,
        valid=valid,
        test=test,
        seconds=time.process_time() - started,
        note=protocol,
    )
