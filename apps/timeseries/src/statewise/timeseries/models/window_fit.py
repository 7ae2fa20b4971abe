"""Fit a linear map of windows: choose its lookback and its regularisation on held-out rows, then solve on
all rows.

Letters: L steps of a series or lookback, H horizon, M = L + H, K features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from statewise.timeseries.models.moments import WindowMoments, window_moments
from statewise.timeseries.models.ridge import STRENGTHS, Design, held_out_errors, solve

__all__ = ["HELD_OUT", "Choice", "Rows", "WindowMap", "choose", "fit_map"]

HELD_OUT = 0.25
"""Share of the rows, the last ones, that lookback and strength are chosen on."""

_ENOUGH = 8  # windows on either side, without which there is nothing to choose by
_DEFAULT_STRENGTH = 10.0  # windows


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A series as the fit sees it."""

    values: np.ndarray
    """Without gaps and in units of the series, (L,)."""
    observed: np.ndarray
    """Which of them were observed, (L,) bool."""

    @property
    def split(self) -> int:
        """The first row held out."""
        return len(self.values) - int(HELD_OUT * len(self.values))

    def moments(self, lookback: int, horizon: int, first: int, last: int) -> WindowMoments:
        """Moments of the windows whose targets lie in rows `first` .. `last`-1.

        Windows of which less than half of the inputs or of the targets was observed do not count.
        """
        length = lookback + horizon
        starts = last - length + 1
        if starts <= 0:
            return WindowMoments.none(length)
        seen = np.concatenate(([0], np.cumsum(self.observed[:last])))
        middle = seen[lookback : lookback + starts]
        use = (2 * (middle - seen[:starts]) >= lookback) & (2 * (seen[length:] - middle) >= horizon)
        use &= np.arange(starts) + lookback >= first
        return window_moments(self.values[:last], use, length)


@dataclass(frozen=True, kw_only=True)
class WindowMap:
    """The form of a map: which windows it sees and what it may do with them."""

    horizon: int
    """Steps ahead, H."""
    anchored: bool
    """Whether everything is relative to the last value of the window."""
    features: Callable[[int], np.ndarray]
    """A (K, L) for a lookback L: what the penalty treats alike."""

    def design(self, lookback: int, longest: int) -> Design:
        """Features and targets of a window of `longest` + H values; the map sees the last `lookback`."""
        matrix = self.features(lookback)
        features = np.zeros((len(matrix), longest + self.horizon))
        features[:, longest - lookback : longest] = matrix
        targets = np.zeros((self.horizon, longest + self.horizon))
        targets[:, longest:] = np.eye(self.horizon)
        if self.anchored:
            targets[:, longest - 1] = -1.0
        return Design(features=features, targets=targets)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The outcome of `choose`."""

    lookback: int
    strength: float
    error: float
    """Mean squared error on the rows held out; infinite where there was nothing to choose by."""


def choose(
    rows: Sequence[Rows], form: WindowMap, lookbacks: Sequence[int], strengths: Sequence[float] = STRENGTHS
) -> Choice:
    """The lookback and strength with the least squared error on the last quarter of the rows.

    Every lookback is judged on the same windows. With too few of them the shortest lookback is taken, and a
    strength that lets ten windows outweigh the penalty.
    """
    longest = max(lookbacks)
    train, held_out = WindowMoments.none(longest + form.horizon), WindowMoments.none(longest + form.horizon)
    for row in rows:
        train += row.moments(longest, form.horizon, 0, row.split)
        held_out += row.moments(longest, form.horizon, row.split, len(row.values))
    if min(train.count, held_out.count) < _ENOUGH:
        strength = strengths[0] if len(strengths) == 1 else _DEFAULT_STRENGTH
        return Choice(lookback=min(lookbacks), strength=strength, error=np.inf)
    best = Choice(lookback=longest, strength=_DEFAULT_STRENGTH, error=np.inf)
    for lookback in lookbacks:
        errors = held_out_errors(train, held_out, form.design(lookback, longest), strengths)
        least = int(np.argmin(errors))
        if errors[least] < best.error:
            best = Choice(lookback=lookback, strength=strengths[least], error=float(errors[least]))
    return best


def fit_map(
    rows: Sequence[Rows], form: WindowMap, choice: Choice, *, held_out: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The map of the chosen form on all rows: weights (L, H) of the window and bias (H,).

    Args:
        rows: the series.
        form: of the map.
        choice: its lookback and strength.
        held_out: leave the last quarter of the rows out.
    """
    moments = WindowMoments.none(choice.lookback + form.horizon)
    for row in rows:
        last = row.split if held_out else len(row.values)
        moments += row.moments(choice.lookback, form.horizon, 0, last)
    weights, bias = solve(moments, form.design(choice.lookback, choice.lookback), choice.strength)
    return form.features(choice.lookback).T @ weights, bias
