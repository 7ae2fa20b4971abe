"""The reader as a whole: the same panel whatever the writing; gaps, duplicates, what is known ahead."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statewise.core.errors import DataError
from statewise.timeseries.data import Reading, ReadOptions, read
from statewise.timeseries.frequency import Frequency

SLOW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FREQUENCIES = ("h", "15min", "D", "B", "W-MON", "MS", "ME", "QS-JAN", "YS-JAN")


def said(found: Reading, kind: str) -> str:
    return "; ".join(note.text for note in found.notes if note.kind == kind)


def write(folder: Path, rows: list[str], name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def read_rows(folder: Path, rows: list[str], **options: Any) -> Reading:
    return read([write(folder, rows)], ReadOptions(**options))


@dataclass
class Truth:
    """A panel to be written down and read back."""

    frequency: Frequency
    times: np.ndarray
    values: np.ndarray  # (n, columns), NaN where missing


@st.composite
def truths(draw: st.DrawFn) -> Truth:
    frequency = Frequency.parse(draw(st.sampled_from(FREQUENCIES)))
    n = draw(st.integers(13, 40))
    first = {"W-MON": "2018-12-31", "ME": "2019-01-31", "B": "2019-01-01"}.get(frequency.code, "2019-01-01")
    times = frequency.range(np.datetime64(first), n)
    columns = draw(st.integers(1, 3))
    cents = st.integers(-99_999_999, 99_999_999)
    values = (
        np.array(draw(st.lists(cents, min_size=n * columns, max_size=n * columns))).reshape(n, columns) / 100
    )
    for row, column in draw(
        st.lists(st.tuples(st.integers(1, n - 2), st.integers(0, columns - 1)), max_size=4)
    ):
        values[row, column] = np.nan
    return Truth(frequency, times, values)


@dataclass
class Writing:
    """A way of writing a table down."""

    delimiter: str
    decimal: str
    groups: str
    dates: str
    encoding: str
    feed: str
    missing: str
    quoted: bool
    title: bool


@st.composite
def writings(draw: st.DrawFn) -> Writing:
    decimal = draw(st.sampled_from(".,"))
    delimiter = draw(st.sampled_from([";", "\t", "|", ","] if decimal == "." else [";", "\t", "|"]))
    groups = draw(st.sampled_from(["", " ", "'", "." if decimal == "," else ","]))
    return Writing(
        delimiter=delimiter,
        decimal=decimal,
        groups=groups,
        dates=draw(
            st.sampled_from(["%Y-%m-%d %H:%M", "%Y/%m/%dT%H:%M:%S", "%d.%m.%Y %H:%M", "%d %B %Y %H:%M"])
        ),
        encoding=draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])),
        feed=draw(st.sampled_from(["\n", "\r\n"])),
        missing=draw(st.sampled_from(["", "NA", "nan", "null", "-"])),
        quoted=draw(st.booleans()),
        title=draw(st.booleans()),
    )


def written(truth: Truth, way: Writing) -> list[str]:
    """The rows of the file, without its line feeds."""

    def number(value: float) -> str:
        if np.isnan(value):
            return way.missing
        text = f"{value:,.2f}".replace(",", "_").replace(".", way.decimal).replace("_", way.groups)
        return f'"{text}"' if way.quoted or way.delimiter in text else text

    names = [f"größe{i}" for i in range(truth.values.shape[1])]
    rows = [way.delimiter.join(["date", *(f'"{name}"' if way.quoted else name for name in names)])]
    for time, values in zip(truth.times.astype(object), truth.values, strict=True):
        rows.append(way.delimiter.join([time.strftime(way.dates), *(number(value) for value in values)]))
    return (["Report of the year", ""] if way.title else []) + rows


def same(found: Reading, truth: Truth) -> None:
    """The panel is the one that was written; ends without a value are cut."""
    assert found.panel.frequency.range(truth.times[0], 5).tolist() == truth.times[:5].tolist()
    for i, series in enumerate(found.panel.series):
        assert series.id == f"größe{i}"
        assert np.array_equal(series.times, truth.times)
        assert np.array_equal(series.values, truth.values[:, i], equal_nan=True)


@SLOW
@given(truth=truths(), way=writings())
def test_any_writing_gives_the_same_panel(tmp_path: Path, truth: Truth, way: Writing):
    path = tmp_path / "data.csv"
    path.write_bytes(way.feed.join([*written(truth, way), ""]).encode(way.encoding))
    same(read([path]), truth)


@SLOW
@given(truth=truths(), seed=st.integers(0, 1_000))
def test_shuffling_rows_changes_nothing(tmp_path: Path, truth: Truth, seed: int):
    way = Writing(",", ".", "", "%Y-%m-%d %H:%M", "utf-8", "\n", "", False, False)
    header, *rows = written(truth, way)
    shuffled = np.random.default_rng(seed).permutation(rows).tolist()
    first = read_rows(tmp_path, [header, *rows]).panel
    second = read_rows(tmp_path, [header, *shuffled]).panel
    assert first.fingerprint == second.fingerprint
    same(read_rows(tmp_path, [header, *shuffled]), truth)


@SLOW
@given(truth=truths(), seed=st.integers(0, 1_000))
def test_wide_long_and_parquet_agree(tmp_path: Path, truth: Truth, seed: int):
    wide = pl.DataFrame({"date": truth.times} | {f"größe{i}": v for i, v in enumerate(truth.values.T)})
    long = wide.unpivot(index="date", variable_name="series", value_name="value").filter(
        pl.col("value").is_not_nan()
    )
    long = long.sample(fraction=1, shuffle=True, seed=seed)
    wide.with_columns(pl.selectors.numeric().fill_nan(None)).write_csv(tmp_path / "wide.csv")
    wide.write_parquet(tmp_path / "wide.parquet")
    long.write_csv(tmp_path / "long.csv")
    found = read([tmp_path / "wide.csv"])
    same(found, truth)
    assert read([tmp_path / "wide.parquet"]).panel.fingerprint == found.panel.fingerprint
    assert read([wide]).panel.fingerprint == found.panel.fingerprint
    if truth.values.shape[1] > 1:
        assert read([tmp_path / "long.csv"]).panel.fingerprint == found.panel.fingerprint


@given(
    code=st.sampled_from([*FREQUENCIES, "30s", "2h", "2W-MON", "2QS-JAN", "YE-DEC", "QE-DEC", "250ms"]),
    drop=st.sets(st.integers(3, 37), max_size=20),
)
@SLOW
def test_absent_rows_are_unknown_steps(tmp_path: Path, code: str, drop: set[int]):
    frequency = Frequency.parse(code)
    first = {"ME": "2019-01-31", "YE-DEC": "2018-12-31", "QE-DEC": "2019-03-31", "W-MON": "2018-12-31"}
    start = np.datetime64(first.get(code, "2018-12-31" if code == "2W-MON" else "2019-01-01"))
    times = frequency.range(start, 41)
    rows = [f"{times[i]},{i % 6}.5" for i in range(41) if i not in drop]
    found = read_rows(tmp_path, ["date,y", *rows])
    (series,) = found.panel.series
    assert np.array_equal(series.times, times)
    assert np.flatnonzero(np.isnan(series.values)).tolist() == sorted(drop)
    assert found.gaps == ({"y": len(drop)} if drop else {})
    assert bool(said(found, "gaps")) == bool(drop)


def test_gaps_are_said(tmp_path: Path):
    rows = [
        "date,id,y",
        *(
            f"2020-01-{d:02d},{s},{d}"
            for s in "ab"
            for d in range(1, 31)
            if (s, d) not in {("b", 7), ("b", 9)}
        ),
    ]
    found = read_rows(tmp_path, rows)
    assert found.gaps == {"b": 2}
    assert "2 of 60 steps have no row in 1 of 2 series, the first 2020-01-07: they count as unknown" in said(
        found, "gaps"
    )


def test_blank_cells_and_ends(tmp_path: Path):
    rows = [
        "date,a,b",
        *(f"2020-01-{d:02d},{'' if d in (1, 2, 9) else d},{d if d < 25 else ''}" for d in range(1, 31)),
    ]
    found = read_rows(tmp_path, rows, target=("a", "b"))
    a, b = found.panel.series
    assert (str(a.times[0])[:10], len(a)) == ("2020-01-03", 28)
    assert (str(b.times[-1])[:10], len(b)) == ("2020-01-24", 24)
    assert "cells are blank in 'a'" in said(found, "missing")
    assert "'b' ends before 2020-01-30" in said(found, "ends")


def test_exact_repetitions_are_dropped_and_others_averaged(tmp_path: Path):
    rows = [
        "date,y",
        *(f"2020-01-{d:02d},{d}" for d in range(1, 31)),
        "2020-01-03,3",
        "2020-01-05,8",
        "2020-01-05,",
    ]
    found = read_rows(tmp_path, rows)
    assert found.panel.series[0].values[[2, 4]].tolist() == [3, 6.5]
    assert "rows that repeat another one: 1, the first is row 32; dropped" in said(found, "duplicates")
    assert (
        "rows that share a time stamp with another: 2, such as rows 6 and 33 (2020-01-05); the mean is taken"
        in said(found, "duplicates")
    )
    assert "row 32 is earlier than the one before it: all rows are sorted" in said(found, "order")


@pytest.mark.parametrize(("how", "value"), [("mean", 2.0), ("sum", 6.0), ("first", 3.0), ("last", 2.0)])
def test_rows_of_one_step_become_one(tmp_path: Path, how: str, value: float):
    rows = ["date,y", *(f"2020-01-{d:02d},{y}" for d in range(1, 31) for y in (3, 1, "", 2))]
    found = read_rows(tmp_path, rows, aggregate=how)
    assert found.panel.series[0].values.tolist() == [value] * 30


def test_a_longer_step_on_request(tmp_path: Path):
    times = Frequency("hour").range(np.datetime64("2020-01-01T05"), 24 * 5)
    rows = ["time,y", *(f"{time},1" for time in times)]
    found = read_rows(tmp_path, rows, frequency="D", aggregate="sum")
    assert found.panel.series[0].values.tolist() == [19, 24, 24, 24, 24, 5]
    assert str(found.panel.series[0].times[0]) == "2020-01-01T00:00:00.000000"
    assert "as --frequency asks" in said(found, "frequency")
    assert (
        read_rows(tmp_path, rows, frequency="h").panel.fingerprint
        == read_rows(tmp_path, rows).panel.fingerprint
    )


def test_irregular_stamps_fall_into_natural_steps(tmp_path: Path):
    rng = np.random.default_rng(0)
    times = np.datetime64("2020-01-01T00:00") + np.cumsum(rng.integers(5, 55, 200))
    found = read_rows(tmp_path, ["time,y", *(f"{time},{i}" for i, time in enumerate(times))])
    assert found.panel.frequency == Frequency("minute", 30)
    (series,) = found.panel.series
    step = np.datetime64("2020-01-01T03:00", "us")
    inside = np.flatnonzero((times >= step) & (times < step + np.timedelta64(30, "m")))
    assert series.values[series.times == step].tolist() == [inside.mean()]
    assert "the spacing is irregular, with a median of" in said(found, "frequency")


def test_stamps_a_little_off_the_grid(tmp_path: Path):
    rng = np.random.default_rng(0)
    times = np.datetime64("2020-01-01T00:00:00") + 600 * np.arange(100) + rng.integers(-9, 9, 100)
    found = read_rows(tmp_path, ["time,y", *(f"{time},{i}" for i, time in enumerate(times))])
    (series,) = found.panel.series
    assert np.array_equal(series.times, Frequency("minute", 10).range(np.datetime64("2020-01-01"), 100))
    assert series.values.tolist() == list(range(100))
    assert "a little off the grid" in said(found, "frequency")


def test_the_last_day_of_trade_is_the_month(tmp_path: Path):
    days = Frequency("business-day").range(np.datetime64("2019-01-01"), 600).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    last = days[np.append(months[1:] != months[:-1], False)]
    found = read_rows(tmp_path, ["date,y", *(f"{day},{i}" for i, day in enumerate(last))])
    assert found.panel.frequency.code == "ME"
    assert found.panel.series[0].values.tolist() == list(range(len(last)))
    assert "the day of the month varies" in said(found, "frequency")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_daylight_saving(tmp_path: Path, zone: str):
    clock = ZoneInfo(zone)
    start = datetime(2021, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp()
    local = [datetime.fromtimestamp(start + 3_600 * i, clock) for i in range(24 * 365)]
    naive = read_rows(tmp_path, ["time,y", *(f"{t:%Y-%m-%d %H:%M},{i}" for i, t in enumerate(local))])
    (series,) = naive.panel.series
    assert naive.panel.frequency.code == "h"
    assert int(np.isnan(series.values).sum()) == 1
    assert naive.repeats == {"y": 1}
    assert "daylight saving" in said(naive, "daylight-saving")
    aware = read_rows(tmp_path, ["time,y", *(f"{t.isoformat()},{i}" for i, t in enumerate(local))])
    assert (aware.panel.zone, len(aware.panel.series[0])) == ("UTC", len(local))
    assert not np.isnan(aware.panel.series[0].values).any()
    assert "read as UTC" in said(aware, "zone")
    daily = read_rows(
        tmp_path, ["time,y", *(f"{t.isoformat()},{i}" for i, t in enumerate(local) if t.hour == 7)]
    )
    assert daily.panel.frequency.code == "D"
    assert not daily.gaps


def test_known_ahead_by_blank_targets(tmp_path: Path):
    rows = [
        "date,y,price,promo",
        *(f"2020-01-{d:02d},{d if d < 26 else ''},{d % 3},{d % 2}" for d in range(1, 31)),
    ]
    for options in ({}, {"target": ("y",)}, {"covariates": ("price", "promo")}):
        found = read_rows(tmp_path, rows, **options)
        (series,) = found.panel.series
        assert found.panel.covariate_names == ("price", "promo")
        assert (series.id, len(series)) == ("y", 25)
        assert series.covariates is not None
        assert series.covariates.shape == (30, 2)
        assert series.covariates[:3, 0].tolist() == [1, 2, 0]
        assert "known ahead: 'price', 'promo', 5 rows have them and no 'y'" in said(found, "covariates")


def test_known_ahead_in_a_long_file(tmp_path: Path):
    rows = ["id,date,y,price"]
    rows += [
        f"{s},2020-01-{d:02d},{d if d < 20 + n else ''},{n}" for n, s in enumerate("ab") for d in range(1, 26)
    ]
    found = read_rows(tmp_path, rows)
    assert [len(series) for series in found.panel.series] == [19, 20]
    assert [series.covariates.shape for series in found.panel.series if series.covariates is not None] == [
        (25, 1)
    ] * 2


def test_a_column_that_ends_early_is_not_taken_for_a_target(tmp_path: Path):
    rows = ["date,a,b", *(f"2020-{m:02d}-01,{m if m < 6 else ''},{m}" for m in range(1, 13))]
    assert read_rows(tmp_path, rows).panel.ids == ["a", "b"]
    late = ["date,a,b", *(f"2020-01-{d:02d},{d if d < 30 else ''},{d}" for d in range(1, 31))]
    assert read_rows(tmp_path, late).panel.ids == ["a", "b"]


def test_holes_in_a_covariate_are_filled_and_said(tmp_path: Path):
    rows = [
        "date,y,price",
        *(f"2020-01-{d:02d},{d if d < 26 else ''},{'' if d in (1, 9) else d}" for d in range(1, 31)),
    ]
    found = read_rows(tmp_path, rows, target=("y",))
    known = found.panel.series[0].covariates
    assert known is not None
    assert known[[0, 8], 0].tolist() == [2, 8]
    assert "'price' lacks 2 values: each takes the one before it" in said(found, "covariates")


def test_several_files(tmp_path: Path):
    days = [f"2020-01-{d:02d},{d}" for d in range(1, 31)]
    first, second = (
        write(tmp_path, ["date,y", *days[:15]], "a.csv"),
        write(tmp_path, ["date,y", *days[15:]], "b.csv"),
    )
    whole = write(tmp_path, ["date,y", *days], "c.csv")
    assert read([first, second]).panel.fingerprint == read([whole]).panel.fingerprint
    apart = read([first, whole])
    assert apart.panel.ids == ["a", "c"]
    assert [len(series) for series in apart.panel.series] == [15, 30]
    assert "told apart by the file" in said(apart, "id")


def test_ways_into_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path, ["date,y", *(f"2020-01-{d:02d},{d}" for d in range(1, 31))])
    plain = read([path]).panel
    packed = tmp_path / "data.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read([packed]).panel.fingerprint == plain.fingerprint
    assert read([pl.read_csv(path)]).panel.fingerprint == plain.fingerprint
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes()), encoding="utf-8"))
    piped = read(["-"]).panel
    assert (piped.fingerprint, piped.sources) == (plain.fingerprint, ("standard input",))


def test_the_fingerprint_follows_the_data(tmp_path: Path):
    rows = ["date,y", *(f"2020-01-{d:02d},{d}" for d in range(1, 31))]
    first = read_rows(tmp_path, rows).panel.fingerprint
    assert len(first) == 16
    assert read_rows(tmp_path, [*rows[:-1], "2020-01-30,31"]).panel.fingerprint != first
    assert read_rows(tmp_path, ["date,z", *rows[1:]]).panel.fingerprint != first


def test_typed_columns_of_parquet(tmp_path: Path):
    n = 40
    frame = pl.DataFrame(
        {
            "day": pl.date_range(datetime(2020, 1, 1), datetime(2020, 2, 9), eager=True),
            "count": pl.Series(range(n), dtype=pl.UInt8),
            "price": pl.Series([f"{i}.25" for i in range(n)]).cast(pl.Decimal(10, 2)),
            "kind": pl.Series(["a", "b"] * (n // 2), dtype=pl.Categorical),
            "tags": [[1, 2]] * n,
            "open": [True, False] * (n // 2),
        }
    )
    frame.write_parquet(tmp_path / "data.parquet")
    found = read([tmp_path / "data.parquet"])
    assert found.panel.ids == ["count", "price"]
    assert found.panel.series[1].values[3] == 3.25
    assert "'tags': lists" in said(found, "ignored")


def test_many_series_share_their_stamps(tmp_path: Path):
    n, length = 300, 50
    times = np.tile(Frequency("day").range(np.datetime64("2020-01-01"), length), n)
    frame = pl.DataFrame(
        {"unique_id": np.repeat(np.arange(n), length), "ds": times, "y": np.arange(n * length) % 97}
    )
    panel = read([frame]).panel
    assert len(panel) == n
    assert panel.ids[:2] == ["0", "1"]
    assert all(np.shares_memory(panel.series[0].times, series.times) for series in panel.series)


def test_a_frame_without_rows():
    with pytest.raises(DataError, match="data frame: holds no rows of data"):
        read([pl.DataFrame({"date": [], "y": []})])


def test_real_files(real_data: Path):
    expected = {
        "ETTh1.csv": ("h", 7, 17_420),
        "exchange_rate.csv": ("D", 8, 7_588),
        "airline.csv": ("MS", 1, 144),
        "seatbelts.csv": ("MS", 2, 192),
        "seattle-weather.csv": ("D", 4, 1_461),
        "sm_macrodata.csv": ("QS-JAN", 12, 203),
        "sm_sunspots.csv": ("YS-JAN", 1, 309),
        "nab_art_daily_jumpsup.csv": ("5min", 1, 4_032),
        "nab_ec2_request_latency_system_failure.csv": ("5min", 1, 4_033),
        "sktime_yahoo_anomaly.csv": ("step", 2, 1_000),
    }
    for name, facts in expected.items():
        panel = read([real_data / "timeseries" / name]).panel
        assert (panel.frequency.code, len(panel), len(panel.series[0])) == facts
        assert all(np.isfinite(series.values).mean() > 0.99 for series in panel.series)
