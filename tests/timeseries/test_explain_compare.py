"""What a forecast rests on, and which of two runs is better."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from statewise.timeseries.cli import app
from statewise.timeseries.compare import diebold_mariano
from statewise.timeseries.explain import explain_run
from statewise.timeseries.saved import load_forecast
from tests.timeseries.broken_inputs import days


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose values fall by two for each unit of a price that is known a week ahead."""
    rng = np.random.default_rng(1)
    price = rng.integers(1, 9, 137)
    values = 20 - 2 * price + 3 * np.sin(2 * np.pi * np.arange(137) / 7) + rng.normal(size=137) / 10
    rows = [
        f"{day},{values[i]:.3f},{price[i]}" if i < 130 else f"{day},,{price[i]}"
        for i, day in enumerate(days(137))
    ]
    folder = tmp_path_factory.mktemp("shop")
    path = folder / "shop.csv"
    path.write_text("\n".join(["date,sold,price", *rows]) + "\n", encoding="utf-8")
    for model in ("nlinear", "naive"):
        words = ["fit", str(path), "--model", model, "--horizon", "7", "--out", str(folder / model), "-q"]
        assert app.run(words) == 0
    return folder


def test_weights_of_a_linear_method_are_its_coefficients(shop: Path):
    one = explain_run(shop / "nlinear")[0]
    method = load_forecast(shop / "nlinear").portfolio.methods["nlinear"]
    maps = method.state()["maps"][0]
    anchored = maps.copy()
    anchored[-1] += 1 - maps.sum(axis=0)
    for lag in one.lags:
        np.testing.assert_allclose(lag.first, anchored[-lag.lag, 0], atol=1e-9)
        np.testing.assert_allclose(lag.mean, np.abs(anchored[-lag.lag]).mean(), atol=1e-9)
    assert one.lags[0].mean == max(lag.mean for lag in one.lags)
    assert 0 < one.share <= 1 + 1e-12


def test_the_effect_of_a_covariate_and_the_season_are_found(shop: Path):
    one = explain_run(shop / "nlinear", ["sold"])[0]
    (effect,) = one.covariates
    assert effect.name == "price"
    assert -2.2 < effect.first < -1.4  # ridge makes it smaller than the true -2
    assert [period for period, _ in one.seasons] == [7]


def test_the_last_value_is_all_that_naive_rests_on(shop: Path):
    one = explain_run(shop / "naive")[0]
    assert [(lag.lag, round(lag.first, 6)) for lag in one.lags] == [(1, 1.0)]


def test_the_commands_print_and_refuse(shop: Path, capsys):
    assert app.run(["explain", str(shop / "nlinear"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["series"][0]["covariates"][0]["name"] == "price"
    assert app.run(["explain", str(shop / "nlinear"), "soled"]) == 2
    assert "did you mean 'sold'?" in capsys.readouterr().err
    assert app.run(["compare", str(shop / "naive"), str(shop / "nlinear"), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["runs"]
    assert first["difference"] == 0
    assert first["p"] is None
    assert second["difference"] < -0.3
    assert second["p"] < 0.05
    assert (second["better"], second["series"]) == (1, 1)


def test_runs_on_other_data_are_not_compared(shop: Path, tmp_path: Path, capsys):
    other = tmp_path / "other.csv"
    rows = [f"{day},{i % 7}" for i, day in enumerate(days(100))]
    other.write_text("\n".join(["date,sold", *rows]) + "\n", encoding="utf-8")
    assert app.run(["fit", str(other), "--model", "naive", "--out", str(tmp_path / "run"), "-q"]) == 0
    assert app.run(["compare", str(shop / "naive"), str(tmp_path / "run")]) == 2
    assert "other data" in capsys.readouterr().err
    assert app.run(["compare", str(shop / "naive"), str(tmp_path)]) == 2
    assert app.run(["compare", str(shop / "naive")]) == 2


def test_the_paired_test_holds_its_level_under_overlap():
    rng = np.random.default_rng(0)
    overlap = 4
    rejected = 0
    for _ in range(300):
        noise = rng.normal(size=120 + overlap)
        differences = np.convolve(noise, np.ones(overlap + 1), mode="valid")
        rejected += diebold_mariano(differences, overlap) < 0.05
    assert rejected / 300 < 0.12
    assert diebold_mariano(rng.normal(size=120) + 1, 0) < 1e-6
    assert np.isnan(diebold_mariano(np.zeros(50), 0))
