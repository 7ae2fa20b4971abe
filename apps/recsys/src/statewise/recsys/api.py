"""What the `recsys` command does, as functions: fit, recommend, evaluate, similar, refit, add items, export.

from statewise.recsys.api import FitSettings, fit_run, recommend_run

outcome = fit_run(FitSettings(data=("events.csv",), model="lru"), out="runs/shop")
table = recommend_run("runs/shop", RecommendSettings(users=("alice",), k=10)).table
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from statewise.core.config import to_dict
from statewise.core.errors import ConfigError
from statewise.core.train import FitResult, Run
from statewise.core.train.settings import keep_settings, kept_settings, require_files, require_same_data
from statewise.recsys.contest import Row, fit_counting, judge, judge_baselines
from statewise.recsys.data import Reading, read
from statewise.recsys.features import BUCKETS, ItemFeatures, read_features
from statewise.recsys.models import BASELINES, MODELS
from statewise.recsys.models.blend import Blend, choose_weights
from statewise.recsys.ranking import Repeat
from statewise.recsys.recipes import Recipe, recipe
from statewise.recsys.saved import Recommender, save_recommender
from statewise.recsys.scorer import Scorer
from statewise.recsys.settings import FitSettings
from statewise.recsys.splits import Split, make_split

__all__ = ["FitSettings", "Outcome", "fit_run", "resume_run"]

Say = Callable[[str], None]
Progress = Callable[[float, str], None]

_LOOKED_AT = 50_000
"""Users that are looked at to find out whether items repeat, at most."""
_REPEATS = 0.1
"""Share of training events that repeat an item of the user from which `auto` lets items repeat."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a fit."""

    reading: Reading
    split: Split
    settings: FitSettings
    repeat: Repeat
    rows: tuple[Row, ...]
    """The method first, then the baselines."""
    training: FitResult | None
    """Of a network."""
    recommender: Recommender
    run: Run
    notes: tuple[str, ...]
    seconds: float


