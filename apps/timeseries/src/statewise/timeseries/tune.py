"""`forecast tune`: search the settings of one method on validation rows, then fit with the best ones.

The search (Akiba et al., "Optuna", KDD 2019: a tree-structured Parzen estimator) fits on the training rows
and scores on the validation rows, as `auto` does; test rows are seen once, by the fit at the end. The first
trial is the method's defaults, so that the result is never worse than they are on the rows that chose it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from statewise.core.config import config_class, from_dict, to_dict
from statewise.core.errors import ConfigError, StatewiseError
from statewise.timeseries import backtest
from statewise.timeseries.api import Outcome, Prepared, fit_prepared, prepare
from statewise.timeseries.backtest import Plan, actuals
from statewise.timeseries.config import AutoConfig
from statewise.timeseries.forecaster import Context
from statewise.timeseries.metrics import mase, seasonal_scale
from statewise.timeseries.models import MODELS
from statewise.timeseries.settings import AUTO, FitSettings
from statewise.timeseries.triage import trimmed, unusable, usable_covariates

__all__ = ["SPACE", "Trial", "Tuned", "tune_run"]

SPACE: dict[str, tuple[Any, ...]] = {
    "lookback": ("log", 1, 14),
    "learning_rate": ("log", 1e-4, 1e-2),
    "d_model": ("choice", 8, 16, 32, 64),
    "hidden": ("choice", 2, 4, 8, 16, 32),
    "depth": ("choice", 1, 2, 3),
    "dropout": ("uniform", 0.0, 0.4),
    "calendar": ("choice", True, False),
    "normalise": ("choice", True, False),
    "strength": ("log", 1e-2, 1e6),
    "kernel": ("choice", 5, 13, 25, 49),
    "sparsity": ("log", 1e-6, 1e-1),
}
"""What is searched, where a method has it; the lookback in seasons."""
_SHARE = 0.7  # of the time for the search, the rest for the fit at the end


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One set of settings and how it did."""

    settings: dict[str, Any]
    """Those that differ from the defaults."""
    mase: float
    """On the validation rows, mean over series; infinite where the fit failed."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What came of the search."""

    trials: tuple[Trial, ...]
    """In their order; the first one is the defaults."""
    best: Trial
    outcome: Outcome
    """The fit with the best settings."""


def tune_run(
    settings: FitSettings,
    *,
    trials: int = 20,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Tuned:
    """Search, fit with the best settings, and write a run directory.

    Args:
        settings: a fit of one method; its budget is that of search and fit together.
        trials: sets of settings, the defaults included.
        out: the run directory.
        say: told what is assumed.
        progress: told the fraction done.

    Raises:
        UserError: no single method is named, it has nothing to search, or the data cannot be read.
    """
    import optuna

    name, _ = (AUTO, None) if settings.model == AUTO else MODELS.resolve(settings.model)
    if name == AUTO:
        raise ConfigError(
            "tuning takes one method",
            where="--model",
            seen=AUTO,
            expected="a method of `forecast models`",
            fix="name one: --model tpgn",
        )
    target = MODELS.load(name)
    known = [field.name for field in fields(config_class(target)) if field.name in SPACE]
    if not known:
        raise ConfigError(f"{name} has no settings to search", where="--model", fix="take another method")
    prepared = prepare(settings, say, None)
    plan = _plan(prepared)
    deadline = None if settings.seconds is None else prepared.started + _SHARE * settings.seconds
    made: list[Trial] = []

    def objective(trial: Any) -> float:
        chosen = {} if not made else _suggest(trial, known, prepared.context.period)
        begin = time.monotonic()
        error = _judge(target, chosen, plan, _limited(prepared.context, deadline, trials - len(made)))
        made.append(Trial(settings=chosen, mase=error, seconds=time.monotonic() - begin))
        if progress is not None:
            least = min(one.mase for one in made)
            progress(len(made) / trials, f"trial {len(made)} of {trials}, least error {least:.4g}")
        if deadline is not None and time.monotonic() > deadline:
            trial.study.stop()
        return error

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.optimize(objective, n_trials=trials)
    best = min(made, key=lambda one: one.mase)
    own = {name: from_dict(config_class(target), best.settings, where="the best trial")}
    outcome = fit_prepared(replace(settings, model=name), prepared, out=out, own=own, say=say)
    assert outcome.run is not None
    outcome.run.write_json("trials.json", [to_dict(one) for one in made])
    return Tuned(trials=tuple(made), best=best, outcome=outcome)


def _plan(prepared: Prepared) -> Plan:
    """Blocks and origins of the series that can be judged."""
    context, config = prepared.context, AutoConfig()
    panel, _ = usable_covariates(trimmed(prepared.reading.panel), context.horizon)
    lost = unusable(panel, context, config.backtest)
    names = [one for one in panel.ids if one not in lost]
    if not names:
        raise ConfigError(
            "no series is long enough to tune on", fix="give a longer history, or shorten --horizon"
        )
    return backtest.plan(panel.select(names), context, config.backtest)


def _suggest(trial: Any, known: list[str], period: int) -> dict[str, Any]:
    """Settings for a trial."""
    chosen: dict[str, Any] = {}
    for name in known:
        kind, *bounds = SPACE[name]
        if name == "lookback":
            chosen[name] = max(4, period * trial.suggest_int(name, *bounds, log=True))
        elif kind == "choice":
            chosen[name] = trial.suggest_categorical(name, bounds)
        else:
            chosen[name] = trial.suggest_float(name, *bounds, log=kind == "log")
    return chosen


def _limited(context: Context, deadline: float | None, left: int) -> Context:
    """The context of one trial: an even part of the time that is left."""
    if deadline is None:
        return replace(context, progress=None)
    now = time.monotonic()
    return replace(context, progress=None, deadline=now + max(0.5, (deadline - now) / max(left, 1)))


def _judge(target: Any, chosen: dict[str, Any], plan: Plan, context: Context) -> float:
    """MASE on the validation rows, mean over series."""
    try:
        method = target(from_dict(config_class(target), chosen))
        forecasts = backtest.validate(method, plan, context)
    except StatewiseError:
        return float("inf")
    errors = []
    for series, at, block, use, made in zip(
        plan.panel.series, plan.origins, plan.blocks, plan.validating(), forecasts, strict=True
    ):
        scale = seasonal_scale(series.values[: block.train], context.period)
        errors.append(mase(actuals(series, at[use], plan.horizon), made[use], scale))
    known = [error for error in errors if np.isfinite(error)]
    return float(np.mean(known)) if known else float("inf")
