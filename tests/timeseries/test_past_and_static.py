"""Covariates that end with the history, and covariates that never change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from statewise.core.errors import DataError
from statewise.timeseries.api import FitSettings, fit_run, merged_options, predict_run
from statewise.timeseries.data import read
from statewise.timeseries.forecaster import Context
from statewise.timeseries.models.linear import WindowLinear
from statewise.timeseries.models.nlinear import NLinear, NLinearConfig
from statewise.timeseries.models.tpgn import TPGNForecaster, TPGNForecasterConfig
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.saved import load_forecast
from statewise.timeseries.triage import usable_covariates

N = 120
OPTIONS = ReadOptions(target=("sales",), past_covariates=("visits",), static=("region", "size"))


def table(n: int = N) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for shop, region, size in (("a", "north", 3.0), ("b", "south", 5.0), ("c", "south", 8.0)):
        visits = rng.normal(size=n)
        parts.append(
            pl.DataFrame(
                {
                    "shop": [shop] * n,
                    "day": pl.date_range(pl.date(2024, 1, 1), pl.date(2025, 12, 31), "1d", eager=True)[:n],
                    "sales": 10 + size + np.roll(visits, 1) * 2 + 0.1 * rng.normal(size=n),
                    "visits": visits,
                    "region": [region] * n,
                    "size": [size] * n,
                }
            )
        )
    return pl.concat(parts)


def test_they_are_read_as_covariates_that_are_not_known_ahead():
    panel = read([table()], OPTIONS).panel
    assert panel.ids == ["a", "b", "c"]
    assert panel.covariate_names == ("visits", "region=north", "region=south", "size")
    assert panel.unknown_ahead == panel.covariate_names
    assert not panel.known_ahead.any()
    covariates = panel.series[1].covariates
    assert covariates is not None
    np.testing.assert_array_equal(covariates[:, 1:], [[0, 1, 5.0]] * N)
    assert usable_covariates(panel, 7) == (panel, [])


def test_holidays_reach_ahead_beside_them():
    panel = read([table()], replace(OPTIONS, holidays="DE")).panel
    assert panel.covariate_names[-1] == "holiday"
    np.testing.assert_array_equal(panel.known_ahead, [False] * 4 + [True])
    assert usable_covariates(panel, 30) == (panel, [])


def test_a_network_sees_the_past_of_them_and_nothing_later():
    panel = read([table()], OPTIONS).panel
    context = Context(horizon=1, period=7, frequency=panel.frequency, epochs=1)
    method = TPGNForecaster(TPGNForecasterConfig(lookback=7, calendar=False))
    method.fit(panel.head([100] * 3), context)
    inputs = method.fitted[0]
    assert (inputs.features, inputs.shifts) == (4, ())
    origins = [np.array([100])] * 3
    before = method.predict(panel, origins)
    for series in panel.series:
        assert series.covariates is not None
        series.covariates[100:] = 1e6
    for one, other in zip(before, method.predict(panel, origins), strict=True):
        np.testing.assert_array_equal(one, other)
    for series in panel.series:
        assert series.covariates is not None
        series.covariates[99, 0] += 1
    assert not np.array_equal(before[0], method.predict(panel, origins)[0])
    again = TPGNForecaster(TPGNForecasterConfig(lookback=7, calendar=False))
    again.restore(method.state(), context)
    np.testing.assert_array_equal(again.predict(panel, origins)[0], method.predict(panel, origins)[0])


def test_a_linear_method_gives_them_no_effect():
    panel = read([table()], OPTIONS).panel
    method: WindowLinear = NLinear(NLinearConfig(lookback=7))
    method.fit(panel, Context(horizon=2, period=7, frequency=panel.frequency))
    assert not method.effects.any()


def test_a_model_reads_newer_rows_of_some_series_alone(tmp_path: Path):
    path, newer = tmp_path / "shops.csv", tmp_path / "newer.csv"
    table().write_csv(path)
    settings = FitSettings(data=(str(path),), model="tpgn-tiny", horizon=2, epochs=1, read=OPTIONS)
    fit_run(settings, out=tmp_path / "run")
    saved = load_forecast(tmp_path / "run")
    assert saved.panel.unknown_ahead == ("visits", "region=north", "region=south", "size")
    later = table(N + 5).filter(pl.col("shop") == "b")
    later[N - 30 :].write_csv(newer)
    assert merged_options(saved.read, None, saved.panel).static == ("region=north", "region=south", "size")
    forecast, _ = predict_run(tmp_path / "run", [str(newer)])
    assert [one.method for one in forecast.forecasts] == ["tpgn"]
    assert np.isfinite(forecast.forecasts[0].point).all()


def test_a_static_column_that_changes_is_named():
    rows = table().with_columns(size=pl.when(pl.col("day").dt.day() == 9).then(1.0).otherwise("size"))
    with pytest.raises(DataError, match="'size' changes within a series"):
        read([rows], OPTIONS)
