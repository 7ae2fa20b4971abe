"""Histories as methods see them: missing values filled from the past alone, cut into windows.

A fill that looks only backwards is the same for every forecast origin, so that one pass serves all of them
and nothing at or after an origin can reach a forecast.

Letters: L steps of a series, O origins, K steps of a window.
"""

from __future__ import annotations

import numpy as np

__all__ = ["fill_missing", "first_observed", "last_observed", "shortened", "windows"]


def fill_missing(values: np.ndarray, period: int = 1) -> np.ndarray:
    """The series without gaps, (L,), where step t depends on nothing after t.

    A missing value takes the last value observed at the same place of the season; before there is one, the
    last value observed at all. Values before the first observation take that first one (a method must not
    use them for origins that lie before it, see `first_observed`); a series without any observation becomes
    zeros.

    Args:
        values: (L,) with NaN where a value is missing.
        period: steps in the season; 1 repeats the last value.
    """
    observed = np.isfinite(values)
    if observed.all():
        return values.astype(np.float64)
    if not observed.any():
        return np.zeros(len(values))
    rows = -(-len(values) // period)
    padded = np.full(rows * period, np.nan)
    padded[: len(values)] = np.where(observed, values, np.nan)
    seasons = padded.reshape(rows, period)
    source = last_observed(seasons)
    filled = np.where(source >= 0, np.take_along_axis(seasons, np.maximum(source, 0), axis=0), np.nan)
    filled = filled.reshape(-1)[: len(values)]
    source = last_observed(filled)
    first = values[np.argmax(observed)]
    return np.where(source >= 0, filled[np.maximum(source, 0)], first)


def last_observed(values: np.ndarray) -> np.ndarray:
    """Index along the first axis of the last observation up to each step, itself included; -1 for none."""
    steps = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    return np.maximum.accumulate(np.where(np.isfinite(values), steps, -1), axis=0)


def first_observed(values: np.ndarray) -> int:
    """Index of the first observation; the length of the series when there is none."""
    observed = np.isfinite(values)
    return int(np.argmax(observed)) if observed.any() else len(values)


def windows(filled: np.ndarray, origins: np.ndarray, length: int) -> np.ndarray:
    """The `length` steps before each origin, (O, K); steps before the series began repeat its first value."""
    index = origins[:, None] + np.arange(-length, 0)
    return filled[np.maximum(index, 0)]


def shortened(values: np.ndarray, keep: int, period: int) -> np.ndarray:
    """The last `keep` steps and one season before them, such that filling them gives what filling all gave.

    The season in front is filled from what is dropped, so that a later gap finds the same value there. What
    was never observed stays missing.
    """
    start = len(values) - keep - period
    if start <= 0:
        return values
    short = values[start:].copy()
    first = first_observed(values)
    if first < len(values):
        places = np.arange(start, start + period) >= first
        short[:period][places] = fill_missing(values, period)[start : start + period][places]
    return short
