"""The main seasonal period of a series, found in its values; the calendar only says where to look.

For a period p the series is freed of everything slower by a centred moving average over p steps, and the
autocorrelation of the rest at lag p is the strength. It is compared with what a random walk or noise of
the same length reaches by chance, and with the lags half a period away, where a season correlates least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statewise.timeseries.frequency import Frequency
from statewise.timeseries.panel import Panel

__all__ = ["Season", "default_horizon", "find_period", "find_seasons", "main_period", "strength"]

_LONGEST = 50_000
"""Values looked at, counted from the end."""
_SERIES = 50
"""Series of a panel that are looked at."""


@dataclass(frozen=True)
class Season:
    """A season that a series shows."""

    period: int
    """Steps."""
    strength: float
    """Autocorrelation at the period without slower movements, up to 1."""


def strength(values: np.ndarray, period: int) -> tuple[float, float]:
    """Autocorrelation at `period` of the series minus its moving average, and the larger one half a
    period away.

    Args:
        values: (L,), NaN where missing.
        period: at least 2 steps.
    """
    known = ~np.isnan(values)
    rest = np.where(known, values - _moving_average(values, known, period), 0.0)
    between = [max(1, period // 2), period + period // 2]
    return _correlation(rest, known, period), max(_correlation(rest, known, lag) for lag in between)


def find_seasons(values: np.ndarray, frequency: Frequency) -> tuple[Season, ...]:
    """The seasons that a series shows, by ascending period; at least two and a half of each must be seen.

    Args:
        values: (L,), NaN where missing.
        frequency: its calendar suggests the periods; without a calendar all periods are tried.
    """
    values = values[-_LONGEST:]
    n = int((~np.isnan(values)).sum())
    if n < 6 or np.nanmax(values) == np.nanmin(values):
        return ()
    periods = frequency.periods or _peaks(values)
    found = []
    for period in periods:
        if period < 2 or n < 2.5 * period:
            continue
        at, between = strength(values, period)
        if at > _chance(n, period) and at > between + 0.1:
            found.append(Season(period, at))
    return tuple(found)


def find_period(values: np.ndarray, frequency: Frequency, longest: int | None = None) -> int:
    """The main period of a series; 1 when it shows none.

    The shortest season is the main one, unless a longer one (up to `longest`) is much stronger.
    """
    seasons = [s for s in find_seasons(values, frequency) if longest is None or s.period <= longest]
    return _main(seasons)


def main_period(panel: Panel, longest: int | None = None) -> int:
    """The period that most of a panel's strength speaks for, if a third of its series show it; or 1."""
    stride = max(1, len(panel) // _SERIES)
    votes: dict[int, list[float]] = {}
    looked = 0
    for series in panel.series[::stride]:
        seasons = [
            s for s in find_seasons(series.values, panel.frequency) if longest is None or s.period <= longest
        ]
        looked += 1
        main = _main(seasons)
        if main > 1:
            votes.setdefault(main, []).append(max(s.strength for s in seasons if s.period == main))
    best = max(votes, key=lambda period: (sum(votes[period]), -period), default=1)
    return best if best > 1 and len(votes[best]) >= looked / 3 else 1


def default_horizon(panel: Panel, period: int) -> int:
    """Steps to forecast unless the user says: one season, at most a fifth of a typical series, at least one.

    A season longer than the calendar's usual one (a year of days) would be more than anybody asks for:
    then, and without a season, it is the usual horizon of the frequency.
    """
    frequency = panel.frequency
    usual = max(frequency.default_period, frequency.default_horizon)
    one = period if period > 1 and (period <= usual or not frequency.periods) else frequency.default_horizon
    lengths = [len(series) for series in panel.series]
    return max(1, min(one, int(np.median(lengths)) // 5))


def _main(seasons: list[Season]) -> int:
    main = seasons[0] if seasons else Season(1, 0.0)
    for season in seasons[1:]:
        if season.strength > main.strength + 0.3:
            main = season
    return main.period


def _chance(n: int, period: int) -> float:
    """A strength that noise and random walks exceed in about one case of a hundred (by simulation)."""
    return max(0.1, 2.6 / np.sqrt(n), 0.95 / np.sqrt(n / period))


def _moving_average(values: np.ndarray, known: np.ndarray, period: int) -> np.ndarray:
    """Centred average of the known values over one period, (L,); an even one has half end weights."""
    return _window(np.where(known, values, 0.0), period) / np.maximum(
        _window(known.astype(float), period), 1e-9
    )


def _window(values: np.ndarray, period: int) -> np.ndarray:
    """Sum over the steps within half a period on either side, cut at the ends, (L,)."""
    n, half = len(values), period // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    steps = np.arange(n)
    wide = sums[np.minimum(steps + half + 1, n)] - sums[np.maximum(steps - half, 0)]
    if period % 2:
        return wide
    padded = np.concatenate([np.zeros(half), values, np.zeros(half)])
    return wide - 0.5 * (padded[:n] + padded[2 * half : 2 * half + n])


def _correlation(rest: np.ndarray, known: np.ndarray, lag: int) -> float:
    if lag >= len(rest):
        return -1.0
    both = known[lag:] & known[:-lag]
    later, earlier = rest[lag:] * both, rest[:-lag] * both
    norm = np.sqrt(float(later @ later) * float(earlier @ earlier))
    return float(later @ earlier) / norm if norm > 0 else 0.0


def _peaks(values: np.ndarray) -> tuple[int, ...]:
    """The first high peak of the autocorrelation of the detrended series, if there is one."""
    known = ~np.isnan(values)
    steps = np.arange(len(values))
    slope, level = np.polyfit(steps[known], values[known], 1)
    rest = np.where(known, values - slope * steps - level, 0.0)
    size = 1 << int(2 * len(rest) - 1).bit_length()
    sums = np.fft.irfft(np.abs(np.fft.rfft(rest, size)) ** 2, size)[: len(rest) // 2]
    pairs = np.fft.irfft(np.abs(np.fft.rfft(known.astype(float), size)) ** 2, size)[: len(rest) // 2]
    curve = sums / np.maximum(pairs, 1.0) / max(sums[0] / max(pairs[0], 1.0), 1e-300)
    below = np.flatnonzero(curve < 0)
    if not len(below):
        return ()
    inner = np.flatnonzero((curve[1:-1] >= curve[:-2]) & (curve[1:-1] > curve[2:])) + 1
    inner = inner[(inner > below[0]) & (curve[inner] > 0.3)]
    if not len(inner):
        return ()
    return (int(inner[curve[inner] >= 0.85 * curve[inner].max()][0]),)
