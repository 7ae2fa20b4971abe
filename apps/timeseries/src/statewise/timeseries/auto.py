"""`auto`: try the methods, choose by rolling-origin validation, refit what was chosen, and say all of it.

The order of events keeps the test rows out of every decision: fit on parts of the training rows, then on all
of them, forecast over what follows each time, choose; only then forecast over the test rows, for the report.
The intervals of the final forecast are those that the residuals of validation and test rows have led to, and
the chosen methods are fitted once more, on all rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from statewise.core.errors import Interrupted
from statewise.timeseries import backtest
from statewise.timeseries.backtest import Plan
from statewise.timeseries.blending import finish_blend, make_blend
from statewise.timeseries.calibration import Calibration, from_history
from statewise.timeseries.choice import Choice, choose
from statewise.timeseries.config import AutoConfig
from statewise.timeseries.contest import Contender, enter, run_test, run_validation
from statewise.timeseries.forecaster import Context
from statewise.timeseries.losses import losses_of
from statewise.timeseries.metrics import seasonal_scale
from statewise.timeseries.models import MODELS
from statewise.timeseries.models.blend import members_of
from statewise.timeseries.models.naive import Naive, NaiveConfig
from statewise.timeseries.panel import Panel
from statewise.timeseries.portfolio import Portfolio
from statewise.timeseries.scoreboard import Row, judged_together, rows_of, validation_errors
from statewise.timeseries.scores import Split
from statewise.timeseries.triage import trimmed, unusable, usable_covariates

__all__ = ["AUTO", "AutoResult", "run"]

AUTO = "auto"
"""Name of the scoreboard's rows for the chosen methods together."""

_ALWAYS = ("naive", "seasonal-naive", "drift")
_FALLBACK = "naive"
_REFIT = 1.0  # seconds, with less of which a network is not trained again


@dataclass(frozen=True, kw_only=True)
class AutoResult:
    """What came of it."""

    portfolio: Portfolio
    """The chosen methods, fitted on all rows, with calibrated intervals."""
    rows: list[Row]
    """The scoreboard: every method on both blocks, simplest first, and the choice itself as `auto`."""
    choices: dict[str, Choice]
    """By series."""
    fallbacks: dict[str, str]
    """Series for which the last value is repeated, and why."""
    plan: Plan
    """Blocks and origins of the series that were judged."""
    forecasts: dict[str, np.ndarray]
    """By series, what its chosen method said at the plan's origins, (O, H); NaN where it was not asked."""
    calibration: Calibration
    """Of the chosen methods."""
    notes: list[str]
    """What the user should know: methods left out, fallbacks, an interruption."""
    interrupted: bool
    """Whether the user stopped it before all methods had their turn."""
    seconds: float
    """Wall time."""

    def row(self, method: str, split: Split) -> Row:
        """The line of a method."""
        return next(row for row in self.rows if row.method == method and row.split == split)


def run(
    panel: Panel, context: Context, config: AutoConfig, settings: Mapping[str, Any] | None = None
) -> AutoResult:
    """Choose, fit and calibrate.

    Args:
        panel: all series with all their rows.
        context: horizon, season, seed; its deadline and `config.budget` both hold.
        config: which methods, how they are judged and chosen.
        settings: configurations of methods, by name; the defaults elsewhere.
    """
    # the matrices are small: on a busy machine two BLAS threads took twenty times as long as one
    with threadpool_limits(context.threads or 1, user_api="blas"):
        return _run(panel, _with_deadline(context, config.budget), config, settings or {})


