"""Rows at irregular times: kept beside the grid, read with their step sizes, saved, extended, resampled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from statewise.core.errors import UserError
from statewise.timeseries.api import fit_run, predict_run
from statewise.timeseries.data import read
from statewise.timeseries.explain import explain_run
from statewise.timeseries.export import export_run
from statewise.timeseries.forecaster import Context
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.recurrent import (
    GLAForecaster,
    LRUForecaster,
    MambaForecaster,
    RecurrentForecasterConfig,
    S5Forecaster,
)
from statewise.timeseries.models.row_network import RowNetwork
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.panel import Panel
from statewise.timeseries.readings import Readings
from statewise.timeseries.row_windows import CHANNELS, RowWindows, reach
from statewise.timeseries.saved import load_forecast
from statewise.timeseries.settings import FitSettings
from statewise.timeseries.update import open_live, update_run

HORIZON = 3
TINY = RecurrentForecasterConfig(d_model=4, depth=1, lookback=6, calendar=False)


def frame(rows: int = 240, seed: int = 0, names: tuple[str, ...] = ("y",)) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    hours = np.cumsum(rng.exponential(1.0, rows))
    stamps = np.datetime64("2024-01-01", "us") + (hours * 3.6e9).astype(np.int64).astype("timedelta64[us]")
    waves = {name: 5 + i + np.sin(hours / (1 + i)) for i, name in enumerate(names)}
    return pl.DataFrame({"time": stamps} | waves)


def irregular(**options: object) -> Panel:
    return read([frame()], ReadOptions(**options)).panel  # pyright: ignore[reportArgumentType]


def fitted(kind: type = S5Forecaster, panel: Panel | None = None) -> tuple[S5Forecaster, Panel]:
    data = irregular() if panel is None else panel
    method = kind(TINY)
    method.fit(data, Context(horizon=HORIZON, period=1, frequency=data.frequency, epochs=1))
    return method, data


def test_the_reader_keeps_rows_with_their_times() -> None:
    table = frame()
    reading = read([table])
    (series,) = reading.panel.series
    rows = series.readings
    assert rows is not None
    np.testing.assert_array_equal(rows.values, table["y"].to_numpy())
    stamps = table["time"].to_numpy().astype("datetime64[us]")
    hours = (stamps - series.times[0]).astype(np.int64) / 3.6e9
    np.testing.assert_allclose(rows.times, hours * 3.6e9 / reading.panel.frequency.microseconds, atol=1e-6)
    steps = rows.times.astype(int)
    for step in np.unique(steps):
        assert series.values[step] == pytest.approx(rows.values[steps == step].mean())
    assert any("--resample" in note.text for note in reading.notes)


def test_numbers_that_tell_elapsed_time_count_too() -> None:
    elapsed = np.cumsum(np.random.default_rng(1).exponential(0.37, 200))
    table = pl.DataFrame({"seconds": elapsed, "y": np.sin(elapsed)})
    (series,) = read([table], ReadOptions(time="seconds", target=("y",))).panel.series
    rows = series.readings
    assert rows is not None
    spacing = np.median(np.diff(elapsed))
    np.testing.assert_allclose(np.diff(rows.times), np.diff(elapsed) / spacing, atol=1e-6)


@pytest.mark.parametrize(
    "options", [ReadOptions(resample=True), ReadOptions(aggregate="sum"), ReadOptions(frequency="D")], ids=str
)
def test_rows_are_not_kept_where_a_step_stands_for_them(options: ReadOptions) -> None:
    reading = read([frame()], options)
    assert not reading.panel.irregular
    assert not any("--resample" in note.text for note in reading.notes)


def test_a_regular_file_has_none() -> None:
    stamps = np.datetime64("2024-01-01", "us") + np.arange(60) * np.timedelta64(1, "h")
    assert not read([pl.DataFrame({"time": stamps, "y": np.arange(60.0)})]).panel.irregular


def test_readings_are_cut_moved_and_joined() -> None:
    rows = Readings(times=np.array([0.5, 1.25, 3.0]), values=np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(rows.before(3).times, [0.5, 1.25])
    np.testing.assert_array_equal(rows.since(1).times, [0.25, 2.0])
    newer = Readings(times=np.array([1.25, 2.0]), values=np.array([20.0, 25.0]))
    both = rows.joined(newer)
    np.testing.assert_array_equal(both.times, [0.5, 1.25, 2.0, 3.0])
    np.testing.assert_array_equal(both.values, [1.0, 20.0, 25.0, 3.0])
    np.testing.assert_array_equal(Readings.of_grid(np.array([7.0, np.nan, 9.0])).times, [0.0, 2.0])


def test_windows_hold_the_last_rows_with_their_step_sizes() -> None:
    data = irregular()
    (series,) = data.series
    context = Context(horizon=HORIZON, period=1, frequency=data.frequency)
    inputs = Inputs.fit(data, [len(series)], context, 4, calendar=False, timed=True)
    assert inputs.gap is not None
    rows, windows = series.rows(), RowWindows(data, inputs)
    mean, scale = inputs.scales[series.id]
    for origin in (1, 2, 40, len(series)):
        x, _, _ = windows.inputs_at(np.array([origin]))
        seen = np.flatnonzero((rows.times < origin) & (rows.times >= origin - reach(inputs)))[-4:]
        assert x.shape == (1, 5, CHANNELS)
        here = x[0, :-1, 2].astype(bool)
        assert here.sum() == len(seen)
        np.testing.assert_allclose(
            x[0, :-1, 0][here], (rows.values[seen] - mean) / scale, rtol=1e-5, atol=1e-6
        )
        steps = np.diff(rows.times[seen]) / inputs.gap
        np.testing.assert_allclose(x[0, :-1, 1][here][1:], steps, rtol=1e-5)
        np.testing.assert_allclose(x[0, -1, 1], (origin - rows.times[seen[-1]]) / inputs.gap, rtol=1e-5)
        assert (x[0, :-1, :3][~here] == 0).all()


@pytest.mark.parametrize("kind", [S5Forecaster, LRUForecaster, MambaForecaster])
def test_step_sizes_reach_the_forecast(kind: type) -> None:
    """The same values at other times within their steps: the grid is the same, the forecast is not."""
    method, data = fitted(kind)
    network = method.fitted[1]
    assert isinstance(network, RowNetwork)
    with torch.no_grad():
        network.head.weight.fill_(1.0)  # it starts at zero, and one epoch is not much
        network.head.weight[:, 0] = -2.0
    (series,) = data.series
    origin = [np.array([len(series)])]
    (before,) = method.predict(data, origin)
    rows = series.rows()
    times = np.floor(rows.times) + 0.5 * (rows.times - np.floor(rows.times))
    moved = replace(series, readings=replace(rows, times=times))
    (after,) = method.predict(replace(data, series=(moved,)), origin)
    assert np.isfinite(before).all()
    assert not np.allclose(before, after, rtol=1e-7)


def test_a_layer_without_time_reads_the_grid() -> None:
    method, _ = fitted(GLAForecaster)
    assert method.fitted[0].gap is None


def test_nothing_at_or_after_the_origin_is_read() -> None:
    method, data = fitted()
    (series,) = data.series
    at = [np.array([100, 120])]
    (before,) = method.predict(data, at)
    rows = series.rows()
    values = np.where(rows.times >= 120, 1e6, rows.values)
    later = np.where(np.arange(len(series)) >= 120, 1e6, series.values)
    changed = replace(series, values=later, readings=replace(rows, values=values))
    np.testing.assert_array_equal(method.predict(replace(data, series=(changed,)), at)[0], before)
    np.testing.assert_allclose(method.predict(data.head([120]), at)[0], before, rtol=1e-6)


def test_gaps_unknown_series_and_empty_windows_are_forecast() -> None:
    method, _ = fitted(panel=read([frame(names=("a", "b"))]).panel)
    data = read([frame(seed=3, names=("a", "c"))]).panel
    known, other = data.series
    cut = known.rows()
    cut = Readings(times=cut.times[cut.times > 150], values=cut.values[cut.times > 150])
    values = np.where(np.arange(len(known)) < 150, np.nan, known.values)
    data = replace(data, series=(replace(known, values=values, readings=cut), replace(other, readings=None)))
    origins = [np.array([10, 150, 160, len(known)]), np.array([40, len(other)])]
    for made, at in zip(method.predict(data, origins), origins, strict=True):
        assert made.shape == (len(at), HORIZON)
        assert np.isfinite(made).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("irregular")
    frame(200).write_csv(folder / "data.csv")
    settings = FitSettings(data=(str(folder / "data.csv"),), model="s5-tiny", horizon=HORIZON, epochs=1)
    outcome = fit_run(settings, out=folder / "run")
    assert outcome.run is not None
    return folder


def test_a_run_predicts_and_advances_with_irregular_rows(run: Path) -> None:
    saved = load_forecast(run / "run")
    assert saved.panel.series[0].readings is not None
    frame(203).write_csv(run / "newer.csv")
    table, _ = predict_run(run / "run", [str(run / "newer.csv")])
    live = open_live(saved)
    live.update(read([str(run / "newer.csv")]).panel)
    np.testing.assert_allclose(live.forecasts()[0].point, table.forecasts[0].point, rtol=1e-4)
    frame(203).tail(3).write_csv(run / "rows.csv")
    updated = update_run(run / "run", [str(run / "rows.csv")])
    np.testing.assert_allclose(updated.table.forecasts[0].point, table.forecasts[0].point, rtol=1e-4)


def test_explain_and_export_know_of_them(run: Path) -> None:
    (explained,) = explain_run(run / "run")
    assert explained.lags
    with pytest.raises(UserError, match="--resample"):
        export_run(run / "run")
