"""A forecast that new rows keep up to date: nothing is fitted again, and a row costs the same for ever.

Each series keeps as much history as its method reads, the forecasts of its last H origins, and the shift of
its half-widths. A new value is compared with what was forecast for it 1 .. H steps ahead; each of these
residuals moves the half-width of its step as in `conformal`,

    w = q exp(a),    a <- a + eta (miss - (1 - l)),

with the q of the fit.

Letters: S series, H horizon, Q levels, K pending forecasts, at most H.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from statewise.timeseries.config import ConformalConfig
from statewise.timeseries.conformal import extents
from statewise.timeseries.history import shortened
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.portfolio import Forecast, Portfolio
from statewise.timeseries.saved import joined, refuse_strangers

__all__ = ["Advance", "LiveForecast", "Track"]


@dataclass(frozen=True, kw_only=True)
class Advance:
    """What new rows did to one series."""

    series: str
    rows: int
    """New steps, those without a value included."""
    inside: tuple[float, ...]
    """Share of the values since the fit inside the interval of one step ahead, by level; NaN for none."""
    seen: int
    """Values that these shares count."""


class Track:
    """The intervals of one series while it goes on.

    Args:
        base: half-widths at the fit, (Q, H).
        config: levels and adaptation.
    """

    def __init__(self, base: np.ndarray, config: ConformalConfig) -> None:
        levels, horizon = base.shape
        self.config = config
        self.base = base
        self.shift = np.zeros((levels, horizon))
        self.said = np.zeros((0, horizon))
        """Pending forecasts, (K, H), the latest last."""
        self.apart = np.zeros((0, 2, levels, horizon))
        """How far their bounds lay below and above, (K, 2, Q, H)."""
        self.hits = np.zeros(levels)
        self.seen = 0

    @property
    def half(self) -> np.ndarray:
        """The half-widths of now, (Q, H)."""
        return self.base * np.exp(self.shift)

    def say(self, forecast: np.ndarray, spreads: np.ndarray | None = None) -> None:
        """A forecast (H,) from the present end of the series, and how far its bounds lie, (2, Q, H)."""
        now = extents(self.half, spreads)
        keep = len(self.said) - min(len(self.said), len(forecast) - 1)
        self.said = np.concatenate([self.said[keep:], forecast[None]])
        self.apart = np.concatenate([self.apart[keep:], now[None]])

    def see(self, value: float) -> None:
        """The value of the next step; NaN where there is none."""
        if not np.isfinite(value):
            return
        ahead = np.arange(len(self.said))
        rows = len(self.said) - 1 - ahead
        error, below, above = (
            value - self.said[rows, ahead],
            *np.moveaxis(self.apart[rows, :, :, ahead], 0, 2),
        )
        error, width = np.abs(error), np.where(error < 0, below, above)
        rates = 1 - np.asarray(self.config.levels)[:, None]
        miss = error > width
        self.shift[:, ahead] += self.config.adapt * np.where(np.isfinite(width), miss - rates, 0.0)
        if len(ahead) and np.isfinite(width[:, 0]).all():
            self.hits += ~miss[:, 0]
            self.seen += 1

    @property
    def inside(self) -> tuple[float, ...]:
        """Share of the values that lay in the interval of the step ahead, by level."""
        return tuple((self.hits / self.seen).tolist()) if self.seen else (float("nan"),) * len(self.hits)

    def state(self) -> dict[str, np.ndarray]:
        """Everything as arrays; pending forecasts are filled up to H rows with NaN."""
        levels, horizon = self.base.shape
        said, apart = np.full((horizon, horizon), np.nan), np.full((horizon, 2, levels, horizon), np.nan)
        said[horizon - len(self.said) :], apart[horizon - len(self.said) :] = self.said, self.apart
        counts = np.append(self.hits, self.seen)
        return {"base": self.base, "shift": self.shift, "said": said, "apart": apart, "counts": counts}

    @classmethod
    def restore(cls, state: Mapping[str, np.ndarray], config: ConformalConfig) -> Track:
        """What `state` came from."""
        track = cls(state["base"].copy(), config)
        rows = np.isfinite(state["said"]).all(axis=1)
        track.shift, track.said = state["shift"].copy(), state["said"][rows]
        track.apart, counts = state["apart"][rows], state["counts"]
        track.hits, track.seen = counts[:-1].copy(), int(counts[-1])
        return track


class LiveForecast:
    """A fitted forecast and where its series are by now.

    Args:
        portfolio: the fitted methods.
        panel: the histories.
        tracks: by series, as an earlier update left them.
    """

    def __init__(self, portfolio: Portfolio, panel: Panel, tracks: Mapping[str, Track] | None = None) -> None:
        self.portfolio = portfolio
        self._facts = panel
        self._series = {series.id: series for series in panel.series}
        self.tracks = dict(tracks or {})
        self._notes: dict[str, str] = {}
        self._methods: dict[str, str] = {}
        self._say({name: np.array([len(one)]) for name, one in self._series.items()})

    @property
    def panel(self) -> Panel:
        """The series with the history that their methods still read."""
        return replace(self._facts, series=tuple(self._series.values()))

    def update(self, newer: Panel) -> list[Advance]:
        """Take in new rows; rows that are known already and differ replace what was known.

        Raises:
            DataError: the spacing differs, or none of the series is known.
        """
        refuse_strangers(self._facts, list(self._series), newer)
        origins: dict[str, np.ndarray] = {}
        before: dict[str, int] = {}
        for one in newer.series:
            old = self._series.get(one.id)
            if old is None:
                self._series[one.id] = one
                before[one.id], origins[one.id] = len(one), np.array([len(one)])
                continue
            series = joined(old, _from(one, old, self._facts), self._facts.frequency)
            self._series[one.id] = series
            before[one.id], origins[one.id] = len(old), np.arange(len(old) + 1, len(series) + 1)
        self._say(origins, before)
        return [self._finish(name, len(self._series[name].values) - before[name]) for name in origins]

    def forecasts(self, ids: list[str] | None = None) -> list[Forecast]:
        """The next H steps of each series, with the intervals of now."""
        result = []
        for name in ids or list(self._series):
            series, track = self._series[name], self.tracks[name]
            point, (below, above) = track.said[-1], track.apart[-1]
            result.append(
                Forecast(
                    series=name,
                    method=self._methods[name],
                    times=self._facts.frequency.future(series.times[-1], len(point)),
                    point=point,
                    lower=point - below,
                    upper=point + above,
                    note=self._notes[name],
                )
            )
        return result

    def settled(self) -> Portfolio:
        """The portfolio with the half-widths of now."""
        half = {name: track.half for name, track in self.tracks.items()}
        return replace(self.portfolio, half=half)

    def _say(self, origins: Mapping[str, np.ndarray], before: Mapping[str, int] | None = None) -> None:
        """Forecast from each origin, comparing with each value that follows a known one on the way."""
        for name, points in self.portfolio.points(self.panel, origins).items():
            self._methods[name], self._notes[name] = points.method, points.note
            series, track = self._series[name], self.tracks.get(name)
            if track is None:
                base = self.portfolio.half_width(series, points.note)
                track = self.tracks[name] = Track(base, self.portfolio.conformal)
            elif before is None:
                continue  # restored: it has said this already
            for place, origin in enumerate(origins[name]):
                if before is not None and origin > before[name]:
                    track.see(float(series.values[origin - 1]))
                track.say(points.values[place], None if points.spreads is None else points.spreads[place])

    def _finish(self, name: str, rows: int) -> Advance:
        """Drop the history that is not read any more."""
        series, track = self._series[name], self.tracks[name]
        reach = self._reach(name)
        if reach is not None:
            self._series[name] = _shortened(series, reach, self.portfolio.context.period, self._facts)
        return Advance(series=name, rows=rows, inside=track.inside, seen=track.seen)

    def _reach(self, name: str) -> int | None:
        """Steps of history that the forecasts of a series read; None for all."""
        portfolio = self.portfolio
        method = portfolio.methods[portfolio.chosen.get(name, portfolio.default)]
        least = method.minimum(portfolio.context)
        # a method that reads series together reads this one for the others too
        readers = [method, *(one for one in portfolio.methods.values() if name in one.companions)]
        reaches = [one.memory() for one in readers]
        known = [reach for reach in reaches if reach is not None]
        return max(least, *known) if len(known) == len(reaches) else None


def _from(newer: Series, old: Series, facts: Panel) -> Series:
    """The rows of `newer` that are not older than the history kept."""
    start = int(facts.frequency.index_of(old.times[:1], newer.times[0])[0])
    if start <= 0:
        return newer
    if start >= len(newer):
        return replace(old, covariates=old.covariates)
    covariates: Any = newer.covariates
    return replace(
        newer,
        times=newer.times[start:],
        values=newer.values[start:],
        covariates=None if covariates is None else covariates[start:],
        readings=None if newer.readings is None else newer.readings.since(start),
    )


def _shortened(series: Series, reach: int, period: int, facts: Panel) -> Series:
    values = shortened(series.values, reach, period)
    start = len(series) - len(values)
    if start == 0:
        return series
    covariates: Any = series.covariates
    first = facts.frequency.at(series.times[0], np.array([start]))[0]
    return replace(
        series,
        times=facts.frequency.range(first, len(values)),
        values=values,
        covariates=None if covariates is None else covariates[start:],
        readings=None if series.readings is None else series.readings.since(start),
    )