def fit_run(
    settings: FitSettings,
    *,
    out: str | Path | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Read, split, fit, score beside the baselines, and write a run directory.

    Args:
        settings: what is asked for.
        out: the run directory; None for `runs/<data>-<model>`.
        say: told what is assumed, line by line.
        progress: told the fraction done and a few words.

    Raises:
        UserError: the data cannot be read or the settings do not fit them.
    """
    started = time.monotonic()
    work = _prepared(settings, say)
    run = Run.create(out, default=settings.name)
    if run.notice and say is not None:
        say(run.notice)
    keep_settings(run, settings, fingerprint=work.reading.log.fingerprint)
    run.write_text("config.toml", tomli_w.dumps(settings.flags()))
    return _fit(work, run, started, progress)


def resume_run(
    path: str | Path,
    *,
    data: Sequence[str] | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Finish a fit that was cut off: same settings, same data, the network from its last checkpoint.

    Args:
        path: the run directory.
        data: where the files are now, if they have moved.
        say: told what is assumed.
        progress: told the fraction done.

    Raises:
        CheckpointError: there is no such run, or the data are not those it began with.
    """
    started = time.monotonic()
    run = Run.open(path)
    settings, fingerprint = kept_settings(run, FitSettings)
    if data:
        settings = replace(settings, data=tuple(data))
    require_files(run, settings.data, "recsys fit events.csv")
    work = _prepared(settings, say)
    require_same_data(run, fingerprint, work.reading.log.fingerprint, settings.data)
    return _fit(work, run, started, progress)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Everything that is settled before anything is fitted."""

    settings: FitSettings
    reading: Reading
    split: Split
    repeat: Repeat
    name: str
    recipe: Recipe | None
    features: ItemFeatures | None
    notes: tuple[str, ...]


def _prepared(settings: FitSettings, say: Say | None) -> _Work:
    """Read and split the data, and settle the method."""
    name, _ = MODELS.resolve(settings.model)
    counting = MODELS[name].facts.get("family") == "counting"
    unknown = [one for one in settings.blend if one not in BASELINES]
    if unknown or (settings.blend and counting):
        raise ConfigError(
            "cannot be mixed in" if unknown else "is no network: there is nothing to mix into",
            where="--blend" if unknown else settings.model,
            seen=", ".join(unknown or settings.blend),
            expected=f"counting methods ({', '.join(BASELINES)}) beside a network",
            fix="choose among them" if unknown else "leave --blend out",
        )
    features = None if settings.features is None else read_features(settings.features, settings.read.item)
    reading = read(settings.data, settings.read)
    log = reading.log
    split = make_split(log, settings.split, period=settings.period, periods=settings.periods)
    repeat, why = _repeat_rule(settings, split)
    notes = [note.text for note in reading.notes] + [reading.facts, split.facts, split.warning, why]
    made = None
    if not counting:
        made = recipe(name, settings.tuning.changes(), n_items=log.n_items)
        if features is not None and settings.tuning.items != "id":
            network = replace(made.network, items=settings.tuning.items, buckets=BUCKETS)
            made = replace(made, network=network)
            absent = features.absent(log.items)
            notes.append(
                f"features {', '.join(features.columns)} of {features.source}; {absent:,} items have none"
            )
        notes.append(
            f"{name}: {made.network.encoder.name} encoder, {made.objective.name} objective, "
            f"{made.loss.name} loss (--model, --objective, --loss)"
        )
    if say is not None:
        for note in notes:
            say(note)
    return _Work(
        settings=settings,
        reading=reading,
        split=split,
        repeat=repeat,
        name=name,
        recipe=made,
        features=features,
        notes=tuple(notes),
    )


def _repeat_rule(settings: FitSettings, split: Split) -> tuple[Repeat, str]:
    """Whether items of the history may be recommended, and why."""
    users = np.linspace(0, split.log.n_users - 1, min(split.log.n_users, _LOOKED_AT)).astype(np.int64)
    train = split.train.take(users)
    row, place = train.flat()
    pairs = row * np.int64(split.log.n_items) + train.items[place]
    share = 1 - len(np.unique(pairs)) / max(1, len(pairs))
    if settings.repeat != "auto":
        return settings.repeat, f"items of the history: {settings.repeat}, as asked (--repeat)"
    rule: Repeat = "allow" if share > _REPEATS else "exclude"
    said = "may be recommended" if rule == "allow" else "are not recommended"
    return (
        rule,
        f"{share:.0%} of the events repeat an item of the user: items of the history {said} (--repeat)",
    )


def _fit(work: _Work, run: Run, started: float, progress: Progress | None) -> Outcome:
    """Fit, judge, and write all of it."""
    from statewise.recsys.report import write_cases, write_report

    settings, split = work.settings, work.split
    training = None
    cpu = time.process_time()
    if work.recipe is None:
        scorer = fit_counting(work.name, split.train, split.log.n_items)
    else:
        scorer, training = _train(work, run, progress)
    if settings.blend:
        parts = [scorer, *(fit_counting(one, split.train, split.log.n_items) for one in settings.blend)]
        scorer = Blend(parts, choose_weights(parts, split, work.repeat))
    label = f"{work.name} + {' + '.join(settings.blend)}" if settings.blend else work.name
    rows = [judge(scorer, split, work.repeat, name=label, started=cpu)]
    others = [name for name in BASELINES if name != work.name]
    rows += judge_baselines(split, work.repeat, names=others, progress=progress)
    recommender = _recommender(work, _counted_on_all(scorer, work), training)
    save_recommender(run.path / "model", recommender)
    outcome = Outcome(
        reading=work.reading,
        split=split,
        settings=settings,
        repeat=work.repeat,
        rows=tuple(rows),
        training=training,
        recommender=recommender,
        run=run,
        notes=work.notes,
        seconds=time.monotonic() - started,
    )
    write_cases(outcome)
    write_report(outcome)
    return outcome


def _train(work: _Work, run: Run, progress: Progress | None) -> tuple[Scorer, FitResult]:
    from statewise.recsys.training import train_network

    assert work.recipe is not None  # the caller has a network
    settings = work.settings
    return train_network(
        work.recipe,
        work.split,
        name=work.name,
        features=None if work.features is None else work.features.bags(work.split.log.items),
        repeat=work.repeat,
        run=run,
        seed=settings.seed,
        device=settings.device,
        threads=settings.threads,
        epochs=settings.epochs,
        budget=settings.budget,
        progress=progress,
    )


def _counted_on_all(scorer: Scorer, work: _Work) -> Scorer:
    """Counting methods are kept as counted on all events; a network keeps what it has learnt."""
    log = work.split.log
    everything = log.histories()
    if work.recipe is None:
        return fit_counting(work.name, everything, log.n_items)
    if isinstance(scorer, Blend):
        counted = [fit_counting(one, everything, log.n_items) for one in work.settings.blend]
        return Blend([scorer.parts[0], *counted], scorer.weights)
    return scorer


def _recommender(work: _Work, scorer: Scorer, training: FitResult | None) -> Recommender:
    facts: dict[str, Any] = {
        "split": work.settings.split,
        "period": work.settings.period,
        "periods": work.settings.periods,
        "seed": work.settings.seed,
        "fingerprint": work.split.log.fingerprint,
        "sources": list(work.reading.sources),
        "features": list(work.features.columns) if work.features is not None else [],
        "tuning": to_dict(work.settings.tuning),
        "trained_on": "train",
        "blend": list(work.settings.blend),
        "best_epoch": None if training is None else training.best.get("epoch"),
    }
    return Recommender(
        scorer=scorer,
        log=work.split.log,
        model=work.name,
        recipe=work.recipe,
        read=work.settings.read,
        repeat=work.repeat,
        facts=facts,
    )