def _run(panel: Panel, context: Context, config: AutoConfig, settings: Mapping[str, Any]) -> AutoResult:
    start = time.monotonic()
    usable, notes = usable_covariates(trimmed(panel), context.horizon)
    fallbacks = unusable(usable, context, config.backtest)
    judged_panel = usable.select([name for name in usable.ids if name not in fallbacks])
    plan = backtest.plan(judged_panel, context, config.backtest)
    small = sum(len(series) for series in judged_panel.series) <= config.fold_values
    folds = backtest.folds(plan, context, config.backtest, config.folds if small else ())
    scales = _scales(plan, context.period)
    entered = _enter(plan, context, config, settings)
    complete = run_validation(entered, plan, context, folds)
    contenders, choices = _judged(entered, plan, folds, scales, context, config)
    forecasts = _chosen_forecasts(contenders, choices)
    spreads = _chosen_spreads(contenders, choices)
    rows, calibration = _scoreboard(contenders, forecasts, spreads, plan, scales, config)
    refit_notes, finished = _refit(contenders, choices, judged_panel, context)
    notes += [f"{contender.name}: {note}" for contender in contenders for note in contender.notes]
    notes += [f"series '{name}': {reason}; its last value is repeated" for name, reason in fallbacks.items()]
    return AutoResult(
        portfolio=_portfolio(contenders, choices, fallbacks, calibration, usable, context, config),
        rows=rows,
        choices=choices,
        fallbacks=fallbacks,
        plan=plan,
        forecasts=forecasts,
        calibration=calibration,
        notes=notes + refit_notes,
        interrupted=not (complete and finished),
        seconds=time.monotonic() - start,
    )


def _judged(
    entered: Sequence[Contender],
    plan: Plan,
    folds: Sequence[Plan],
    scales: Mapping[str, float],
    context: Context,
    config: AutoConfig,
) -> tuple[list[Contender], dict[str, Choice]]:
    """All contenders, the blend among them, with their forecasts over the test rows; and the choices."""
    contenders, mixed = list(entered), None
    if config.blend and config.choose is None:
        mixed = make_blend(entered, plan, losses_of(entered, plan, folds, scales), scales)
    if mixed is not None:
        contenders.append(mixed[0])
    choices = _choose(contenders, plan, folds, scales, config)
    # from here on the test rows are seen, and nothing is chosen by them
    run_test(entered, plan, context)
    if mixed is not None:
        finish_blend(*mixed, entered)
    if any(one.method not in _able(contenders, name) for name, one in choices.items()):
        choices = _choose(contenders, plan, folds, scales, config)
    return contenders, choices


def _with_deadline(context: Context, budget: float | None) -> Context:
    if budget is None:
        return context
    limit = time.monotonic() + budget
    return replace(context, deadline=limit if context.deadline is None else min(limit, context.deadline))


def _enter(plan: Plan, context: Context, config: AutoConfig, settings: Mapping[str, Any]) -> list[Contender]:
    """The methods to try, simplest first."""
    names = {*_ALWAYS, *config.methods, *([] if config.choose is None else [config.choose])}
    ordered = sorted(names, key=lambda name: (MODELS[name].facts.get("rank", len(MODELS)), name))
    return [
        enter(name, settings.get(name), plan, context, required=name == config.choose) for name in ordered
    ]


def _scales(plan: Plan, period: int) -> dict[str, float]:
    """The unit of each series' errors: what seasonal naive misses by in its training rows."""
    return {
        series.id: seasonal_scale(series.values[: block.train], period)
        for series, block in zip(plan.panel.series, plan.blocks, strict=True)
    }


def _able(contenders: Sequence[Contender], series: str) -> set[str]:
    """Names of the methods that can forecast a series."""
    return {contender.name for contender in contenders if series in contender.ids}


def _choose(
    contenders: Sequence[Contender],
    plan: Plan,
    folds: Sequence[Plan],
    scales: Mapping[str, float],
    config: AutoConfig,
) -> dict[str, Choice]:
    judged = judged_together(contenders, plan)
    errors = validation_errors(contenders, plan, judged, scales)
    losses = losses_of(contenders, plan, folds, scales)
    counts = [int((a & b).sum()) for a, b in zip(plan.validating(), judged, strict=True)]
    ranks = {contender.name: place for place, contender in enumerate(contenders)}
    return choose(errors, losses, dict(zip(plan.panel.ids, counts, strict=True)), ranks, config)


