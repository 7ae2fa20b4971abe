"""`forecast update`: new rows advance a fitted forecast; nothing is fitted again.

from statewise.timeseries.update import update_run

outcome = update_run("runs/sales-auto", ["today.csv"])
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from statewise.timeseries.api import merged_options
from statewise.timeseries.data import read
from statewise.timeseries.live import Advance, LiveForecast, Track
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.output import ForecastTable
from statewise.timeseries.saved import SavedForecast, load_forecast, save_forecast

__all__ = ["Updated", "open_live", "save_live", "update_run"]


@dataclass(frozen=True, kw_only=True)
class Updated:
    """What came of an update."""

    advances: tuple[Advance, ...]
    table: ForecastTable
    """The forecasts from the new ends."""
    notes: tuple[str, ...]
    """What was assumed about the files, and which series are not forecast as planned."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        advanced = [
            {
                "series": one.series,
                "rows": one.rows,
                "seen": one.seen,
                "inside": [None if share != share else share for share in one.inside],
            }
            for one in self.advances
        ]
        return {"advanced": advanced, "forecast": self.table.as_dict()}


def update_run(path: str | Path, sources: Sequence[Any], options: ReadOptions | None = None) -> Updated:
    """Take new rows into a fitted forecast and write it back.

    Args:
        path: the run or model directory.
        sources: files with the new rows; rows known already may be among them.
        options: how to read them, where that differs from the fit.

    Raises:
        UserError: there is no such model, the files cannot be read, or they belong to other series.
    """
    saved = load_forecast(path)
    live = open_live(saved)
    reading = read(sources, merged_options(saved.read, options, saved.panel))
    advances = live.update(reading.panel)
    save_live(saved, live)
    forecasts = live.forecasts()
    notes = [note.text for note in reading.notes]
    notes += [f"series '{one.series}': {one.note}" for one in forecasts if one.note]
    table = ForecastTable(
        forecasts=tuple(forecasts),
        levels=saved.portfolio.conformal.levels,
        frequency=saved.panel.frequency,
        zone=saved.panel.zone,
    )
    return Updated(advances=tuple(advances), table=table, notes=tuple(notes))


def open_live(saved: SavedForecast) -> LiveForecast:
    """The forecast as its last update left it, or as it was fitted."""
    conformal = saved.portfolio.conformal
    tracks = {name: Track.restore(state, conformal) for name, state in saved.tracks.items()}
    return LiveForecast(saved.portfolio, saved.panel, tracks)


def save_live(saved: SavedForecast, live: LiveForecast) -> None:
    """Write the state back into the model directory, which is whole or the old one at every moment but one.

    The new directory is complete before it takes the place of the old one by two renames.
    """
    tracks = {name: track.state() for name, track in live.tracks.items()}
    panel = replace(live.panel, fingerprint=saved.panel.fingerprint)
    fresh, aside = (saved.path.with_name(f".{saved.path.name}.{word}") for word in ("new", "old"))
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)
    save_forecast(fresh, live.settled(), panel, saved.read, tracks)
    saved.path.rename(aside)
    fresh.rename(saved.path)
    shutil.rmtree(aside)
