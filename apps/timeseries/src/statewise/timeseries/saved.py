"""A fitted forecast as a directory: it predicts in a fresh process, without the data it was fitted on.

Beside what the methods have learnt it holds the histories themselves, since a forecast starts from them:
newer rows are put behind them, and without newer rows the forecast starts where they end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from statewise.core.config import from_dict, to_dict
from statewise.core.errors import DataError
from statewise.core.train import load_model, save_model
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.portfolio import Portfolio
from statewise.timeseries.readings import Readings

__all__ = [
    "SavedForecast",
    "extended",
    "joined",
    "load_forecast",
    "refuse_strangers",
    "save_forecast",
]

KIND = "timeseries/forecast"
_HISTORY, _LIVE = "history/", "live/"


@dataclass(frozen=True, kw_only=True)
class SavedForecast:
    """What a model directory holds."""

    path: Path
    """The directory."""
    portfolio: Portfolio
    panel: Panel
    """The histories that it was fitted on."""
    read: ReadOptions
    """How its files were read."""
    tracks: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """By series, what `live.Track.state` gave at the last update; empty when there was none."""


def save_forecast(
    path: Path,
    portfolio: Portfolio,
    panel: Panel,
    read: ReadOptions,
    tracks: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> Path:
    """Write the directory; its path.

    Args:
        path: where.
        portfolio: the fitted methods.
        panel: the histories.
        read: how their files were read.
        tracks: by series of `panel`, its intervals while it goes on.
    """
    context = portfolio.context
    metadata = {
        "horizon": context.horizon,
        "period": context.period,
        "seed": context.seed,
        "frequency": to_dict(panel.frequency),
        "zone": panel.zone,
        "covariates": list(panel.covariate_names),
        "unknown_ahead": list(panel.unknown_ahead),
        "id_name": panel.id_name,
        "time_name": panel.time_name,
        "fingerprint": panel.fingerprint,
        "sources": list(panel.sources),
        "read": to_dict(read),
        "series": panel.ids,
        "tracked": list(tracks or {}),
    }
    arrays = {f"{_HISTORY}{name}": array for name, array in _pack(panel).items()}
    if tracks:
        states = list(tracks.values())
        arrays |= {f"{_LIVE}{name}": np.stack([one[name] for one in states]) for name in states[0]}
    return save_model(
        path, kind=KIND, config=portfolio.description(), metadata=metadata, arrays=arrays | portfolio.state()
    )


def load_forecast(path: str | Path) -> SavedForecast:
    """Read a model directory, or that of a run.

    Raises:
        CheckpointError: there is none, or it is damaged, of another app or too new.
    """
    model = load_model(path, kind=KIND)
    facts = model.metadata
    frequency = from_dict(Frequency, facts["frequency"], where=str(model.path))
    context = Context(
        horizon=facts["horizon"], period=facts["period"], frequency=frequency, seed=facts["seed"]
    )
    history = {
        name.removeprefix(_HISTORY): array
        for name, array in model.arrays.items()
        if name.startswith(_HISTORY)
    }
    live = {name.removeprefix(_LIVE): a for name, a in model.arrays.items() if name.startswith(_LIVE)}
    learnt = {name: a for name, a in model.arrays.items() if not name.startswith((_HISTORY, _LIVE))}
    panel = Panel(
        series=_unpack(history, facts["series"], frequency, len(facts["covariates"])),
        frequency=frequency,
        zone=facts["zone"],
        covariate_names=tuple(facts["covariates"]),
        unknown_ahead=tuple(facts.get("unknown_ahead", ())),
        id_name=facts["id_name"],
        time_name=facts["time_name"],
        fingerprint=facts["fingerprint"],
        sources=tuple(facts["sources"]),
    )
    read = from_dict(ReadOptions, facts["read"], where=str(model.path))
    tracked = facts.get("tracked", [])
    return SavedForecast(
        path=model.path,
        portfolio=Portfolio.restore(model.config, learnt, context),
        panel=panel,
        read=read,
        tracks={name: {key: rows[i] for key, rows in live.items()} for i, name in enumerate(tracked)},
    )


def extended(old: Panel, new: Panel) -> Panel:
    """The series of `new`, with the history that `old` has of them in front; newer values win.

    Raises:
        DataError: the spacing differs, or the two have no series in common.
    """
    known = {series.id: series for series in old.series}
    refuse_strangers(old, old.ids, new)
    series = tuple(
        joined(known[one.id], one, old.frequency) if one.id in known else one for one in new.series
    )
    return replace(new, series=series, zone=new.zone or old.zone)


def refuse_strangers(old: Panel, known: list[str], new: Panel) -> None:
    """Check that rows can be put behind others.

    Raises:
        DataError: the spacing differs, or the two have no series in common.
    """
    if not set(known).intersection(new.ids):
        raise DataError(
            "none of the series is known to this model",
            where=", ".join(new.sources),
            seen=_listed(new.ids),
            expected=_listed(known),
            fix="name the column with --target, or fit a model on this file",
        )
    if new.frequency.code != old.frequency.code:
        raise DataError(
            "the rows are spaced differently from those the model was fitted on",
            where=", ".join(new.sources),
            seen=new.frequency.label,
            expected=old.frequency.label,
            fix=f"give rows of that spacing, or say --frequency {old.frequency.code}",
        )


def joined(old: Series, new: Series, frequency: Frequency) -> Series:
    """One series over the time that both cover, NaN where neither has a value."""
    first = min(old.times[0], new.times[0])
    ends = [int(frequency.index_of(one.times[-1:], first)[0]) + 1 for one in (old, new)]
    values = np.full(max(ends), np.nan)
    width = 0 if new.covariates is None else new.covariates.shape[1]
    ahead = 0 if new.covariates is None else len(new.covariates) - len(new)
    covariates = np.full((len(values) + ahead, width), np.nan)
    for one in (old, new):
        begin = int(frequency.index_of(one.times[:1], first)[0])
        seen = np.isfinite(one.values)
        values[begin : begin + len(one)][seen] = one.values[seen]
        if one.covariates is not None and one.covariates.shape[1] == width:
            rows = min(len(one.covariates), len(covariates) - begin)
            covariates[begin : begin + rows] = one.covariates[:rows]
    readings = None
    if old.readings is not None or new.readings is not None:
        before, after = (
            one.rows().moved(int(frequency.index_of(one.times[:1], first)[0])) for one in (old, new)
        )
        readings = before.joined(after)
    return Series(
        id=new.id,
        times=frequency.range(first, len(values)),
        values=values,
        covariates=covariates if width else None,
        readings=readings,
    )


def _pack(panel: Panel) -> dict[str, np.ndarray]:
    """All series behind each other: values, lengths, first stamps, covariates, rows at irregular times."""
    arrays = {
        "values": np.concatenate([series.values for series in panel.series]),
        "lengths": np.array([len(series) for series in panel.series]),
        "firsts": np.array([series.times[0] for series in panel.series]).astype(np.int64),
    }
    if panel.covariate_names:
        blocks = [series.covariates for series in panel.series if series.covariates is not None]
        arrays["covariates"] = np.concatenate(blocks)
        arrays["covariate_lengths"] = np.array([len(block) for block in blocks])
    if panel.irregular:
        rows = [series.rows() for series in panel.series]
        arrays["row_times"] = np.concatenate([one.times for one in rows])
        arrays["row_values"] = np.concatenate([one.values for one in rows])
        arrays["row_counts"] = np.array([len(one.times) for one in rows])
    return arrays


def _unpack(
    arrays: dict[str, np.ndarray], ids: list[str], frequency: Frequency, width: int
) -> tuple[Series, ...]:
    lengths = arrays["lengths"]
    firsts: Any = arrays["firsts"]
    if frequency.unit != "step":
        firsts = firsts.view("datetime64[us]")
    values = np.split(arrays["values"], np.cumsum(lengths)[:-1])
    covariates: list[Any] = [None] * len(ids)
    if width:
        covariates = np.split(arrays["covariates"], np.cumsum(arrays["covariate_lengths"])[:-1])
    readings: list[Readings | None] = [None] * len(ids)
    if "row_counts" in arrays:
        cuts = np.cumsum(arrays["row_counts"])[:-1]
        pairs = zip(np.split(arrays["row_times"], cuts), np.split(arrays["row_values"], cuts), strict=True)
        readings = [Readings(times=times, values=own) for times, own in pairs]
    columns = zip(ids, firsts, lengths, values, covariates, readings, strict=True)
    return tuple(
        Series(
            id=name,
            times=frequency.range(first, int(length)),
            values=own,
            covariates=extra,
            readings=rows,
        )
        for name, first, length, own, extra, rows in columns
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
