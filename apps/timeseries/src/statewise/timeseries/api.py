"""What the `forecast` command does, as functions: check, fit, predict, evaluate.

from statewise.timeseries.api import FitSettings, fit_run, predict_run

outcome = fit_run(FitSettings(data=("sales.csv",)), out="runs/sales")
table, notes = predict_run("runs/sales", ["sales-until-today.csv"])
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from statewise.core.config import config_class, from_dict, to_dict
from statewise.core.config import read as read_config
from statewise.core.errors import ConfigError, DataError
from statewise.core.registry import preset
from statewise.core.train import Run
from statewise.core.train.settings import keep_settings, kept_settings, require_files, require_same_data
from statewise.timeseries import auto
from statewise.timeseries.auto import AutoResult
from statewise.timeseries.check import Report
from statewise.timeseries.check import check as check_reading
from statewise.timeseries.config import AutoConfig
from statewise.timeseries.data import Reading, read
from statewise.timeseries.errors import keep_errors
from statewise.timeseries.forecaster import Context
from statewise.timeseries.models import MODELS
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.output import ForecastTable, stamp_texts
from statewise.timeseries.panel import Panel
from statewise.timeseries.saved import extended, load_forecast, save_forecast
from statewise.timeseries.season import default_horizon, main_period
from statewise.timeseries.settings import AUTO, FitSettings

__all__ = [
    "Outcome",
    "Prepared",
    "check_data",
    "evaluate_data",
    "fit_prepared",
    "fit_run",
    "merged_options",
    "predict_run",
    "prepare",
    "resume_run",
]

OWN = "methods.json"
_PATIENCE, _SLOWER = 150.0, ("lru", "patchtst", "chimera")
"""Seconds of a budget with which `auto` tries further networks, and which; each gets a share of the rest."""
_SHARE = 0.75  # of the time limit for fitting: start-up, forecasts and the report come on top
Say = Callable[[str], None]
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Data that have been read, and the circumstances of a fit on them."""

    reading: Reading
    context: Context
    started: float
    """`time.monotonic()` at which it was begun: budgets count from here."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a fit or a backtest."""

    result: AutoResult
    reading: Reading
    settings: FitSettings
    context: Context
    table: ForecastTable
    run: Run | None = None
    """Where everything was written; None for a backtest."""


def check_data(sources: Sequence[Any], options: ReadOptions | None = None) -> Report:
    """A report on the data, without training."""
    return check_reading(read(sources, options))


