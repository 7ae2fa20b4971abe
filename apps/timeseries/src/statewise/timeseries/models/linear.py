"""What the linear methods share: a window of the past and a linear map of it, solved by ridge regression.

With the window x of the last L values, its anchor c and the scale s of the series,

    f = c + s (A ((x - c) / s) W + b),

where A is fixed by the method and (W, b) are fitted once for all series, or for each alone. All that the
fit needs of the data are window moments, so that its cost hardly depends on the length of the series.

Covariates enter as y = u B + e with the map working on e (`regression`), where that lowers the held-out
error.

Letters: S series, L lookback, H horizon, K features, O origins, C covariates, G maps (the first is for all
series).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from statewise.core.config import require
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.history import fill_missing, first_observed, windows
from statewise.timeseries.models.regression import effects, regressors
from statewise.timeseries.models.ridge import STRENGTHS
from statewise.timeseries.models.window_fit import Choice, Rows, WindowMap, choose, fit_map
from statewise.timeseries.panel import Panel, Series

__all__ = ["LinearConfig", "WindowLinear"]

_SEASONS = (1, 2, 4, 7, 14)  # lookbacks to choose from, in seasons
_LONGEST = 336  # steps; the longest lookback to choose, unless two seasons are longer
_SHORTEST = 32  # steps that the choice reaches where the season is short
_LEAST = 4  # steps; no lookback to choose is shorter
_CHUNK = 4096  # origins whose windows are in memory at a time


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Settings of a linear method."""

    lookback: int | None = None
    """Steps of the past it sees, L; None: chosen among 1, 2, 4, 7 and 14 seasons, at most 336 steps."""
    strength: float | None = None
    """Ridge penalty, in windows; None: chosen between 0.01 and 1,000,000."""
    individual: bool = False
    """A map for each series instead of one for all."""
    covariates: bool = True
    """Use covariates, if there are any and they help."""

    def __post_init__(self) -> None:
        require(self.lookback is None or self.lookback >= 2, "lookback", self.lookback, "2 or more steps")
        require(self.strength is None or self.strength > 0, "strength", self.strength, "a positive number")


