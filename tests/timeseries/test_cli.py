"""The `forecast` command: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from statewise.timeseries.cli import app
from tests.timeseries.broken_inputs import BROKEN, STATED, Broken, Stated, days

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "airline.csv"
QUICK = ("--model", "nlinear", "--quiet")


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    """Two daily series with a weekly season, wide."""
    noise = np.random.default_rng(0).normal(size=(2, 200))
    week = np.sin(2 * np.pi * np.arange(200) / 7)
    rows = [
        f"{day},{10 + 3 * week[i] + noise[0, i]:.3f},{50 - 9 * week[i] + noise[1, i]:.3f},sunny"
        for i, day in enumerate(days(200))
    ]
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(["date,north,south,sky", *rows]) + "\n", encoding="utf-8")
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_forecast(rows: list[dict[str, str]]) -> None:
    assert list(rows[0]) == ["unique_id", "ds", "forecast", "lo_80", "hi_80", "lo_95", "hi_95"]
    for row in rows:
        low95, low80, point, high80, high95 = (
            float(row[name]) for name in ("lo_95", "lo_80", "forecast", "hi_80", "hi_95")
        )
        assert all(math.isfinite(value) for value in (low95, low80, point, high80, high95))
        assert low95 <= low80 <= point <= high80 <= high95


def test_fit_writes_everything_and_says_what_it_assumed(sales: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    assert app.run(["fit", str(sales), "--out", str(run), "--model", "nlinear"]) == 0
    said = capsys.readouterr()
    for words in ("'north', 'south'", "'sky': text", "daily", "season of 7 steps", "--horizon"):
        assert words in said.err
    for method in ("naive", "seasonal-naive", "nlinear"):
        assert method in said.out
    rows = table(run / "forecast.csv")
    check_forecast(rows)
    assert [row["ds"] for row in rows if row["unique_id"] == "south"] == days(7, "2020-07-19")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "<script" not in page
    assert (run / "forecast.png").read_bytes().startswith(b"\x89PNG")
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert {row["method"] for row in scores} >= {"naive", "seasonal-naive", "nlinear", "auto"}


def test_predict_in_a_fresh_process_without_the_data(sales: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert app.run(["fit", str(sales), "--out", str(run), *QUICK]) == 0
    sales.unlink()
    command = [sys.executable, "-m", "statewise.timeseries.cli", "predict", str(run), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == (run / "forecast.csv").read_text(encoding="utf-8")


def test_predict_goes_on_from_newer_rows(sales: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    whole = sales.read_text(encoding="utf-8").splitlines()
    sales.write_text("\n".join(whole[:181]) + "\n", encoding="utf-8")
    assert app.run(["fit", str(sales), "--out", str(run), *QUICK]) == 0
    newer, everything = tmp_path / "newer.csv", tmp_path / "all.csv"
    newer.write_text("\n".join([whole[0], *whole[181:]]) + "\n", encoding="utf-8")
    everything.write_text("\n".join(whole) + "\n", encoding="utf-8")
    capsys.readouterr()
    outputs = []
    for path in (newer, everything):
        assert app.run(["predict", str(run), str(path), "--json"]) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    assert outputs[0]["rows"][0][1] == "2020-07-19"


def test_a_run_is_never_overwritten(sales: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    for _ in range(2):
        assert app.run(["fit", str(sales), "--out", str(run), "--model", "naive"]) == 0
    assert "so this run goes to" in capsys.readouterr().err
    assert (tmp_path / "run-2" / "forecast.csv").is_file()


def test_the_saved_flags_repeat_the_run(sales: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    flags = ["--model", "nlinear", "--horizon", "5", "--target", "south", "--seed", "3", "--quiet"]
    assert app.run(["fit", str(sales), "--out", str(first), *flags]) == 0
    again = ["fit", str(sales), "--out", str(second), "--config", str(first / "config.toml"), "--quiet"]
    assert app.run(again) == 0
    assert (first / "forecast.csv").read_bytes() == (second / "forecast.csv").read_bytes()


def test_json_is_one_document(sales: Path, tmp_path: Path, capsys):
    for words in (
        ["fit", str(sales), "--out", str(tmp_path / "run"), "--model", "seasonal-naive", "--json"],
        ["evaluate", str(sales), "--model", "naive", "--json"],
        ["check", str(sales), "--json"],
        ["models", "--json"],
        ["data", "--json"],
    ):
        assert app.run(words) == 0
        assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_check_reports_without_training(sales: Path, capsys):
    assert app.run(["check", str(sales)]) == 0
    said = capsys.readouterr()
    assert "north" in said.out
    assert "7 steps" in said.err


def test_evaluate_prints_the_naive_rows_beside_the_method(capsys):
    assert app.run(["evaluate", str(EXAMPLE), "--model", "nlinear"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line} >= {"naive", "seasonal-naive", "drift", "nlinear"}
    assert "they chose nothing" in lines[0]


def test_known_future_covariates_are_rows_with_a_blank_target(tmp_path: Path):
    rng = np.random.default_rng(1)
    price = rng.integers(1, 9, 130)
    values = 20 - 2 * price + rng.normal(size=130) / 10
    rows = [
        f"{day},{values[i]:.3f},{price[i]}" if i < 123 else f"{day},,{price[i]}"
        for i, day in enumerate(days(130))
    ]
    path, run = tmp_path / "shop.csv", tmp_path / "run"
    path.write_text("\n".join(["date,sold,price", *rows]) + "\n", encoding="utf-8")
    assert app.run(["fit", str(path), "--horizon", "7", "--out", str(run), *QUICK]) == 0
    rows_out = table(run / "forecast.csv")
    assert {row["unique_id"] for row in rows_out} == {"sold"}
    errors = np.array([float(row["forecast"]) for row in rows_out]) - (20 - 2 * price[123:])
    assert np.abs(errors).mean() < 1.0


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_input_ends_with_exit_2_and_one_message(case: Broken, tmp_path: Path, capsys):
    arguments = case.build(tmp_path)
    assert app.run(["fit", *arguments, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err.count("error: ") == 1
    for piece in case.expected:
        assert piece in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("case", STATED, ids=lambda case: case.name)
def test_a_series_without_information_is_forecast_all_the_same(case: Stated, tmp_path: Path, capsys):
    arguments = case.build(tmp_path)
    run = tmp_path / "run"
    assert app.run(["fit", *arguments, "--out", str(run), "--model", "nlinear"]) == 0
    said = capsys.readouterr()
    assert case.expected in said.err
    text = (run / "forecast.csv").read_text(encoding="utf-8").lower()
    assert "nan" not in text
    assert "inf" not in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit"], ("no data file is named", "forecast fit data.csv")),
        (["fit", "SALES", "--horizon", "0"], ("horizon", "1 or more")),
        (["fit", "SALES", "--horizon", "9999"], ("longer than the history", "200 steps", "--horizon 40")),
        (["fit", "SALES", "--horizon", "soon"], ("--horizon",)),
        (["fit", "SALES", "--period", "0"], ("period", "1 or more")),
        (["fit", "SALES", "--model", "nliner"], ("nliner", "did you mean 'nlinear'?")),
        (["fit", "SALES", "--model", "tpgn-huge"], ("no preset of tpgn called 'huge'", "base, small, tiny")),
        (["fit", "SALES", "--budget", "a while"], ("--budget",)),
        (["fit", "SALES", "--epochs", "0"], ("--epochs",)),
        (["fit", "SALES", "--horizn", "3"], ("--horizn", "--horizon")),
        (["fit", "SALES", "--device", "abacus", "--model", "tpgn"], ("abacus",)),
        (["fit", "--resume", "FOLDER"], ("not a run directory", "no run.json")),
        (["predict", "SALES"], ("sales.csv", "not a model directory")),
        (["predict", "FOLDER/nowhere"], ("not a model directory", "no such directory")),
        (["fti", "SALES"], ("fti", "fit")),
        (["data", "etth9"], ("etth9", "did you mean")),
        (["data", "airline", "SALES"], ("is not the original file of 'airline'",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_ends_with_exit_2_and_the_fix(words, expected, sales: Path, tmp_path: Path, capsys):
    names = {"SALES": str(sales), "FOLDER": str(tmp_path)}
    words = [names.get(word, word.replace("FOLDER", str(tmp_path))) for word in words]
    assert app.run(words) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    for piece in expected:
        assert piece in said.err


def test_files_swapped_at_predict_are_named(sales: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    assert app.run(["fit", str(sales), "--out", str(run), *QUICK]) == 0
    assert app.run(["predict", str(run), str(EXAMPLE)]) == 2
    message = capsys.readouterr().err
    for piece in ("none of the series is known to this model", "Passengers", "north, south", "--target"):
        assert piece in message


def test_a_damaged_model_is_named(sales: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    assert app.run(["fit", str(sales), "--out", str(run), *QUICK]) == 0
    arrays = run / "model" / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-9])
    assert app.run(["predict", str(run)]) == 2
    assert "arrays.safetensors" in capsys.readouterr().err


def test_resume_with_other_data_is_refused(sales: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    assert app.run(["fit", str(sales), "--out", str(run), *QUICK]) == 0
    sales.write_text(
        sales.read_text(encoding="utf-8").replace("2020-01-05,", "2020-01-05,9"), encoding="utf-8"
    )
    assert app.run(["fit", "--resume", str(run)]) == 2
    assert "began with other data" in capsys.readouterr().err
