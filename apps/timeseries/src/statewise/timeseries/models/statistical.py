"""Theta and exponential smoothing, by the library statsforecast; fitted anew to the history before every
origin.

They learn nothing across series and little from far back, so a long history is cut to its last seasons: a fit
then takes some 20 ms (theta) or 200 ms (ets) however long the file. Importing the library costs several
seconds, which is why it happens at the first forecast and not with this module.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from statewise.core.config import require
from statewise.core.errors import StatewiseError
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.history import fill_missing, first_observed
from statewise.timeseries.panel import Panel

__all__ = ["ETS", "ETSConfig", "Theta", "ThetaConfig"]

_LEAST = 10  # observations; with fewer the library's parameters outnumber the evidence


@dataclass(frozen=True, kw_only=True)
class ThetaConfig:
    """Settings of the theta method."""

    history: int | None = None
    """Steps it looks back, at most; None: ten seasons within 200 .. 500 steps, at least three seasons."""

    def __post_init__(self) -> None:
        _require_history(self.history)


@dataclass(frozen=True, kw_only=True)
class ETSConfig:
    """Settings of exponential smoothing."""

    history: int | None = None
    """Steps it looks back, at most; None: ten seasons within 200 .. 500 steps, at least three seasons."""
    form: str = "ZZZ"
    """Error, trend and season: A(dditive), M(ultiplicative), N(one) or Z, which is chosen by AICc."""

    def __post_init__(self) -> None:
        _require_history(self.history)
        legal = len(self.form) == 3 and self.form[0] in "AMZ" and set(self.form[1:]) <= set("AMNZ")
        require(legal, "form", self.form, "three letters, such as ZZZ or AAN")


class _Refitted(Forecaster):
    """A method of the library: `fit` keeps the circumstances, `predict` fits at every origin."""

    local = True

    config: ThetaConfig | ETSConfig

    def __init__(self, config: ThetaConfig | ETSConfig) -> None:
        super().__init__(config)
        self.horizon, self.period = 0, 1

    def minimum(self, context: Context) -> int:
        return _LEAST

    def memory(self) -> int | None:
        return self._reach()

    def fit(self, panel: Panel, context: Context) -> None:
        self.horizon, self.period = context.horizon, context.period

    def predict(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [
            np.stack([self._forecast(series.values[:origin]) for origin in at])
            if len(at)
            else np.zeros((0, self.horizon))
            for series, at in zip(panel.series, origins, strict=True)
        ]

    def state(self) -> dict[str, np.ndarray]:
        return {"horizon": np.array(self.horizon), "period": np.array(self.period)}

    def restore(self, state: dict[str, np.ndarray], context: Context) -> None:
        self.horizon, self.period = int(state["horizon"]), int(state["period"])

    @abstractmethod
    def method(self) -> Any:
        """The library's method, for seasons of `self.period` steps."""

    def _reach(self) -> int:
        """Steps it looks back, at most."""
        return self.config.history or max(200, min(10 * self.period, 500), 3 * self.period)

    def _forecast(self, history: np.ndarray) -> np.ndarray:
        """The H steps after a history; its last value where it is constant or has less than ten steps."""
        values = fill_missing(history[first_observed(history) :], self.period)[-self._reach() :]
        if len(values) < _LEAST or np.ptp(values) == 0:
            return np.full(self.horizon, values[-1] if len(values) else 0.0)
        # the library's thresholds are absolute, so that it is given values around 1
        unit = float(np.mean(np.abs(values)))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            forecast = unit * self.method().forecast(values / unit, self.horizon)["mean"]
        if not np.isfinite(forecast).all():
            raise StatewiseError(f"{type(self).__name__} gave a forecast that is not finite")
        return forecast


class Theta(_Refitted):
    """The best of four theta models by mean squared error, seasonally adjusted where a test asks for it.

    Fiorucci, Pellegrini, Louzada, Petropoulos & Koehler, "Models for optimising the theta method and their
    relationship to state space models", International Journal of Forecasting 2016.
    """

    def __init__(self, config: ThetaConfig) -> None:
        super().__init__(config)

    def method(self) -> Any:
        from statsforecast.models import AutoTheta

        return AutoTheta(season_length=self.period)


class ETS(_Refitted):
    """Exponential smoothing in state-space form, error, trend and season chosen by AICc.

    Hyndman, Koehler, Snyder & Grose, "A state space framework for automatic forecasting using exponential
    smoothing methods", International Journal of Forecasting 2002. Its cost grows with the season: seconds
    for a fit with one of 168 steps.
    """

    def __init__(self, config: ETSConfig) -> None:
        super().__init__(config)
        self.form = config.form

    def method(self) -> Any:
        from statsforecast.models import AutoETS

        return AutoETS(season_length=self.period, model=self.form)


def _require_history(history: int | None) -> None:
    require(history is None or history >= _LEAST, "history", history, f"{_LEAST} or more steps")
