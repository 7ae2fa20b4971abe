"""Methods against each other on the same windows, within a time limit.

A method meets only the series that are long enough for it. What fails is left out with a note, and a method
that works series by series loses only the series it fails on.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from statewise.core.config import config_class
from statewise.core.errors import Interrupted
from statewise.timeseries import backtest
from statewise.timeseries.backtest import Plan
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.models import MODELS

__all__ = ["Contender", "enter", "run_test", "run_validation"]

_log = logging.getLogger("statewise")

_SHARE = 0.4  # of the time left, for one method at most: it may have to be fitted once more at the end
_TOGETHER = 2, 64  # series, for which a joint method is tried unless it is asked for
_LEAST = 3.0  # seconds, with less of which training a network is not begun


@dataclass(kw_only=True)
class Contender:
    """A method in the contest, and what it has come to so far."""

    name: str
    method: Forecaster
    ids: tuple[str, ...]
    """Series that it can forecast; fewer when it has failed on some."""
    facts: Mapping[str, Any]
    """Of its row in the registry."""
    forecasts: dict[str, np.ndarray] = field(default_factory=dict)
    """By series, (O, H), NaN where none was made."""
    early: list[dict[str, np.ndarray]] = field(default_factory=list)
    """The same for each fold of the training rows, where it took part in them."""
    spreads: dict[str, np.ndarray] = field(default_factory=dict)
    """By series, how far its bounds lie, (O, 2, Q, H), where it says that."""
    seconds: float = 0.0
    """Spent on it so far."""
    notes: list[str] = field(default_factory=list)
    required: bool = False
    """Whether it was asked for by name: its failure then ends the contest."""

    @property
    def sparse(self) -> bool:
        """Whether it is fitted anew at every origin, and forecasts from few."""
        return self.facts.get("family") == "statistical"

    @property
    def neural(self) -> bool:
        """Whether its fit takes as long as it is given."""
        return self.facts.get("family") == "neural"


def enter(name: str, config: Any, plan: Plan, context: Context, *, required: bool = False) -> Contender:
    """The method `name`, for the series whose training rows suffice; `config` None: its defaults."""
    entry = MODELS[name]
    target = entry.load()
    method: Forecaster = target(config_class(target)() if config is None else config)
    least = method.minimum(context)
    lengths = zip(plan.panel.ids, plan.blocks, strict=True)
    ids = tuple(name for name, block in lengths if block.train >= least)
    contender = Contender(name=name, method=method, ids=ids, facts=entry.facts, required=required)
    if not ids:
        contender.notes.append(f"needs {least} training rows")
    elif method.joint and not required and not _TOGETHER[0] <= len(ids) <= _TOGETHER[1]:
        contender.notes.append(f"left out: it reads {_TOGETHER[0]} to {_TOGETHER[1]} series together")
        contender.ids = ()
    return contender


def run_validation(
    contenders: Sequence[Contender], plan: Plan, context: Context, folds: Sequence[Plan] = ()
) -> bool:
    """Fit each on the training rows and forecast over the validation rows, as long as time is left.

    Methods that are not trained are judged on the folds of the training rows before that.

    Returns:
        Whether all had their turn: False when the user has interrupted.
    """
    for place, contender in enumerate(contenders):
        if contender.ids:
            _say(context, place / len(contenders), f"trying {contender.name}")
            chosen, limited = plan.select(contender.ids), _limited(contender, plan, context)
            if limited is None:
                contender.ids = ()
                continue

            def validate(
                part: Plan, one: Contender = contender, limits: Context = limited
            ) -> list[np.ndarray]:
                return backtest.validate(one.method, part, limits, sparse=one.sparse)

            try:
                _run_folds(contender, folds, limited, plan)
                _attempt(contender, chosen, validate)
            except (KeyboardInterrupt, Interrupted):
                if not any(one.forecasts for one in contenders[:place]):
                    raise
                for one in contenders[place:]:
                    one.ids = ()
                    one.notes.append("not tried: interrupted")
                return False
    return True


def _run_folds(contender: Contender, folds: Sequence[Plan], context: Context, plan: Plan) -> None:
    """What a method would have said within the training rows, unless that takes too long."""
    if contender.neural:
        return
    if contender.sparse:
        parts = [_among(one, contender) for one in (plan, *folds)]
        needed = sum(_cost(contender, part, context.period)[1] for part in parts if len(part.panel))
        if needed > context.remaining():
            return
    start = time.monotonic()
    least = contender.method.minimum(context)
    for fold in folds:
        own = set(contender.ids)
        lengths = zip(fold.panel.ids, fold.blocks, strict=True)
        ids = [name for name, block in lengths if block.train >= least and name in own]
        if not ids:
            contender.early.append({})
            continue
        try:
            made = backtest.validate(contender.method, fold.select(ids), context, sparse=contender.sparse)
            contender.early.append(dict(zip(ids, made, strict=True)))
        except Interrupted:
            raise
        except Exception:
            # the validation rows, where a failure counts, come after this
            _log.debug("%s failed on a fold", contender.name, exc_info=True)
            contender.early.append({})
    contender.seconds += time.monotonic() - start


def _among(plan: Plan, contender: Contender) -> Plan:
    own = set(contender.ids)
    return plan.select([name for name in plan.panel.ids if name in own])


def run_test(contenders: Sequence[Contender], plan: Plan, context: Context) -> None:
    """Forecast over the test rows, fitted again on all rows before them unless that takes long (networks)."""
    quiet = replace(context, progress=None, run=None)
    for contender in contenders:
        if contender.ids:

            def test(part: Plan, one: Contender = contender) -> list[np.ndarray]:
                return backtest.test(one.method, part, quiet, refit=not one.neural, sparse=one.sparse)

            _attempt(contender, plan.select(contender.ids), test)
            chosen = plan.select(contender.ids)
            spreads = contender.method.spreads(chosen.panel, chosen.origins) if contender.ids else None
            contender.spreads = dict(zip(contender.ids, spreads or (), strict=spreads is not None))


def _limited(contender: Contender, plan: Plan, context: Context) -> Context | None:
    """The context with this method's share of the time; None, with a note, where that is too little."""
    share = max(0.0, _SHARE * context.remaining())
    if contender.sparse and not contender.required:
        fits, needed = _cost(contender, plan.select(contender.ids), context.period)
        if needed > share:
            contender.notes.append(f"left out: about {needed:.0f} s for {fits} fits, {share:.0f} s to spend")
            return None
    if contender.neural and share < _LEAST and not contender.required:
        contender.notes.append(f"left out: {share:.0f} s are too little to train it")
        return None
    deadline = None if context.deadline is None else time.monotonic() + share
    limited = replace(context, deadline=deadline, progress=None)
    return limited.part(f"{contender.name}-validation") if contender.neural else limited


