"""A weighted mean of the better methods, as one more contender.

Its weights come from the validation rows. There it is judged by what it would have said with the weights
that the other stretches of time give, so that it has to stand on rows that did not make it.

Letters: K methods, O origins, H horizon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from statewise.timeseries.backtest import Plan, actuals
from statewise.timeseries.contest import Contender
from statewise.timeseries.evidence import Losses, compare
from statewise.timeseries.models import MODELS
from statewise.timeseries.models.blend import Blend
from statewise.timeseries.stacking import PARTS, blend_weights, left_out_weights

__all__ = ["BLEND", "finish_blend", "make_blend"]

BLEND = "blend"
_MEMBERS = 6  # at most
_WORSE = 0.15  # by how much a member may err more than the best one
_LEAST = 0.02  # weight of a member
_ORIGINS = 8  # with fewer in each stretch of time there is nothing to find weights by


def make_blend(
    contenders: Sequence[Contender], plan: Plan, losses: Losses, scales: Mapping[str, float]
) -> tuple[Contender, dict[str, float]] | None:
    """The contender and the weights of its members; None where there is nothing to mix."""
    names, ids = _members(contenders, plan, losses)
    if len(names) < 2:
        return None
    members = {one.name: one for one in contenders if one.name in names}
    grams, parts = _grams(list(members.values()), plan.select(ids), scales)
    if grams is None:
        return None
    final = blend_weights(grams)
    kept = {name: float(w) for name, w in zip(members, final, strict=True) if w >= _LEAST}
    if len(kept) < 2:
        return None
    rest = dict(zip(members, left_out_weights(grams).T, strict=True))
    forecasts = {}
    for name in ids:
        # the weights of its part for each origin; those of the end also for what is not validation
        rows = {one: weights[parts[name]][:, None] for one, weights in rest.items()}
        forecasts[name] = sum(rows[one] * members[one].forecasts[name] for one in members)
    total = sum(kept.values())
    weights = {name: weight / total for name, weight in kept.items()}
    method = Blend.of({name: members[name].method for name in kept}, weights)
    blend = Contender(
        name=BLEND, method=method, ids=tuple(ids), facts=MODELS[BLEND].facts, forecasts=forecasts
    )
    blend.notes.append(method.description)
    return blend, weights


def finish_blend(blend: Contender, weights: Mapping[str, float], contenders: Sequence[Contender]) -> None:
    """Mix what the members said after the validation rows; drop the series that one of them has lost."""
    members = [one for one in contenders if one.name in weights]
    blend.ids = tuple(name for name in blend.ids if all(name in one.ids for one in members))
    for name in blend.ids:
        mixed = sum(weights[one.name] * one.forecasts[name] for one in members)
        earlier = blend.forecasts[name]
        blend.forecasts[name] = np.where(np.isfinite(earlier), earlier, mixed)


def _members(contenders: Sequence[Contender], plan: Plan, losses: Losses) -> tuple[list[str], list[str]]:
    """The methods to mix and the series that all of them forecast."""
    able = [one for one in contenders if one.ids]
    most = max((len(one.ids) for one in able), default=0)
    # a method for a few series only would keep the mean from all others
    able = [one for one in able if len(one.ids) == most]
    if len(able) < 2:
        return [], []
    # without a season the last value and the last season are one and the same
    told = {one.name: losses.values[one.name][able[0].ids[0]] for one in able}
    able = [
        one
        for place, one in enumerate(able)
        if not any(np.array_equal(told[one.name], told[x.name], equal_nan=True) for x in able[:place])
    ]
    first = able[0].name
    seen = {one.name: compare(losses, one.name, first, able[0].ids) for one in able}
    shares = {name: one.loss / one.reference for name, one in seen.items() if one.reference > 0}
    if not shares:
        return [], []
    best = min(shares.values())
    good = sorted((name for name in shares if shares[name] <= (1 + _WORSE) * best), key=shares.__getitem__)
    own = set.intersection(*(set(one.ids) for one in able))
    return good[:_MEMBERS], [name for name in plan.panel.ids if name in own]


def _grams(
    members: Sequence[Contender], plan: Plan, scales: Mapping[str, float]
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Products of the members' errors by stretch of time, (PARTS, K, K); by series, the stretch of each
    origin.
    """
    grams = np.zeros((PARTS, len(members), len(members)))
    counts = np.zeros(PARTS, dtype=int)
    parts: dict[str, np.ndarray] = {}
    for series, at, block, use in zip(
        plan.panel.series, plan.origins, plan.blocks, plan.validating(), strict=True
    ):
        span = max(1, block.validation - plan.horizon + 1 - block.train)
        parts[series.id] = np.clip((at - block.train) * PARTS // span, 0, PARTS - 1)
        made = np.stack([one.forecasts[series.id] for one in members])
        errors = (made - actuals(series, at, plan.horizon)) / scales[series.id]
        usable = use & np.isfinite(made).all(axis=(0, 2))
        for part in range(PARTS):
            rows = errors[:, usable & (parts[series.id] == part)].reshape(len(members), -1)
            rows = rows[:, np.isfinite(rows).all(axis=0)]
            grams[part] += rows @ rows.T
            counts[part] += int((usable & (parts[series.id] == part)).sum())
    return (grams if counts.min() >= _ORIGINS else None), parts
