"""Forecasts that nothing has to be learnt for: the rows every method has to beat.

All of them read the observed values only; an origin before the first observation gets zeros.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from statewise.core.config import require
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.history import fill_missing, first_observed, last_observed
from statewise.timeseries.panel import Panel

__all__ = ["Drift", "DriftConfig", "Naive", "NaiveConfig", "SeasonalNaive", "SeasonalNaiveConfig"]


@dataclass(frozen=True, kw_only=True)
class NaiveConfig:
    """Nothing to set."""


@dataclass(frozen=True, kw_only=True)
class SeasonalNaiveConfig:
    """Settings of the seasonal naive forecast."""

    period: int | None = None
    """Steps in the season, m; None: the main period of the data."""

    def __post_init__(self) -> None:
        require(self.period is None or self.period >= 1, "period", self.period, "1 or more steps")


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """Nothing to set."""


class _Rule(Forecaster):
    """A forecast by a fixed rule: all that `fit` keeps is the horizon and the season."""

    local = True

    def __init__(self, config: NaiveConfig | SeasonalNaiveConfig | DriftConfig) -> None:
        super().__init__(config)
        self.horizon = 0
        self.period = 1

    def minimum(self, context: Context) -> int:
        return 1

    def fit(self, panel: Panel, context: Context) -> None:
        self.horizon, self.period = context.horizon, context.period

    def predict(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray]:
        forecasts = []
        for series, at in zip(panel.series, origins, strict=True):
            values = series.values[: int(at.max(initial=0))]
            forecast = np.zeros((len(at), self.horizon))
            seen = at > first_observed(values)
            if seen.any():
                forecast[seen] = self.rule(values, at[seen])
            forecasts.append(forecast)
        return forecasts

    @abstractmethod
    def rule(self, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Forecasts (O, H) at origins that all have an observation before them."""

    def state(self) -> dict[str, np.ndarray]:
        return {"horizon": np.array(self.horizon), "period": np.array(self.period)}

    def restore(self, state: dict[str, np.ndarray], context: Context) -> None:
        self.horizon, self.period = int(state["horizon"]), int(state["period"])


class Naive(_Rule):
    """The last observed value, for every step: f_{t+h} = y_t."""

    def __init__(self, config: NaiveConfig) -> None:
        super().__init__(config)

    def memory(self) -> int | None:
        return 1

    def rule(self, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        last = values[last_observed(values)[origins - 1]]
        return np.repeat(last[:, None], self.horizon, axis=1)


class SeasonalNaive(_Rule):
    """The last value observed at the same place of the season: f_{t+h} = y_{t+h-m ceil(h/m)}.

    A place of the season that has not been observed yet takes the last value before it (`fill_missing`).
    """

    def __init__(self, config: SeasonalNaiveConfig) -> None:
        super().__init__(config)

    def memory(self) -> int | None:
        return self.period

    def fit(self, panel: Panel, context: Context) -> None:
        super().fit(panel, context)
        if self.config.period is not None:
            self.period = self.config.period

    def rule(self, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        filled = fill_missing(values, self.period)
        ahead = np.arange(self.horizon) % self.period - self.period
        index = origins[:, None] + ahead
        # less than one season of history: the last value stands in for what has not been seen
        index = np.where(index < 0, origins[:, None] - 1, index)
        return filled[index]


class Drift(_Rule):
    """The line through the first and the last observation: f_{t+h} = y_t + h (y_t - y_s) / (t - s)."""

    def __init__(self, config: DriftConfig) -> None:
        super().__init__(config)

    def rule(self, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        first = first_observed(values)
        last = last_observed(values)[origins - 1]
        slope = (values[last] - values[first]) / np.maximum(last - first, 1)
        # the steps count from the last observation, which may lie before the origin
        ahead = (origins - last)[:, None] + np.arange(self.horizon)
        return values[last][:, None] + slope[:, None] * ahead