class WindowLinear(Forecaster):
    """A linear map of the window before the origin."""

    anchored: ClassVar[bool]
    """Whether the anchor is the last value of the window; else it is the mean of the series in the fit."""

    config: LinearConfig

    def __init__(self, config: LinearConfig) -> None:
        super().__init__(config)
        self.horizon, self.period = 0, 1
        self.places: dict[str, int] = {}
        """Series of the fit, in its order."""
        self.scaling = np.zeros((0, 2))
        """Mean and deviation of each series in the fit, (S, 2)."""
        self.maps, self.biases = np.zeros((1, 0, 0)), np.zeros((1, 0))
        """(G, L, H) and (G, H)."""
        self.units = np.zeros((2, 0))
        """Mean and deviation of each covariate in the fit, (2, C)."""
        self.effects = np.zeros((1, 0))
        """B of an unknown series, then of each series of the fit, (1+S, C); zeros where it does not help."""

    @abstractmethod
    def features(self, lookback: int) -> np.ndarray:
        """A, (K, L): what the ridge penalty treats alike."""

    def minimum(self, context: Context) -> int:
        return context.horizon + (self.config.lookback or 2 * _LEAST)

    def memory(self) -> int | None:
        return self.maps.shape[1]

    def fit(self, panel: Panel, context: Context) -> None:
        self.horizon, self.period = context.horizon, context.period
        self.places = {series.id: place for place, series in enumerate(panel.series)}
        self.scaling = np.array([_scaling(series.values) for series in panel.series]).reshape(-1, 2)
        rows = [
            self._rows(series, scaling) for series, scaling in zip(panel.series, self.scaling, strict=True)
        ]
        form = WindowMap(horizon=self.horizon, anchored=self.anchored, features=self.features)
        lookbacks = self._lookbacks([len(series) for series in panel.series])
        strengths = STRENGTHS if self.config.strength is None else (self.config.strength,)
        choice = choose(rows, form, lookbacks, strengths)
        rows, choice = self._regress(panel, rows, form, choice, strengths)
        groups = [rows, *([row] for row in rows if self.config.individual)]
        # maps of single series share the lookback, so that they fit in one array
        choices = [choice] + [choose(group, form, [choice.lookback], strengths) for group in groups[1:]]
        fitted = [fit_map(group, form, one) for group, one in zip(groups, choices, strict=True)]
        self.maps, self.biases = (np.stack(part) for part in zip(*fitted, strict=True))

    def predict(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray]:
        forecasts = []
        for series, at in zip(panel.series, origins, strict=True):
            forecast = np.zeros((len(at), self.horizon))
            values = series.values[: int(at.max(initial=0))]
            seen = np.flatnonzero(at > first_observed(values))
            for start in range(0, len(seen), _CHUNK):
                part = seen[start : start + _CHUNK]
                forecast[part] = self._predict(series, values, at[part])
            forecasts.append(forecast)
        return forecasts

    def state(self) -> dict[str, np.ndarray]:
        return {
            "horizon": np.array(self.horizon),
            "period": np.array(self.period),
            "names": np.frombuffer("\0".join(self.places).encode(), dtype=np.uint8),
            "scaling": self.scaling,
            "maps": self.maps,
            "biases": self.biases,
            "units": self.units,
            "effects": self.effects,
        }

    def restore(self, state: dict[str, np.ndarray], context: Context) -> None:
        self.horizon, self.period = int(state["horizon"]), int(state["period"])
        names = state["names"].tobytes().decode().split("\0")
        self.places = {name: place for place, name in enumerate(names[: len(state["scaling"])])}
        self.scaling, self.units, self.effects = state["scaling"], state["units"], state["effects"]
        self.maps, self.biases = state["maps"], state["biases"]

    def _lookbacks(self, lengths: Sequence[int]) -> list[int]:
        """The lookbacks to choose from, ascending; none is over half the room in a typical series."""
        if self.config.lookback is not None:
            return [self.config.lookback]
        room = max((int(np.median(lengths)) - self.horizon) // 2, _LEAST)
        longest = max(2 * self.period, min(_SEASONS[-1] * self.period, _LONGEST), _SHORTEST)
        lookbacks = {n * self.period for n in _SEASONS} | {_SHORTEST, room}
        return sorted(n for n in lookbacks if _LEAST <= n <= min(longest, room))

    def _rows(self, series: Series, scaling: np.ndarray) -> Rows:
        values = (fill_missing(series.values, self.period) - scaling[0]) / scaling[1]
        return Rows(values=values, observed=np.isfinite(series.values))

    def _regress(
        self, panel: Panel, rows: list[Rows], form: WindowMap, choice: Choice, strengths: Sequence[float]
    ) -> tuple[list[Rows], Choice]:
        """Fit the effects of covariates; the rows less them, and a choice on those, where that is better."""
        self.units, self.effects = _units(panel), np.zeros((1 + len(rows), len(panel.covariate_names)))
        ahead = panel.known_ahead
        if not self.config.covariates or not ahead.any():
            return rows, choice
        # the future of the others is not known: they get no effect
        inputs = [regressors(series, *self.units) * ahead for series in panel.series]
        early = self._effects(rows, inputs, form, choice, held_out=True)
        found = choose(_less(rows, inputs, early), form, [choice.lookback], strengths)
        if not found.error < choice.error:
            return rows, choice
        every = self._effects(rows, inputs, form, found, held_out=False)
        self.effects = np.concatenate([every.mean(axis=0, keepdims=True), every])
        return _less(rows, inputs, every), found

    def _effects(
        self, rows: list[Rows], inputs: list[np.ndarray], form: WindowMap, choice: Choice, *, held_out: bool
    ) -> np.ndarray:
        """B of each series, (S, C), whose errors the map of one step ahead filters."""
        one_step = fit_map(rows, form, choice, held_out=held_out)[0][:, 0]
        if self.anchored:
            one_step = one_step + np.eye(len(one_step))[-1]
        lengths = [row.split if held_out else len(row.values) for row in rows]
        return np.stack(
            [
                effects(row.values[:n], u[:n], row.observed[:n], one_step)
                for row, u, n in zip(rows, inputs, lengths, strict=True)
            ]
        )

    def _predict(self, series: Series, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Forecasts (O, H) at origins that all have an observation before them."""
        place = self.places.get(series.id)
        mean, deviation = _running_scaling(values, origins) if place is None else self.scaling[place][:, None]
        lookback = self.maps.shape[1]
        x = windows(fill_missing(values, self.period), origins, lookback)
        x = (x - mean[:, None]) / deviation[:, None]
        effect = self._effect(series, 0 if place is None else 1 + place, origins)
        x = x - windows(effect, origins, lookback)
        anchor = x[:, -1:] if self.anchored else np.zeros((1, 1))
        group = 1 + place if place is not None and len(self.maps) > 1 else 0
        forecast = anchor + (x - anchor) @ self.maps[group] + self.biases[group]
        forecast += effect[origins[:, None] + np.arange(self.horizon)]
        return forecast * deviation[:, None] + mean[:, None]

    def _effect(self, series: Series, row: int, origins: np.ndarray) -> np.ndarray:
        """What the covariates add to each step up to the last one forecast; unknown future steps repeat."""
        steps = int(origins.max()) + self.horizon
        if series.covariates is None or not self.effects[row].any():
            return np.zeros(steps)
        effect = regressors(series, *self.units)[:steps] @ self.effects[row]
        return np.pad(effect, (0, steps - len(effect)), mode="edge")


def _scaling(values: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of the observed values; deviation 1 where they do not vary."""
    observed = values[np.isfinite(values)]
    if not len(observed):
        return 0.0, 1.0
    mean, deviation = float(observed.mean()), float(observed.std())
    return mean, deviation if deviation > 1e-12 * max(1.0, abs(mean)) else 1.0


def _running_scaling(values: np.ndarray, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation, (O,) each, of what was observed before each origin."""
    pairs = np.array([_scaling(values[:origin]) for origin in origins])
    return pairs[:, 0], pairs[:, 1]


def _units(panel: Panel) -> np.ndarray:
    """Mean and deviation, (2, C), of each covariate over the histories."""
    columns = [np.empty(0)] * len(panel.covariate_names)
    for series in panel.series:
        if series.covariates is not None:
            known = series.covariates[: len(series)]
            columns = [np.concatenate(pair) for pair in zip(columns, known.T, strict=True)]
    return np.array([_scaling(column) for column in columns]).reshape(-1, 2).T


def _less(rows: Sequence[Rows], inputs: Sequence[np.ndarray], found: np.ndarray) -> list[Rows]:
    """The rows without the effects found."""
    return [
        replace(row, values=row.values - u[: len(row.values)] @ b)
        for row, u, b in zip(rows, inputs, found, strict=True)
    ]
