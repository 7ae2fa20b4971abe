"""Fitted methods, the one that forecasts each series, and the intervals about it: what a model directory
holds.

Letters: S series, H horizon, Q levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from statewise.core.config import config_class, from_dict, to_dict
from statewise.timeseries.calibration import from_history
from statewise.timeseries.config import ConformalConfig
from statewise.timeseries.conformal import extents
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.history import first_observed
from statewise.timeseries.metrics import seasonal_scale
from statewise.timeseries.models import MODELS
from statewise.timeseries.models.naive import Naive, NaiveConfig
from statewise.timeseries.panel import Panel, Series

__all__ = ["Forecast", "Points", "Portfolio"]

_FALLBACK = "naive"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The next H steps of one series."""

    series: str
    method: str
    """The method that made it."""
    times: np.ndarray
    """Stamps, (H,), like those of the series."""
    point: np.ndarray
    """(H,)"""
    lower: np.ndarray
    """(Q, H), falling with the level."""
    upper: np.ndarray
    """(Q, H), rising with the level."""
    note: str = ""
    """Why it is not made as planned; empty when it is."""


class Points(NamedTuple):
    """Point forecasts of one series."""

    method: str
    """The method that made them."""
    values: np.ndarray
    """(O, H)"""
    note: str
    """Why they are not made as planned; empty when they are."""
    spreads: np.ndarray | None = None
    """What half-widths are multiplied by, (O, 2, Q, H), where the method says that."""


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """Everything a prediction needs."""

    methods: dict[str, Forecaster]
    """Fitted, by name."""
    chosen: dict[str, str]
    """By series, the method that forecasts it."""
    default: str
    """The method for series never seen."""
    half: dict[str, np.ndarray]
    """By series, half-widths of its intervals, (Q, H)."""
    shared: np.ndarray
    """Half-widths for series without their own, in units of their scales, (Q, H)."""
    context: Context
    """Horizon, season and frequency."""
    conformal: ConformalConfig
    """Levels of the intervals."""

    def predict(self, panel: Panel) -> list[Forecast]:
        """Forecast every series of `panel` from its end, in its order.

        A series may hold more rows than at the fit, or be new. Where its method cannot work with it, its
        last value is repeated and the note says so.
        """
        ends = {series.id: np.array([len(series)]) for series in panel.series}
        made = self.points(panel, ends)
        return [self._forecast(panel, series, made[series.id]) for series in panel.series]

    def points(self, panel: Panel, origins: Mapping[str, np.ndarray]) -> dict[str, Points]:
        """Point forecasts of every series in `origins`, from each of its origins.

        Args:
            panel: the series, and those that they are read together with.
            origins: by series, (O,) ascending.
        """
        by_id = {series.id: series for series in panel.series}
        notes = {name: self._obstacle(by_id[name], by_id.keys()) for name in origins}
        users: dict[str, list[str]] = {}
        for name, note in notes.items():
            users.setdefault(_FALLBACK if note else self.chosen.get(name, self.default), []).append(name)
        made: dict[str, Points] = {}
        for method, ids in users.items():
            for name, (values, spreads) in self._made(method, panel, ids, origins).items():
                made[name] = Points(method, values, notes[name], spreads)
        lost = [name for name, points in made.items() if not np.isfinite(points.values).all()]
        for name, (values, _) in self._made(_FALLBACK, panel, lost, origins).items():
            note = f"the forecast of {made[name].method} was not finite: the last value is repeated"
            made[name] = Points(_FALLBACK, values, note)
        return made

    def state(self) -> dict[str, np.ndarray]:
        """All arrays by name: those of the methods, prefixed by their names, and the half-widths."""
        arrays = {
            f"{name}/{key}": array
            for name, method in self.methods.items()
            for key, array in method.state().items()
        }
        if self.half:
            arrays["half"] = np.stack(list(self.half.values()))
        return arrays | {"shared": self.shared}

    def description(self) -> dict[str, Any]:
        """What is not an array, as plain values for JSON."""
        return {
            "methods": {name: to_dict(method.config) for name, method in self.methods.items()},
            "chosen": self.chosen,
            "default": self.default,
            "calibrated": list(self.half),
            "conformal": to_dict(self.conformal),
        }

    @classmethod
    def restore(
        cls, description: Mapping[str, Any], state: Mapping[str, np.ndarray], context: Context
    ) -> Portfolio:
        """The portfolio that `description` and `state` came from.

        Raises:
            ConfigError: when the description is not one.
            UnknownNameError: when it names a method that is not installed.
        """
        methods: dict[str, Forecaster] = {}
        for name, settings in description["methods"].items():
            target = MODELS.load(name)
            method = target(from_dict(config_class(target), settings, where=f"settings of {name}"))
            prefix = f"{name}/"
            own = (key for key in state if key.startswith(prefix))
            method.restore({key.removeprefix(prefix): state[key] for key in own}, context)
            methods[name] = method
        half = state.get("half", np.zeros((0, 0, 0)))
        return cls(
            methods=methods,
            chosen=dict(description["chosen"]),
            default=description["default"],
            half=dict(zip(description["calibrated"], half, strict=True)),
            shared=state["shared"],
            context=context,
            conformal=from_dict(ConformalConfig, description["conformal"], where="conformal"),
        )

    def _obstacle(self, series: Series, given: Set[str]) -> str:
        """Why the method of a series cannot forecast it from the series given; empty when it can."""
        name = self.chosen.get(series.id, self.default)
        if name == _FALLBACK:
            return ""
        together = self.methods[name].companions
        if together and series.id not in together:
            return f"{name} forecasts only the series of its fit: the last value is repeated"
        if lacking := [f"'{other}'" for other in together if other not in given]:
            return f"{name} reads {', '.join(lacking[:3])} too, not given: the last value is repeated"
        rows = len(series) - first_observed(series.values)
        least = self.methods[name].minimum(self.context)
        if rows >= least:
            return ""
        return f"{rows} rows are too few for {name}, which needs {least}: the last value is repeated"

    def _made(
        self, name: str, panel: Panel, ids: Sequence[str], origins: Mapping[str, np.ndarray]
    ) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """What one method says of the named series, (O, H) each, and how far its bounds lie, (O, 2, Q, H)."""
        if not ids:
            return {}
        method = self.methods.get(name)
        if method is None:
            method = Naive(NaiveConfig())
            method.fit(panel, self.context)
        seen, wanted, none = panel.select(method.companions or ids), set(ids), np.array([], dtype=int)
        at = [origins[one] if one in wanted else none for one in seen.ids]
        said = method.predict(seen, at)
        spreads = method.spreads(seen, at) or [None] * len(said)
        made = dict(zip(seen.ids, zip(said, spreads, strict=True), strict=True))
        return {one: made[one] for one in ids}

    def half_width(self, series: Series, note: str = "") -> np.ndarray:
        """Half-widths of the intervals about the next forecast of a series, (Q, H).

        Args:
            series: with its history.
            note: why its forecast is not made as planned, if so: the history then says how far it misses.
        """
        half = self.half.get(series.id)
        if half is not None and not note:
            return half
        if not note and np.isfinite(self.shared).all():
            return self.shared * seasonal_scale(series.values, self.context.period)
        return from_history(series.values, self.context.horizon, self.conformal)

    def _forecast(self, panel: Panel, series: Series, points: Points) -> Forecast:
        point = points.values[0]
        spreads = None if points.spreads is None else points.spreads[0]
        below, above = extents(self.half_width(series, points.note), spreads)
        return Forecast(
            series=series.id,
            method=points.method,
            times=panel.frequency.future(series.times[-1], self.context.horizon),
            point=point,
            lower=point - below,
            upper=point + above,
            note=points.note,
        )