def fit_run(
    settings: FitSettings,
    *,
    out: str | Path | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Read, choose, fit, forecast and write a run directory.

    Args:
        settings: what is asked for.
        out: the run directory; None for `runs/<data>-<model>`.
        say: told what is assumed, line by line.
        progress: told the fraction done and a few words.

    Raises:
        UserError: the data cannot be read or the settings do not fit them.
    """
    return fit_prepared(settings, prepare(settings, say, progress), out=out, say=say)


def fit_prepared(
    settings: FitSettings,
    prepared: Prepared,
    *,
    out: str | Path | None = None,
    own: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Outcome:
    """Choose, fit, forecast and write a run directory, from data that have been read.

    Args:
        settings: what is asked for.
        prepared: what `prepare` has made of them.
        out: the run directory; None for `runs/<data>-<model>`.
        own: configurations of methods, by name, in place of their presets.
        say: told where the run goes, if not where it was asked to.
    """
    run = Run.create(out, default=settings.name)
    if run.notice and say is not None:
        say(run.notice)
    keep_settings(run, settings, fingerprint=prepared.reading.panel.fingerprint)
    run.write_text("config.toml", tomli_w.dumps(settings.flags()))
    if own:
        run.write_json(OWN, {name: to_dict(config) for name, config in own.items()})
    return _fit(settings, prepared, run, own)


def resume_run(
    path: str | Path,
    *,
    data: Sequence[str] | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Finish a fit that was cut off: same settings, same data, networks from their last checkpoint.

    Args:
        path: the run directory.
        data: where the files are now, if they have moved.
        say: told what is assumed.
        progress: told the fraction done.

    Raises:
        CheckpointError: there is no such run, or the data are not those it began with.
    """
    run = Run.open(path)
    settings, fingerprint = kept_settings(run, FitSettings)
    if data:
        settings = replace(settings, data=tuple(data))
    require_files(run, settings.data, "forecast fit data.csv")
    prepared = prepare(settings, say, progress)
    require_same_data(run, fingerprint, prepared.reading.panel.fingerprint, settings.data)
    return _fit(settings, prepared, run, _own_settings(run))


def evaluate_data(
    settings: FitSettings, *, say: Say | None = None, progress: Progress | None = None
) -> Outcome:
    """The scoreboard of a rolling-origin backtest; nothing is written."""
    prepared = prepare(settings, say, progress)
    result = _race(settings, prepared, prepared.context)
    return _outcome(settings, prepared, result, None)


def predict_run(
    path: str | Path, sources: Sequence[Any] = (), options: ReadOptions | None = None
) -> tuple[ForecastTable, list[str]]:
    """Forecast with a saved model.

    Args:
        path: the run or model directory.
        sources: newer files; empty to start where the fitted data ended.
        options: how to read them, where that differs from the fit.

    Returns:
        The forecasts, and notes on what was assumed.
    """
    saved = load_forecast(path)
    panel, notes = saved.panel, []
    if sources:
        reading = read(sources, merged_options(saved.read, options, panel))
        notes = [note.text for note in reading.notes]
        panel = extended(panel, reading.panel)
    forecasts = saved.portfolio.predict(panel)
    notes += [f"series '{one.series}': {one.note}" for one in forecasts if one.note]
    levels = saved.portfolio.conformal.levels
    return ForecastTable(
        forecasts=tuple(forecasts), levels=levels, frequency=panel.frequency, zone=panel.zone
    ), notes


def prepare(settings: FitSettings, say: Say | None = None, progress: Progress | None = None) -> Prepared:
    """Read the data, find season and horizon, say what was assumed."""
    started = time.monotonic()
    _contest(settings)  # a wrong name should not wait for the data
    reading = read(settings.data, settings.read)
    panel = reading.panel
    period = settings.period or main_period(panel)
    horizon = settings.horizon or default_horizon(panel, period)
    _check_horizon(panel, horizon)
    for line in [*(note.text for note in reading.notes), *_assumed(settings, panel, period, horizon)]:
        if say is not None:
            say(line)
    context = Context(
        horizon=horizon,
        period=period,
        frequency=panel.frequency,
        seed=settings.seed,
        epochs=settings.epochs,
        device=settings.device,
        threads=settings.threads,
        quantiles=AutoConfig().conformal.levels if settings.intervals == "quantile" else (),
        progress=progress,
    )
    return Prepared(reading=reading, context=context, started=started)


def _own_settings(run: Run) -> dict[str, Any]:
    """The configurations of methods that a run was begun with, in place of their presets."""
    path = run.path / OWN
    if not path.exists():
        return {}
    kept = read_config(path)
    return {name: from_dict(config_class(MODELS.load(name)), one, where=OWN) for name, one in kept.items()}


def _check_horizon(panel: Panel, horizon: int) -> None:
    longest = max(len(series) for series in panel.series)
    if horizon > longest:
        raise DataError(
            "the horizon is longer than the history",
            where="--horizon",
            seen=f"{horizon} steps ahead from {longest} steps of history",
            expected=f"at most {longest}, better at most {max(1, longest // 5)}",
            fix=f"set --horizon {max(1, longest // 5)}",
        )


def _assumed(settings: FitSettings, panel: Panel, period: int, horizon: int) -> list[str]:
    """Season and horizon in words, with the flags that change them."""
    season = f"season of {period} steps" if period > 1 else "no season"
    found = "as asked" if settings.period else "found in the data"
    until = panel.frequency.future(max(series.times[-1] for series in panel.series), horizon)[-1:]
    last = stamp_texts(until, panel.frequency)[0]
    return [f"{season}, {found} (--period); forecasting {horizon} steps, to {last} (--horizon)"]


def _contest(settings: FitSettings) -> tuple[AutoConfig, dict[str, Any]]:
    """Which methods compete, and the settings of a preset.

    Raises:
        UnknownNameError: there is no such method or preset.
        ConfigError: it cannot give the intervals that are asked for.
    """
    config = AutoConfig(budget=None)
    if settings.model == AUTO:
        patient = settings.budget is not None and settings.budget >= _PATIENCE
        return replace(config, methods=(*config.methods, *(_SLOWER if patient else ()))), {}
    name, variant = MODELS.resolve(settings.model)
    if settings.intervals == "quantile" and MODELS[name].facts.get("family") != "neural":
        raise ConfigError(
            f"{name} learns no quantiles",
            where="--intervals",
            seen="quantile",
            expected="residual, or a network: see `forecast models`",
            fix="leave --intervals out",
        )
    config = replace(config, methods=(name,), choose=name)
    if variant is None:
        return config, {}
    method = MODELS.load(name)
    presets = getattr(sys.modules[method.__module__], "presets", {})
    return config, {name: from_dict(config_class(method), preset(presets, variant, name))}


def _race(
    settings: FitSettings, prepared: Prepared, context: Context, given: Mapping[str, Any] | None = None
) -> AutoResult:
    """Let the methods asked for compete, in what is left of the time."""
    config, own = _contest(settings)
    limit = settings.seconds
    deadline = None if limit is None else prepared.started + _SHARE * limit
    panel = prepared.reading.panel
    return auto.run(panel, replace(context, deadline=deadline), config, own | dict(given or {}))


def _fit(
    settings: FitSettings, prepared: Prepared, run: Run, own: Mapping[str, Any] | None = None
) -> Outcome:
    """Race, refit, forecast, and write all of it."""
    from statewise.timeseries.report import write_report

    result = _race(settings, prepared, replace(prepared.context, run=run), own)
    outcome = _outcome(settings, prepared, result, run)
    panel = prepared.reading.panel
    save_forecast(run.path / "model", result.portfolio, panel, settings.read)
    run.write_text("forecast.csv", outcome.table.csv())
    run.write_json("scores.json", scores(result))
    keep_errors(run, result, panel.fingerprint, prepared.context.period)
    write_report(outcome, run)
    return outcome


def scores(result: AutoResult) -> list[dict[str, Any]]:
    """The scoreboard as plain values; None where a figure is not defined."""
    return [
        {"method": row.method, "split": row.split, "seconds": round(row.seconds, 3), "note": row.note}
        | ({} if row.score is None else _plain(to_dict(row.score)))
        for row in result.rows
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _outcome(settings: FitSettings, prepared: Prepared, result: AutoResult, run: Run | None) -> Outcome:
    panel = prepared.reading.panel
    table = ForecastTable(
        forecasts=tuple(result.portfolio.predict(panel)),
        levels=result.portfolio.conformal.levels,
        frequency=panel.frequency,
        zone=panel.zone,
    )
    return Outcome(
        result=result,
        reading=prepared.reading,
        settings=settings,
        context=prepared.context,
        table=table,
        run=run,
    )


def merged_options(kept: ReadOptions, given: ReadOptions | None, panel: Panel) -> ReadOptions:
    """What the user says now wins over what held at the fit; the spacing is that of the fit."""
    blank = to_dict(ReadOptions())
    values = {name: value for name, value in to_dict(given or ReadOptions()).items() if value != blank[name]}
    kept_values = to_dict(kept)
    if kept.id is None and panel.id_name != Panel.id_name:
        kept_values["id"] = panel.id_name  # rows of a single series do not show which column tells them apart
    if kept.static:  # words are columns by now
        kept_values["static"] = [name for name in panel.unknown_ahead if name not in kept.past_covariates]
    if kept_values["frequency"] is None and panel.frequency.unit != "step":
        kept_values["frequency"] = panel.frequency.code
    return from_dict(ReadOptions, kept_values | values)
