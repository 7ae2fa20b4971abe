"""The report on the data: what it counts and what it suspects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from statewise.core.config import to_dict
from statewise.timeseries.check import Report, check
from statewise.timeseries.data import read

N = 200


def report(folder: Path, columns: dict[str, np.ndarray], drop: tuple[int, ...] = ()) -> Report:
    """The report on a daily file with these columns; blank where NaN, rows in `drop` left out."""
    dates = np.datetime64("2020-01-01") + np.arange(N)
    rows = [
        ",".join([str(dates[i]), *("" if np.isnan(v[i]) else repr(float(v[i])) for v in columns.values())])
        for i in range(N)
        if i not in drop
    ]
    path = folder / "data.csv"
    path.write_text("\n".join([",".join(["date", *columns]), *rows]), encoding="utf-8")
    return check(read([path]))


@pytest.fixture
def noise() -> np.ndarray:
    return 10 + np.random.default_rng(0).normal(size=N)


def test_one_line_per_series(tmp_path: Path, noise: np.ndarray):
    holes = noise.copy()
    holes[[3, 50, 51]] = np.nan
    spiky = noise.copy()
    spiky[100] += 60
    rare = np.where(np.arange(N) % 3 == 0, noise, 0.0)
    weekly = noise + 5 * (np.arange(N) % 7 == 0)
    found = report(
        tmp_path,
        {"holes": holes, "spiky": spiky, "rare": rare, "weekly": weekly, "flat": 0 * noise + 4},
        (20, 21),
    )
    by_id = {one.id: one for one in found.series}
    assert by_id["holes"].missing == 5
    assert by_id["holes"].gaps == 2
    assert by_id["spiky"].outliers == 1
    assert by_id["weekly"].outliers == 0
    assert by_id["weekly"].period == 7
    assert by_id["weekly"].strength > 0.5
    assert by_id["rare"].remarks == ("intermittent",)
    assert by_id["rare"].zeros == pytest.approx(2 / 3, abs=0.01)
    assert by_id["flat"].remarks == ("constant",)
    assert (by_id["spiky"].first, by_id["spiky"].last, by_id["spiky"].steps) == (
        "2020-01-01",
        "2020-07-18",
        N,
    )
    assert found.frequency == "daily"
    assert all(len(row) == len(Report.HEADER) for row in found.rows())
    assert found.rows()[3][9].startswith("7 (")


def test_repeats_are_counted(tmp_path: Path):
    rows = [f"2020-01-{d:02d},{name},{d}" for name in "ab" for d in range(1, 31)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["date,id,y", *rows, "2020-01-05,b,7"]), encoding="utf-8")
    found = check(read([path]))
    assert [one.repeats for one in found.series] == [0, 1]
    assert any(note.kind == "duplicates" for note in found.notes)


def test_suspicious_columns(tmp_path: Path, noise: np.ndarray):
    found = report(
        tmp_path,
        {
            "y": noise,
            "celsius": noise,
            "fahrenheit": 32 + 1.8 * noise,
            "ahead": np.append(noise[1:], np.nan),
            "total": np.cumsum(noise),
            "counter": 1_000.0 + np.arange(N),
            "growth": 1e6 + np.arange(N) ** 1.1,
        },
    )
    kinds = {(one.column, one.kind) for one in found.suspicions}
    assert ("celsius", "copy") in kinds
    assert ("fahrenheit", "copy") in kinds
    assert ("ahead", "shifted-copy") in kinds
    assert ("total", "running-total") in kinds
    assert ("counter", "counter") in kinds
    assert not any(column in ("y", "growth") and kind != "copy" for column, kind in kinds)


def test_a_covariate_that_copies_the_target_is_suspicious(tmp_path: Path, noise: np.ndarray):
    dates = np.datetime64("2020-01-01") + np.arange(N)
    rows = [f"{dates[i]},{noise[i] if i < N - 5 else ''},{noise[i - 1]}" for i in range(1, N)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["date,y,lagged", *rows]), encoding="utf-8")
    found = check(read([path]))
    assert [(one.column, one.kind) for one in found.suspicions] == [("lagged", "shifted-copy")]


def test_nothing_is_suspected_in_plain_noise(tmp_path: Path):
    rng = np.random.default_rng(1)
    assert report(tmp_path, {name: rng.normal(size=N) for name in "abcd"}).suspicions == ()


def test_the_report_travels_as_json(tmp_path: Path, noise: np.ndarray):
    values = to_dict(report(tmp_path, {"y": noise}))
    assert values["series"][0]["id"] == "y"
    assert values["horizon"] == 7
    assert values["notes"][0].keys() == {"kind", "text"}
