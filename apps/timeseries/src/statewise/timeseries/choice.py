"""Which method forecasts which series, by the error on validation rows.

Series that the same methods can forecast are one group. A group takes the method with the least mean MASE,
or a simpler one that is as good but for a small tolerance; a series with enough windows takes another one
where that is clearly better on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from statewise.timeseries.config import AutoConfig

__all__ = ["Choice", "choose"]

_BASELINES = ("seasonal-naive", "naive")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The method of one series, and why."""

    series: str
    method: str
    mase: float
    """Of the method on the validation rows of the series; NaN where it was not judged."""
    baseline: str
    """The naive method that it is compared with; empty where nothing was judged."""
    baseline_mase: float
    reason: str
    """One clause: for the report."""

    @property
    def gain(self) -> float:
        """By how much its error is smaller than the baseline's, as a share: 0.2 is a fifth less."""
        return 1 - self.mase / self.baseline_mase if self.baseline_mase > 0 else 0.0


def choose(
    errors: Mapping[str, Mapping[str, float]],
    windows: Mapping[str, int],
    ranks: Mapping[str, int],
    config: AutoConfig,
) -> dict[str, Choice]:
    """Choose for every series.

    Args:
        errors: validation MASE, by method and series; NaN where nothing was observed.
        windows: judged windows of each series.
        ranks: order of simplicity of the methods.
        config: tolerance, margin and windows, and the method to take whatever the errors say.
    """
    methods = sorted(errors, key=lambda name: ranks[name])
    groups: dict[tuple[str, ...], list[str]] = {}
    for series in windows:
        groups.setdefault(tuple(name for name in methods if series in errors[name]), []).append(series)
    chosen = {}
    for able, members in groups.items():
        means = {name: _mean([errors[name][series] for series in members]) for name in able}
        common = _least(means, config.tolerance)
        for series in members:
            own = {name: errors[name][series] for name in able}
            method, reason = _for_series(own, common, len(members), windows[series], config)
            baseline = next((name for name in _BASELINES if name in own), "")
            chosen[series] = Choice(
                series=series,
                method=method,
                mase=own[method],
                baseline=baseline,
                baseline_mase=own.get(baseline, float("nan")),
                reason=reason,
            )
    return chosen


def _for_series(
    errors: Mapping[str, float], common: str, members: int, windows: int, config: AutoConfig
) -> tuple[str, str]:
    """The method of one series and the reason, given that of its group."""
    if config.choose is not None:
        if config.choose in errors:
            return config.choose, "as asked"
        return common, f"{config.choose} cannot forecast this series"
    if members == 1:
        return common, "least error on the validation rows"
    together = f"least error over {members} series"
    if windows < config.windows:
        return common, f"{together}; too few windows to choose for it alone"
    best = _least(errors, config.tolerance)
    if errors[best] < (1 - config.margin) * errors[common]:
        return best, f"better on this series than {common}, the best over {members} series"
    return common, together


def _least(errors: Mapping[str, float], tolerance: float) -> str:
    """The first method, in the order given, that is within the tolerance of the best."""
    known = [error for error in errors.values() if np.isfinite(error)]
    if not known:
        return next(iter(errors))
    return next(name for name, error in errors.items() if error <= (1 + tolerance) * min(known))


def _mean(errors: Sequence[float]) -> float:
    known = [error for error in errors if np.isfinite(error)]
    return float(np.mean(known)) if known else float("nan")
