"""The errors of a run on its test rows, kept window by window so that runs can be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from statewise.core.errors import CheckpointError
from statewise.core.train import Run
from statewise.timeseries.auto import AutoResult
from statewise.timeseries.backtest import actuals
from statewise.timeseries.metrics import seasonal_scale

__all__ = ["TestErrors", "keep_errors", "read_errors"]

FILE = "errors.json"


@dataclass(frozen=True, kw_only=True)
class TestErrors:
    """What a run's choice missed by on its test rows."""

    __test__ = False  # not one of pytest's

    run: str
    fingerprint: str
    """Of the data."""
    horizon: int
    period: int
    windows: dict[str, dict[int, float]]
    """By series, the mean absolute scaled error of the window from each origin."""


def keep_errors(run: Run, result: AutoResult, fingerprint: str, period: int) -> None:
    """Write the errors of the chosen methods into the run; nothing where no series was judged."""
    plan, windows = result.plan, {}
    for series, at, block, use in zip(
        plan.panel.series, plan.origins, plan.blocks, plan.testing(), strict=True
    ):
        made = result.forecasts.get(series.id)
        if made is None:
            continue
        scale = seasonal_scale(series.values[: block.train], period)
        misses = np.abs(actuals(series, at[use], plan.horizon) - made[use]) / scale
        known = np.isfinite(misses).any(axis=1)
        means = np.nanmean(misses[known], axis=1)
        windows[series.id] = dict(zip(at[use][known].tolist(), np.round(means, 8).tolist(), strict=True))
    facts = {"fingerprint": fingerprint, "horizon": plan.horizon, "period": period, "windows": windows}
    run.write_text(FILE, json.dumps(facts) + "\n")


def read_errors(path: str | Path) -> TestErrors:
    """The errors that a run has kept.

    Raises:
        CheckpointError: there are none.
    """
    try:
        facts: dict[str, Any] = json.loads((Path(path) / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(
            "holds no errors to compare",
            where=str(Path(path) / FILE),
            expected="a run that `forecast fit` has finished",
            fix="fit it again",
        ) from None
    windows = {name: {int(at): e for at, e in one.items()} for name, one in facts.pop("windows").items()}
    return TestErrors(run=str(path), windows=windows, **facts)