def _chosen_forecasts(
    contenders: Sequence[Contender], choices: Mapping[str, Choice]
) -> dict[str, np.ndarray]:
    by_name = {contender.name: contender for contender in contenders}
    return {name: by_name[one.method].forecasts[name] for name, one in choices.items()}


def _chosen_spreads(contenders: Sequence[Contender], choices: Mapping[str, Choice]) -> dict[str, np.ndarray]:
    by_name = {contender.name: contender.spreads for contender in contenders}
    return {name: by_name[one.method][name] for name, one in choices.items() if name in by_name[one.method]}


def _scoreboard(
    contenders: Sequence[Contender],
    chosen: Mapping[str, np.ndarray],
    spreads: Mapping[str, np.ndarray],
    plan: Plan,
    scales: Mapping[str, float],
    config: AutoConfig,
) -> tuple[list[Row], Calibration]:
    """Every method's rows and those of the choice, and the calibration of the choice."""
    judged = judged_together(contenders, plan)
    rows: list[Row] = []
    for one in contenders:
        made = {name: one.forecasts[name] for name in one.ids}
        note = "; ".join(one.notes)
        rows += rows_of(
            one.name,
            made,
            plan,
            judged,
            scales,
            config.conformal,
            spreads=one.spreads,
            seconds=one.seconds,
            note=note,
        )[0]
    seconds = sum(contender.seconds for contender in contenders)
    together, calibration = rows_of(
        AUTO, chosen, plan, judged, scales, config.conformal, spreads=spreads, seconds=seconds
    )
    return rows + together, calibration


def _refit(
    contenders: Sequence[Contender], choices: Mapping[str, Choice], panel: Panel, context: Context
) -> tuple[list[str], bool]:
    """Fit the chosen methods on all rows; notes, and whether the user let it finish."""
    used = {one.method for one in choices.values()}
    wanted = used | {name for one in contenders if one.name in used for name in members_of(one.method)}
    notes = []
    for contender in (contender for contender in contenders if contender.name in wanted):
        if members_of(contender.method):
            continue  # its members are fitted under their own names
        if contender.neural and context.remaining() < _REFIT:
            notes.append(f"{contender.name}: no time to train it again; it has seen the training rows only")
            continue
        try:
            own = context.part(contender.name) if contender.neural else context
            contender.method.fit(panel.select(contender.ids), own)
        except (KeyboardInterrupt, Interrupted):
            if not contender.neural:
                raise
            return [*notes, f"{contender.name}: interrupted, the best weights so far are kept"], False
    return notes, True


def _portfolio(
    contenders: Sequence[Contender],
    choices: Mapping[str, Choice],
    fallbacks: Mapping[str, str],
    calibration: Calibration,
    panel: Panel,
    context: Context,
    config: AutoConfig,
) -> Portfolio:
    """The chosen methods with their intervals; the most used one serves series never seen."""
    used = [one.method for one in choices.values()]
    chosen = {name: choices[name].method if name in choices else _FALLBACK for name in panel.ids}
    methods = {contender.name: contender.method for contender in contenders if contender.name in used}
    if _FALLBACK not in methods:
        methods[_FALLBACK] = Naive(NaiveConfig())
        methods[_FALLBACK].fit(panel, context)
    half = {}
    for series in panel.series:
        known = calibration.next.get(series.id)
        if series.id in fallbacks or known is None or not np.isfinite(known).all():
            known = from_history(series.values, context.horizon, config.conformal)
        half[series.id] = known
    return Portfolio(
        methods=methods,
        chosen=chosen,
        default=max(methods, key=used.count) if used else _FALLBACK,
        half=half,
        shared=calibration.shared,
        context=context,
        conformal=config.conformal,
    )
