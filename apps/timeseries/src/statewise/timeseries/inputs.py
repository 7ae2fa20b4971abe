"""What a network sees of a series: scaled value, calendar, gaps and covariates, all known at the time.

Letters: L lookback, H horizon, n steps of a series, C inputs per step (the value first), K covariates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from statewise.core.errors import DataError
from statewise.timeseries import calendar
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.history import fill_missing
from statewise.timeseries.panel import Panel, Series

__all__ = ["Inputs"]

_FAR = 1e9  # deviations from the mean; what is further away would leave float32 when squared


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The recipe by which series become network inputs; its numbers come from training rows alone."""

    lookback: int
    """Steps a network sees, L."""
    horizon: int
    """Steps it forecasts, H."""
    period: int
    """Steps in the season from which a gap is filled."""
    frequency: Frequency
    scales: dict[str, tuple[float, float]]
    """Mean and standard deviation of each series on its training rows, by id."""
    covariates: np.ndarray
    """Mean and standard deviation of each covariate on the training rows, (2, K)."""
    gaps: bool
    """Whether training rows had missing values: whether a step was observed is then an input of its own."""
    calendar: bool = True
    """Whether the calendar is given."""
    gap: float | None = None
    """Median time between rows in steps, where a network reads each at its own time; None: it does not."""
    ahead: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Which covariates are known ahead, (K,) bool; of the others only what lies before an origin is read."""

    @classmethod
    def fit(
        cls,
        panel: Panel,
        stops: Sequence[int],
        context: Context,
        lookback: int,
        *,
        calendar: bool = True,
        timed: bool = False,
    ) -> Inputs:
        """Take the numbers from the first `stops[s]` steps of each series.

        Args:
            panel: the series.
            stops: per series, where its training rows end.
            context: horizon, season and frequency.
            lookback: steps, or rows, that the network sees.
            calendar: whether it sees the calendar.
            timed: whether it reads rows at their own times, where these are irregular.
        """
        pairs = list(zip(panel.series, stops, strict=True))
        width = len(panel.covariate_names)
        rows = [_covariates(series, width)[:stop] for series, stop in pairs]
        gap = _median_gap(panel, stops) if timed and panel.irregular else None
        pooled = [_mean_and_scale(column) for column in np.concatenate(rows).T] if width else []
        return cls(
            lookback=lookback,
            horizon=context.horizon,
            period=context.period,
            frequency=context.frequency,
            scales={series.id: _mean_and_scale(series.values[:stop]) for series, stop in pairs},
            covariates=np.array(pooled).reshape(-1, 2).T,
            # rows that are read at their own times leave none
            gaps=gap is None and not all(np.isfinite(series.values[:stop]).all() for series, stop in pairs),
            calendar=calendar,
            gap=gap,
            ahead=panel.known_ahead,
        )

    @property
    def shifts(self) -> tuple[int, ...]:
        """How many steps ahead covariates are read: together they reach all H steps and none beyond."""
        if not self.ahead.any():
            return ()
        return (0, *range(self.horizon, 0, -self.lookback))

    @property
    def features(self) -> int:
        """Inputs per step beside the value, C - 1."""
        known = len(calendar.names(self.frequency)) * self.calendar + self.gaps
        return known + len(self.shifts) * int(self.ahead.sum()) + int((~self.ahead).sum())

    def values(self, series: Series) -> np.ndarray:
        """The series without gaps, (n,) float64 in its own units; nothing in it depends on a later step."""
        return fill_missing(series.values, self.period)

    @staticmethod
    def scaled(values: np.ndarray, mean: np.ndarray | float, scale: np.ndarray | float) -> np.ndarray:
        """Values as a network sees them, float32."""
        return np.clip((values - mean) / scale, -_FAR, _FAR).astype(np.float32)

    def features_of(self, series: Series, pad: int) -> np.ndarray:
        """The other inputs of each step, with `pad` steps before the series began, (pad+n, C-1) float32."""
        steps = np.arange(-pad, len(series))
        columns = [np.zeros((pad + len(series), 0), dtype=np.float32)]
        if self.calendar:
            columns.append(_calendar(self.frequency, series.times[0], pad, len(series)))
        if self.gaps:
            observed = np.isfinite(series.values).astype(np.float32)
            columns.append(np.concatenate([np.zeros(pad, np.float32), observed])[:, None])
        if len(self.ahead):
            every = self._scaled_covariates(series)
            known, past = every[:, self.ahead], every[:, ~self.ahead]
            columns += [known[np.clip(steps + shift, 0, len(known) - 1)] for shift in self.shifts]
            columns.append(past[np.clip(steps, 0, len(past) - 1)])
        return np.concatenate(columns, axis=1)

    def _scaled_covariates(self, series: Series) -> np.ndarray:
        """Covariates without gaps over history and known future, (n+F, K) float32; a gap repeats the past."""
        mean, scale = self.covariates
        raw = _covariates(series, len(mean))
        filled = np.stack([fill_missing(column) for column in raw.T], axis=1)
        return ((filled - mean) / scale).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """The numbers as named arrays; ids are the bytes of a JSON list."""
        ids = json.dumps(list(self.scales)).encode()
        return {
            "inputs.shape": np.array([self.lookback, self.horizon, self.period], dtype=np.int64),
            "inputs.given": np.array([self.gaps, self.calendar], dtype=np.int64),
            "inputs.ids": np.frombuffer(ids, dtype=np.uint8).copy(),
            "inputs.scales": np.array(list(self.scales.values())).reshape(-1, 2),
            "inputs.covariates": self.covariates,
            "inputs.ahead": self.ahead.astype(np.int64),
        } | ({} if self.gap is None else {"inputs.gap": np.array([self.gap])})

    @classmethod
    def restore(cls, state: dict[str, np.ndarray], frequency: Frequency) -> Inputs:
        """What `state` describes."""
        lookback, horizon, period = state["inputs.shape"].tolist()
        gaps, given = state["inputs.given"].tolist()
        ids = json.loads(state["inputs.ids"].tobytes())
        pairs = ((mean, scale) for mean, scale in state["inputs.scales"].tolist())
        return cls(
            lookback=lookback,
            horizon=horizon,
            period=period,
            frequency=frequency,
            scales=dict(zip(ids, pairs, strict=True)),
            covariates=state["inputs.covariates"],
            ahead=state["inputs.ahead"].astype(bool),
            gaps=bool(gaps),
            calendar=bool(given),
            gap=float(state["inputs.gap"][0]) if "inputs.gap" in state else None,
        )


@lru_cache(maxsize=2)
def _calendar(frequency: Frequency, first: np.datetime64 | int, pad: int, length: int) -> np.ndarray:
    """Calendar features of `length` steps from `first` on and of `pad` before; many series share them."""
    features = calendar.features(frequency.at(first, np.arange(-pad, length)), frequency)
    features.flags.writeable = False
    return features


def _covariates(series: Series, count: int) -> np.ndarray:
    seen = 0 if series.covariates is None else series.covariates.shape[1]
    if seen < count:
        raise DataError(
            "covariates are missing that the model was fitted with",
            where=f"series '{series.id}'",
            seen=f"{seen} covariate columns",
            expected=f"{count}",
            fix="give the file the same covariate columns as at the fit",
        )
    return np.zeros((len(series), 0)) if series.covariates is None else series.covariates[:, :count]


def _median_gap(panel: Panel, stops: Sequence[int]) -> float:
    """Of the times between neighbouring rows of a series, in its first steps."""
    rows = [series.head(stop).rows().times for series, stop in zip(panel.series, stops, strict=True)]
    gaps = np.concatenate([np.diff(times) for times in rows])
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if len(gaps) else 1.0


def _mean_and_scale(values: np.ndarray) -> tuple[float, float]:
    """Mean and population standard deviation of what was observed; 1 in place of a deviation that is none."""
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    mean, scale = float(values.mean()), float(values.std())
    return mean, scale if scale > 1e-9 * abs(mean) else 1.0
