"""New rows advance a fitted forecast: row by row equals all at once, and nothing grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from statewise.core.config import config_class
from statewise.timeseries.cli import app
from statewise.timeseries.config import ConformalConfig
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.history import fill_missing, shortened
from statewise.timeseries.live import LiveForecast, Track
from statewise.timeseries.models import MODELS
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.portfolio import Portfolio
from tests.timeseries.broken_inputs import days

DAY = Frequency("day")
FIRST = np.datetime64("2020-01-01")
HORIZON, PERIOD, FITTED = 3, 7, 150
CONTEXT = Context(horizon=HORIZON, period=PERIOD, frequency=DAY, epochs=1)


def values(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y = 20 + 4 * np.sin(2 * np.pi * np.arange(n) / PERIOD) + rng.normal(size=n)
    y[rng.random(n) < 0.05] = np.nan
    return y


def panel(*columns: np.ndarray, start: int = 0) -> Panel:
    series = (
        Series(id=f"s{i}", times=DAY.range(FIRST + start, len(column)), values=column)
        for i, column in enumerate(columns)
    )
    return Panel(series=tuple(series), frequency=DAY)


def portfolio(name: str, data: Panel) -> Portfolio:
    target = MODELS.load(name)
    method = target(config_class(target)())
    method.fit(data, CONTEXT)
    base = np.outer([1.5, 2.5], np.ones(HORIZON))
    return Portfolio(
        methods={name: method},
        chosen=dict.fromkeys(data.ids, name),
        default=name,
        half={one: base.copy() for one in data.ids},
        shared=base,
        context=CONTEXT,
        conformal=ConformalConfig(),
    )


def state_of(live: LiveForecast) -> dict[str, np.ndarray]:
    arrays = {}
    for series in live.panel.series:
        arrays[f"{series.id}/values"] = series.values
        arrays |= {f"{series.id}/{k}": v for k, v in live.tracks[series.id].state().items()}
    return arrays


@pytest.mark.parametrize("name", ["nlinear", "seasonal-naive", "drift", "lru", "chimera"])
def test_row_by_row_equals_all_rows_at_once(name: str):
    columns = [values(seed, FITTED + 60) for seed in (1, 2)]
    made = portfolio(name, panel(*(column[:FITTED] for column in columns)))
    old = panel(*(column[:FITTED] for column in columns))
    stepwise, at_once = LiveForecast(made, old), LiveForecast(made, old)
    for row in range(FITTED, FITTED + 60):
        stepwise.update(panel(*(column[row : row + 1] for column in columns), start=row))
    at_once.update(panel(*(column[FITTED:] for column in columns), start=FITTED))
    one, other = state_of(stepwise), state_of(at_once)
    for key in one:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-5, atol=1e-5, err_msg=key)
    for early, late in zip(stepwise.forecasts(), at_once.forecasts(), strict=True):
        np.testing.assert_allclose(early.point, late.point, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(early.times, late.times)


def test_what_is_kept_does_not_grow_and_forecasts_are_those_of_the_whole_history():
    column = values(3, FITTED + 400)
    made = portfolio("nlinear", panel(column[:FITTED]))
    live = LiveForecast(made, panel(column[:FITTED]))
    sizes = []
    for row in range(FITTED, FITTED + 400):
        live.update(panel(column[row : row + 1], start=row))
        sizes.append({key: array.shape for key, array in state_of(live).items()})
    assert sizes[100] == sizes[-1]
    whole = made.predict(panel(column))[0]
    seen = live.forecasts()[0]
    np.testing.assert_allclose(seen.point, whole.point, rtol=1e-9)
    np.testing.assert_array_equal(seen.times, whole.times)


def test_intervals_are_those_of_the_tracking_rule():
    column = np.where(np.isnan(values(4, FITTED + 50)), 20.0, values(4, FITTED + 50))
    made = portfolio("seasonal-naive", panel(column[:FITTED]))
    live = LiveForecast(made, panel(column[:FITTED]))
    live.update(panel(column[FITTED:], start=FITTED))
    config, base = ConformalConfig(), np.outer([1.5, 2.5], np.ones(HORIZON))
    shift = np.zeros_like(base)
    widths = {FITTED: base}
    for now in range(FITTED + 1, FITTED + 51):
        for h in range(HORIZON):
            origin = now - 1 - h
            if origin < FITTED:
                continue
            error = abs(column[now - 1] - column[origin + h - PERIOD])
            miss = (error > widths[origin][:, h]).astype(float)
            shift[:, h] += config.adapt * (miss - (1 - np.array(config.levels)))
        widths[now] = np.maximum.accumulate(base * np.exp(shift), axis=0)
    np.testing.assert_allclose(live.tracks["s0"].apart[-1, 1], widths[FITTED + 50], rtol=1e-12)


def test_coverage_is_counted_one_step_ahead():
    held = Track(np.array([[1.0, 1.0]]), ConformalConfig(levels=(0.9,)))
    for said, value in ((0.0, 0.5), (0.0, 3.0), (1.0, 1.2), (1.0, np.nan)):
        held.say(np.array([said, said]))
        held.see(value)
    assert held.seen == 3
    assert held.inside == (2 / 3,)
    again = Track.restore(held.state(), held.config)
    assert again.inside == held.inside
    np.testing.assert_array_equal(again.said, held.said)


@pytest.mark.parametrize("keep", [1, 5, 14])
def test_a_shortened_history_is_filled_alike(keep: int):
    column = values(5, 100)
    column[70:100:PERIOD] = np.nan
    later = np.full(2 * PERIOD, np.nan)
    whole = fill_missing(np.concatenate([column, later]), PERIOD)
    short = fill_missing(np.concatenate([shortened(column, keep, PERIOD), later]), PERIOD)
    np.testing.assert_array_equal(short[-keep - 2 * PERIOD :], whole[-keep - 2 * PERIOD :])


def test_a_new_series_joins_and_revised_rows_replace():
    column = values(6, FITTED)
    made = portfolio("seasonal-naive", panel(column))
    live = LiveForecast(made, panel(column))
    revised = column[-2:] + 100
    newcomer = replace(panel(values(7, 40)).series[0], id="new")
    fresh = panel(revised, start=FITTED - 2)
    advances = live.update(replace(fresh, series=(*fresh.series, newcomer)))
    assert [(one.series, one.rows) for one in advances] == [("s0", 0), ("new", 0)]
    assert len(live.forecasts()) == 2
    np.testing.assert_array_equal(live.panel.series[0].values[-2:], revised)


def sales(path: Path, first: int, last: int) -> str:
    rows = [f"{day},{value}" for day, value in zip(days(last), np.nan_to_num(values(8, last)), strict=True)]
    path.write_text("\n".join(["date,y", *rows[first:]]) + "\n", encoding="utf-8")
    return str(path)


def test_the_command_writes_the_state_back(tmp_path: Path, capsys):
    run = str(tmp_path / "run")
    assert app.run(["fit", sales(tmp_path / "a.csv", 0, 150), "--model", "nlinear", "--out", run, "-q"]) == 0
    for name, first, last in (("b.csv", 150, 155), ("c.csv", 153, 160)):
        assert app.run(["update", run, sales(tmp_path / name, first, last)]) == 0
    said = capsys.readouterr()
    assert "5 new steps; of 5 values" in said.err
    assert "5 new steps; of 10 values" in said.err
    assert said.out.splitlines()[-7].startswith("y,2020-06-09")
    assert app.run(["predict", run]) == 0
    assert capsys.readouterr().out.splitlines()[-7].startswith("y,2020-06-09")


def test_rows_of_another_file_are_refused_and_the_model_stays(tmp_path: Path, capsys):
    run = tmp_path / "run"
    assert (
        app.run(["fit", sales(tmp_path / "a.csv", 0, 90), "--model", "naive", "--out", str(run), "-q"]) == 0
    )
    before = (run / "model" / "config.json").read_bytes()
    other = tmp_path / "other.csv"
    other.write_text("date,price\n2020-06-01,1\n2020-06-02,2\n2020-06-03,3\n", encoding="utf-8")
    assert app.run(["update", str(run), str(other)]) == 2
    assert "none of the series is known" in capsys.readouterr().err
    assert app.run(["update", str(tmp_path / "nowhere"), str(other)]) == 2
    assert (run / "model" / "config.json").read_bytes() == before
