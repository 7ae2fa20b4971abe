"""`forecast compare`: runs on the same data, window by window, with a paired test.

Diebold and Mariano, "Comparing Predictive Accuracy", 1995, with the small-sample correction of Harvey,
Leybourne and Newbold, 1997: the mean loss difference over its standard error, whose variance counts the
autocovariances up to the overlap of neighbouring windows. Errors of series at the same origin are averaged
first, since they are not independent.

Letters: n origins, h steps that windows overlap by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtr

from statewise.core.errors import ConfigError
from statewise.timeseries.errors import TestErrors, read_errors

__all__ = ["Comparison", "compare_runs", "diebold_mariano"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One run against the first."""

    run: str
    mase: float
    """Mean over origins of the mean over series."""
    reference: float
    """That of the first run, over the same windows."""
    p: float
    """Two-sided p-value of equal accuracy; NaN where there are too few windows, or no difference."""
    origins: int
    better: int
    """Series on which it errs less than the first run."""
    series: int

    @property
    def difference(self) -> float:
        """Relative to the first run: -0.1 is a tenth less error."""
        return self.mase / self.reference - 1 if self.reference > 0 else float("nan")


def compare_runs(paths: Sequence[str | Path]) -> list[Comparison]:
    """Compare runs with the first one.

    Raises:
        UserError: a run has no errors, or was fitted on other data or for another horizon.
    """
    if len(paths) < 2:
        raise ConfigError("a comparison needs two runs", expected="forecast compare RUN RUN ...")
    runs = [read_errors(path) for path in paths]
    for run in runs[1:]:
        _require_alike(runs[0], run)
    return [_compare(runs[0], run) for run in runs]


def diebold_mariano(differences: np.ndarray, overlap: int) -> float:
    """Two-sided p-value of a zero mean.

    Args:
        differences: of losses, in the order of time, (n,).
        overlap: lags whose autocovariance counts, h - 1 of windows one step apart.
    """
    n = len(differences)
    lags = min(overlap, n - 1)
    centred = differences - differences.mean()
    sums = [float(centred[lag:] @ centred[: n - lag]) / n for lag in range(lags + 1)]
    variance = (sums[0] + 2 * sum(sums[1:])) / n
    if variance <= 0:  # Bartlett's weights keep it positive
        falling = [1 - lag / (lags + 1) for lag in range(1, lags + 1)]
        variance = (sums[0] + 2 * float(np.dot(falling, sums[1:]))) / n
    if n < 8 or not variance > 1e-18:
        return float("nan")
    h = lags + 1
    correction = max(n + 1 - 2 * h + h * (h - 1) / n, 1.0) / n
    statistic = differences.mean() / np.sqrt(variance) * np.sqrt(correction)
    return float(2 * stdtr(n - 1, -abs(statistic)))


def _compare(first: TestErrors, other: TestErrors) -> Comparison:
    shared = [name for name in first.windows if name in other.windows]
    by_origin: dict[int, list[tuple[float, float]]] = {}
    better = 0
    for name in shared:
        pairs = {at: (e, other.windows[name][at]) for at, e in first.windows[name].items()
                 if at in other.windows[name]}  # fmt: skip
        better += sum(b for _, b in pairs.values()) < sum(a for a, _ in pairs.values())
        for at, pair in pairs.items():
            by_origin.setdefault(at, []).append(pair)
    at = sorted(by_origin)
    means = np.array([np.mean(by_origin[origin], axis=0) for origin in at]).reshape(-1, 2)
    stride = int(np.diff(at).min()) if len(at) > 1 else first.horizon
    overlap = -(-first.horizon // max(stride, 1)) - 1
    return Comparison(
        run=other.run,
        mase=float(means[:, 1].mean()) if len(at) else float("nan"),
        reference=float(means[:, 0].mean()) if len(at) else float("nan"),
        p=diebold_mariano(means[:, 1] - means[:, 0], overlap) if len(at) else float("nan"),
        origins=len(at),
        better=better,
        series=len(shared),
    )


def _require_alike(first: TestErrors, other: TestErrors) -> None:
    for what, one, two in (
        ("data", first.fingerprint, other.fingerprint),
        ("horizon", first.horizon, other.horizon),
        ("season", first.period, other.period),
    ):
        if one != two:
            raise ConfigError(
                f"was fitted with another {what}" if what != "data" else "was fitted on other data",
                where=other.run,
                seen=str(two),
                expected=f"{one}, as {first.run}",
                fix="compare runs of the same file, horizon and period",
            )
