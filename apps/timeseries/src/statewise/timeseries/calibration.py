"""From forecasts at past origins to half-widths: for those origins, for the next forecast, for series never
seen.

Letters: S series, O origins, H horizon, Q levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from statewise.timeseries.backtest import Plan, actuals
from statewise.timeseries.config import ConformalConfig
from statewise.timeseries.conformal import extents, half_widths, track
from statewise.timeseries.history import last_observed

__all__ = ["Calibration", "calibrate", "from_history"]

_ROWS = 1000  # of a history that cannot be judged otherwise, at most


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Half-widths of intervals about the forecasts of one method, or of one method per series."""

    past: dict[str, np.ndarray]
    """By series, those in force at each origin of the plan, (O, Q, H); NaN where nothing was known yet."""
    next: dict[str, np.ndarray]
    """By series, those for a forecast from its end, (Q, H)."""
    shared: np.ndarray
    """Those of a series without a past of its own, in units of its scale, (Q, H)."""
    spreads: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By series, what the half-widths are multiplied by at each origin, (O, 2, Q, H), where that is known."""

    def extents(self, series: str) -> np.ndarray:
        """How far the bounds lay below and above each forecast of a series, (O, 2, Q, H)."""
        return extents(self.past[series], self.spreads.get(series))


def calibrate(
    plan: Plan,
    forecasts: Mapping[str, np.ndarray],
    scales: Mapping[str, float],
    config: ConformalConfig,
    spreads: Mapping[str, np.ndarray] | None = None,
) -> Calibration:
    """Follow the residuals of each series through the plan's origins.

    Args:
        plan: the origins.
        forecasts: by series, (O, H); NaN where none was made. Series that are missing are left out.
        scales: size of each series' ordinary error.
        config: levels and adaptation.
        spreads: by series, (O, 2, Q, H), for the methods that say how far their bounds lie.
    """
    residuals = {
        series.id: actuals(series, at, plan.horizon) - forecasts[series.id]
        for series, at in zip(plan.panel.series, plan.origins, strict=True)
        if series.id in forecasts
    }
    if not spreads:
        return _calibrated(plan, residuals, scales, config)
    parts = []
    for place, level in enumerate(config.levels):
        divided = {name: _divided(one, spreads.get(name), place) for name, one in residuals.items()}
        parts.append(_calibrated(plan, divided, scales, replace(config, levels=(level,))))
    return Calibration(
        past={name: np.concatenate([part.past[name] for part in parts], axis=1) for name in residuals},
        next={name: np.concatenate([part.next[name] for part in parts]) for name in residuals},
        shared=np.concatenate([part.shared for part in parts]),
        spreads=spreads,
    )


def _divided(residuals: np.ndarray, spreads: np.ndarray | None, level: int) -> np.ndarray:
    """Residuals (O, H) over the distance of the bound on their side."""
    if spreads is None:
        return residuals
    return residuals / np.where(residuals < 0, spreads[:, 0, level], spreads[:, 1, level])


def _calibrated(
    plan: Plan, residuals: Mapping[str, np.ndarray], scales: Mapping[str, float], config: ConformalConfig
) -> Calibration:
    strides = {name: plan.strides[place] for place, name in enumerate(plan.panel.ids) if name in residuals}
    past: dict[str, np.ndarray] = {}
    upcoming: dict[str, np.ndarray] = {}
    for stride in sorted(set(strides.values())):
        names = [name for name, one in strides.items() if one == stride]
        # the ends of the series are the zero of a common clock
        rows = max(len(residuals[name]) for name in names)
        together = np.full((rows, len(names), plan.horizon), np.nan)
        for place, name in enumerate(names):
            together[rows - len(residuals[name]) :, place] = residuals[name]
        clock = -plan.horizon - stride * np.arange(rows)[::-1]
        widths = track(together, clock, 0, config, np.array([scales[name] for name in names]))
        for place, name in enumerate(names):
            past[name] = widths[rows - len(residuals[name]) : -1, :, place]
            upcoming[name] = widths[-1, :, place]
    scaled = [residual / scales[name] for name, residual in residuals.items()]
    every = np.concatenate(scaled) if scaled else np.full((1, plan.horizon), np.nan)
    shared = half_widths(every[:, None], config.levels, np.ones(1), min(strides.values(), default=1))[:, 0]
    return Calibration(past=past, next=upcoming, shared=shared)


def from_history(values: np.ndarray, horizon: int, config: ConformalConfig) -> np.ndarray:
    """Half-widths (Q, H) for repeating the last value, where there are too few rows for anything else.

    They come from repeating each value of the history. A single observation shows no spread: its size is
    taken.
    """
    values = values[-_ROWS:]
    last = values[np.maximum(last_observed(values), 0)]
    later = np.concatenate((values, np.full(horizon, np.nan)))
    ahead = np.arange(len(values))[:, None] + np.arange(1, horizon + 1)
    residuals = later[ahead] - last[:, None] if len(values) else np.full((1, horizon), np.nan)
    widths = half_widths(residuals[:, None], config.levels, np.ones(1), stride=1)[:, 0]
    size = abs(last[-1]) if len(values) and np.isfinite(last[-1]) else 0.0
    return np.where(np.isfinite(widths), widths, size)
