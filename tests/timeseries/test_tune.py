"""The search of settings: it starts from the defaults, sees no test rows, and leaves a fitted run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from statewise.timeseries.api import FitSettings, resume_run
from statewise.timeseries.cli import app
from statewise.timeseries.tune import tune_run

EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples" / "airline.csv")


def search(model: str, path: Path, **settings: int) -> list[dict[str, object]]:
    tuned = tune_run(FitSettings(data=(EXAMPLE,), model=model, epochs=1, **settings), trials=5, out=path)
    assert tuned.best.mase == min(one.mase for one in tuned.trials) <= tuned.trials[0].mase
    assert tuned.trials[0].settings == {}
    return json.loads((path / "trials.json").read_text(encoding="utf-8"))


def test_the_search_repeats_and_keeps_what_it_found(tmp_path: Path):
    trials = search("nlinear", tmp_path / "one")
    again = search("nlinear", tmp_path / "two")
    assert [one["settings"] for one in trials] == [one["settings"] for one in again]
    assert len(trials) == 5
    assert set(trials[1]["settings"]) == {"lookback", "strength"}  # pyright: ignore[reportArgumentType]
    one, two = ((tmp_path / name / "forecast.csv").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_resumed_run_keeps_the_settings_found(tmp_path: Path):
    trials = search("nlinear", tmp_path / "run")
    before = (tmp_path / "run" / "forecast.csv").read_bytes()
    best = min(trials, key=lambda one: one["mase"])["settings"]  # pyright: ignore[reportArgumentType, reportCallIssue]
    kept = json.loads((tmp_path / "run" / "methods.json").read_text(encoding="utf-8"))["nlinear"]
    assert {key: kept[key] for key in best} == best  # pyright: ignore[reportGeneralTypeIssues]
    resume_run(tmp_path / "run")
    assert (tmp_path / "run" / "forecast.csv").read_bytes() == before


def test_quantile_intervals_are_kept_by_the_fit(tmp_path: Path):
    out = tmp_path / "run"
    command = ["tune", EXAMPLE, "--model", "s5", "--epochs", "1", "--trials", "1", "--intervals", "quantile"]
    assert app.run([*command, "--out", str(out)]) == 0
    assert json.loads((out / "settings.json").read_text(encoding="utf-8"))["intervals"] == "quantile"


@pytest.mark.parametrize(
    ("model", "piece"), [("auto", "takes one method"), ("naive", "no settings to search"), ("tpng", "tpgn")]
)
def test_a_wrong_method_is_refused(model: str, piece: str, capsys):
    assert app.run(["tune", EXAMPLE, "--model", model]) == 2
    assert piece in capsys.readouterr().err


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert app.run(["tune", EXAMPLE, "--model", "nlinear"]) == 2
    assert "statewise-timeseries[tune]" in capsys.readouterr().err
