"""Many series from parquet: the store holds what the file says, and blocks forecast as one panel does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from statewise.core.errors import DataError
from statewise.timeseries.api import FitSettings, fit_run, predict_run
from statewise.timeseries.bulk import bulk_predict
from statewise.timeseries.store import Columns, Store, build_store

DAYS = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 3, 31), "1d", eager=True)
LENGTHS = {"a": 91, "b": 60, "c": 77, "d": 91, "e": 33}


def rows(shuffled: bool = True) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    parts = [
        pl.DataFrame(
            {
                "unique_id": name,
                "ds": DAYS[-n:],
                "y": 10 + np.sin(np.arange(n) * 0.9) + 0.1 * rng.normal(size=n),
            }
        )
        for name, n in LENGTHS.items()
    ]
    table = pl.concat(parts)
    return table.sample(fraction=1.0, shuffle=True, seed=1) if shuffled else table


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bulk") / "rows.parquet"
    rows().write_parquet(path, row_group_size=50)
    return path


def test_store_holds_what_the_file_says(parquet: Path, tmp_path: Path):
    build_store([parquet], tmp_path / "store", "D")
    panel = Store.open(tmp_path / "store").panel()
    table = rows(shuffled=False)
    assert panel.ids == list(LENGTHS)
    for series in panel.series:
        own = table.filter(pl.col("unique_id") == series.id)
        np.testing.assert_array_equal(series.values, own["y"].to_numpy())
        np.testing.assert_array_equal(series.times, own["ds"].to_numpy().astype("datetime64[us]"))
        assert not series.values.flags.owndata
        assert not series.values.flags.writeable
    assert panel.series[0].times is panel.series[3].times


def test_missing_steps_are_gaps_and_steps_may_be_numbers(tmp_path: Path):
    table = pl.DataFrame({"k": ["x"] * 3 + ["y"], "t": [4, 1, 2, 9], "v": [4.0, 1.0, 2.0, 9.0]})
    table.write_parquet(tmp_path / "t.parquet")
    store = build_store(
        [tmp_path / "t.parquet"], tmp_path / "s", "step", Columns(id="k", time="t", target="v")
    )
    x, y = store.panel().series
    np.testing.assert_array_equal(x.values, [1.0, 2.0, np.nan, 4.0])
    np.testing.assert_array_equal(y.times, [9])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: pl.concat([table, table[:1]]), "stands there twice"),
        (
            lambda table: table.with_columns(pl.col("ds") + pl.duration(hours=5 * (pl.col("y") > 10.9))),
            "between",
        ),
        (lambda table: table.rename({"y": "sales"}), "has no column 'y'"),
    ],
    ids=["twice", "between", "column"],
)
def test_what_does_not_fit_is_named(change: object, words: str, tmp_path: Path):
    assert callable(change)
    change(rows()).write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=words):
        build_store([tmp_path / "bad.parquet"], tmp_path / "store", "D")


@pytest.fixture(scope="module")
def run(parquet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    fit_run(FitSettings(data=(str(parquet),), model="nlinear", horizon=3), out=out)
    return out


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.parametrize("workers", [None, pytest.param(1, marks=pytest.mark.slow)], ids=["alone", "ray"])
def test_blocks_forecast_as_one_panel(workers: int | None, parquet: Path, run: Path, tmp_path: Path):
    if workers is not None:
        pytest.importorskip("ray")
    build_store([parquet], tmp_path / "store", "D")
    done = bulk_predict(run, tmp_path / "store", tmp_path / "out", block=2, workers=workers)
    assert (len(done.files), done.series, done.noted) == (3, 5, 0)
    table = pl.concat([pl.read_parquet(file) for file in done.files])
    expected, _ = predict_run(run)
    assert table.columns[:-1] == expected.columns
    for one in expected.forecasts:
        own = table.filter(pl.col("unique_id") == one.series)
        np.testing.assert_allclose(own["forecast"].to_numpy(), one.point)
        np.testing.assert_allclose(own["hi_95"].to_numpy(), one.upper[1])
