"""Holidays by country: the right days, as far ahead as a forecast can reach, and what they are good for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from statewise.core.errors import ConfigError
from statewise.timeseries.cli import app
from statewise.timeseries.data import read
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.holiday import holiday_counts
from statewise.timeseries.options import ReadOptions
from tests.timeseries.broken_inputs import days

DAY = Frequency("day")


def on(frequency: Frequency, first: str, n: int, code: str) -> list[str]:
    times = frequency.range(np.datetime64(first), n)
    return [str(t)[:13] for t in times[holiday_counts(times, frequency, code) > 0]]


def test_days_are_those_of_the_country_and_its_part():
    assert on(DAY, "2024-12-20", 14, "DE") == ["2024-12-25T00", "2024-12-26T00", "2025-01-01T00"]
    epiphany = on(DAY, "2025-01-05", 3, "de-by")
    assert epiphany == ["2025-01-06T00"]
    assert on(DAY, "2025-01-05", 3, "DE") == []


def test_hours_of_a_holiday_all_count_and_long_steps_count_their_holidays():
    assert len(on(Frequency("hour"), "2024-12-24T12", 48, "DE")) == 36
    months = Frequency("month").range(np.datetime64("2024-11-01"), 3)
    assert holiday_counts(months, Frequency("month"), "DE").tolist() == [0, 2, 1]
    weeks = Frequency("week").range(np.datetime64("2024-12-23"), 2)
    assert holiday_counts(weeks, Frequency("week"), "DE").tolist() == [2, 1]


def shop(path: Path, n: int = 420) -> str:
    """Closed on the holidays of Germany."""
    stamps = days(n, "2023-01-01")
    closed = holiday_counts(np.array(stamps, dtype="datetime64[us]"), DAY, "DE")
    rng = np.random.default_rng(0)
    values = (1 - closed) * (50 + 5 * np.sin(2 * np.pi * np.arange(n) / 7) + rng.normal(size=n))
    path.write_text(
        "\n".join(["date,sold", *(f"{day},{v:.2f}" for day, v in zip(stamps, values, strict=True))]) + "\n",
        encoding="utf-8",
    )
    return str(path)


def test_the_panel_knows_them_ahead(tmp_path: Path):
    reading = read([shop(tmp_path / "shop.csv")], ReadOptions(holidays="DE"))
    (series,) = reading.panel.series
    assert reading.panel.covariate_names == ("holiday",)
    assert series.covariates is not None
    assert len(series.covariates) == len(series) + 1_000
    assert any("10 days with a public holiday of DE" in note.text for note in reading.notes)


def test_a_holiday_ahead_is_forecast_as_one(tmp_path: Path, capsys):
    path = shop(tmp_path / "shop.csv", 446)  # to 21 March 2024: Good Friday is the 29th
    for flags in ([], ["--holidays", "DE"]):
        words = ["fit", path, "--model", "nlinear", "--horizon", "14", "-q", "--out"]
        assert app.run([*words, str(tmp_path / f"run{len(flags)}"), *flags]) == 0
    good_friday = {}
    for name in ("run0", "run2"):
        lines = (tmp_path / name / "forecast.csv").read_text(encoding="utf-8").splitlines()
        good_friday[name] = float(next(line for line in lines if ",2024-03-29," in line).split(",")[2])
    assert good_friday["run0"] > 40
    assert good_friday["run2"] < 25
    newer = tmp_path / "newer.csv"
    newer.write_text("date,sold\n2024-03-22,50\n2024-03-23,51\n", encoding="utf-8")
    capsys.readouterr()
    assert app.run(["predict", str(tmp_path / "run2"), str(newer), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["rows"]
    easter_monday = next(row for row in table if row[1] == "2024-04-01")
    assert easter_monday[2] < 25
    assert app.run(["predict", str(tmp_path / "run2")]) == 0
    assert capsys.readouterr().out == (tmp_path / "run2" / "forecast.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(("code", "piece"), [("XX", "no holidays for 'XX'"), ("DE-ZZ", "no part 'ZZ'")])
def test_an_unknown_country_is_refused(code: str, piece: str):
    with pytest.raises(ConfigError, match=piece):
        on(DAY, "2024-01-01", 3, code)


def test_rows_without_dates_have_no_holidays(tmp_path: Path, capsys):
    (tmp_path / "y.csv").write_text("y\n" + "\n".join(map(str, range(50))) + "\n", encoding="utf-8")
    assert app.run(["fit", str(tmp_path / "y.csv"), "--time", "none", "--holidays", "DE"]) == 2
    assert "no dates" in capsys.readouterr().err