def _cost(contender: Contender, plan: Plan, period: int) -> tuple[int, float]:
    """Fits of a method that is fitted anew at every origin, and about how many seconds they take."""
    facts = contender.facts
    fits = sum(int(use.sum()) for use in plan.sparse)
    steps = np.mean([min(block.validation, facts["full_length"]) for block in plan.blocks])
    each = facts["fit_seconds"] * steps / facts["full_length"] * max(1.0, period / 24)
    return fits, fits * each + (0.0 if facts["library"] in sys.modules else facts["start_seconds"])


def _attempt(contender: Contender, plan: Plan, forecast: Callable[[Plan], list[np.ndarray]]) -> None:
    """Add what `forecast` gives for the plan's series to the contender's forecasts."""
    start = time.monotonic()
    try:
        made = dict(zip(contender.ids, forecast(plan), strict=True))
    except Interrupted:
        raise
    except Exception as error:
        if contender.required:
            raise
        _log.debug("%s failed", contender.name, exc_info=True)
        contender.notes.append(f"failed ({type(error).__name__}: {error})")
        made = _one_by_one(contender, plan, forecast) if contender.method.local else {}
    contender.ids = tuple(made)
    for name, forecasts in made.items():
        earlier = contender.forecasts.get(name)
        contender.forecasts[name] = (
            forecasts if earlier is None else np.where(np.isfinite(earlier), earlier, forecasts)
        )
    contender.seconds += time.monotonic() - start


def _one_by_one(
    contender: Contender, plan: Plan, forecast: Callable[[Plan], list[np.ndarray]]
) -> dict[str, np.ndarray]:
    """The forecasts of those series that do not fail."""
    made = {}
    for name in contender.ids:
        try:
            made[name] = forecast(plan.select([name]))[0]
        except Exception as error:
            _log.debug("%s failed on series %s", contender.name, name, exc_info=True)
            contender.notes.append(f"failed on series '{name}' ({type(error).__name__}: {error})")
    return made


def _say(context: Context, fraction: float, words: str) -> None:
    if context.progress is not None:
        context.progress(fraction, words)
