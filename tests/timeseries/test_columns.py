"""Finding the columns of time, id and target in files as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from statewise.core.errors import DataError
from statewise.timeseries.data import Reading, ReadOptions, read
from statewise.timeseries.vocabulary import words_of

DAYS = [str(np.datetime64("2020-01-01") + i) for i in range(60)]
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@pytest.fixture
def reading(tmp_path: Path):
    def from_rows(rows: list[str], **options) -> Reading:
        path = tmp_path / "data.csv"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return read([path], ReadOptions(**options))

    return from_rows


def said(found: Reading, kind: str) -> str:
    return "; ".join(note.text for note in found.notes if note.kind == kind)


def test_every_numeric_column_of_a_wide_file_is_a_series(reading):
    found = reading(["date,a,sky,b", *(f"{day},{i},blue,{i % 3}" for i, day in enumerate(DAYS))])
    assert found.panel.ids == ["a", "b"]
    assert found.panel.time_name == "date"
    assert "2 series, one per numeric column: 'a', 'b', 60 steps (--target)" in said(found, "target")
    assert "'sky': text, not used" in said(found, "ignored")
    assert "time column 'date' (year-month-day), daily, 2020-01-01 .. 2020-02-29 (--time" in said(
        found, "time"
    )


def test_target_chooses(reading):
    rows = ["date,a,b,c", *(f"{day},{i},{i},{i}" for i, day in enumerate(DAYS))]
    assert reading(rows, target=("c", "A")).panel.ids == ["c", "a"]


def test_names_of_ids_are_kept_as_they_are(reading):
    rows = ["store,date,sales", *(f"00{s},{day},{i * s}" for s in (3, 1, 2) for i, day in enumerate(DAYS))]
    found = reading(rows)
    assert found.panel.ids == ["003", "001", "002"]
    assert found.panel.id_name == "store"
    assert found.panel.series[1].values[2] == 2
    assert "3 series, told apart by 'store': '003', '001', '002', 60 steps (--id)" in said(found, "id")


def test_two_columns_may_be_needed_to_tell_series_apart(reading):
    rows = ["date,store,item,sales,price"]
    rows += [f"{day},{s},{t},{i},2" for i, day in enumerate(DAYS) for s in "AB" for t in ("x", "y", "z")]
    found = reading(rows)
    assert found.panel.ids[:4] == ["A/x", "A/y", "A/z", "B/x"]
    assert found.panel.id_name == "store+item"
    assert "'sales' is forecast, not 'price'" in said(found, "target")
    assert reading(rows, id="store+item", target=("price",)).panel.series[0].values[5] == 2


def test_a_text_beside_a_time_that_does_not_repeat_is_no_id(reading):
    found = reading(
        ["date,weather,y", *(f"{day},{'sun' if i % 2 else 'rain'},{i}" for i, day in enumerate(DAYS))]
    )
    assert found.panel.ids == ["y"]


def test_series_that_follow_each_other_in_time(reading):
    rows = ["id,date,y", *(f"{'a' if i < 30 else 'b'},{day},{i}" for i, day in enumerate(DAYS))]
    assert [len(series) for series in reading(rows).panel.series] == [30, 30]


def test_a_single_repeated_stamp_is_no_reason_to_look_for_an_id(reading):
    rows = ["date,sky,y", *(f"{day},blue,{i}" for i, day in enumerate(DAYS)), f"{DAYS[5]},grey,7"]
    found = reading(rows)
    assert found.panel.ids == ["y"]
    assert found.panel.series[0].values[5] == 6
    assert found.repeats == {"y": 1}
    assert "such as rows 7 and 62 (2020-01-06); the mean is taken" in said(found, "duplicates")


@pytest.mark.parametrize("name", ["unique_id", "series", "ticker", "sensorName"])
def test_an_integer_or_text_id_is_found(reading, name: str):
    rows = [f"{name},ds,y", *(f"{s},{i + 1},{i}" for s in (7, 8) for i in range(40))]
    found = reading(rows)
    assert found.panel.ids == ["7", "8"]
    assert found.panel.frequency.unit == "step"
    assert found.panel.series[0].times.tolist() == list(range(1, 41))


def test_columns_of_several_series_in_a_long_file(reading):
    rows = ["shop,day,apples,pears", *(f"{s},{day},{i},{-i}" for s in "AB" for i, day in enumerate(DAYS))]
    found = reading(rows)
    assert found.panel.ids == ["A/apples", "B/apples", "A/pears", "B/pears"]
    assert found.panel.series[2].values[3] == -3


@pytest.mark.parametrize(
    ("header", "row", "code"),
    [
        ("year,quarter", lambda i: f"{1990 + i // 4},{i % 4 + 1}", "QS-JAN"),
        ("Year,Month", lambda i: f"{1990 + i // 12},{i % 12 + 1}", "MS"),
        ("Year,Mon", lambda i: f"{1990 + i // 12},{MONTHS[i % 12]}", "MS"),
        ("year,month,day", lambda i: f"2020,{i // 20 + 1},{i % 20 + 1}", "D"),
        ("year,month,day,hour", lambda i: f"2020,1,{i // 24 + 1},{i % 24}", "h"),
        ("date,time", lambda i: f"2020-01-{i // 24 + 1:02d},{i % 24}:00", "h"),
        ("Date,Hour", lambda i: f"{i // 24 + 13}/01/2020,{i % 24}", "h"),
    ],
)
def test_a_time_in_several_columns(reading, header: str, row, code: str):
    found = reading([f"{header},y", *(f"{row(i)},{i}" for i in range(60))])
    assert found.panel.frequency.code == code
    assert found.panel.ids == ["y"]
    assert np.array_equal(found.panel.series[0].values[:20], np.arange(20))
    assert found.panel.time_name == "+".join(header.split(","))
    again = reading([f"{header},y", *(f"{row(i)},{i}" for i in range(60))], time=header.replace(",", "+"))
    assert again.panel.fingerprint == found.panel.fingerprint


def test_the_year_alone(reading):
    found = reading(["YEAR,spots", *(f"{1700 + i},{i % 11}" for i in range(60))])
    assert found.panel.frequency.code == "YS-JAN"


def test_a_column_per_year(reading):
    rows = ["country,code," + ",".join(str(1990 + i) for i in range(30))]
    rows += [
        f"{name},{name[0]}," + ",".join(str(i * k) for i in range(30))
        for k, name in enumerate(("Chad", "Peru"))
    ]
    found = reading(rows)
    assert found.panel.ids == ["Chad", "Peru"]
    assert found.panel.series[1].values.tolist() == list(range(30))
    assert "columns '1990' .. '2019' are taken as 30 steps of time" in said(found, "time")


def test_no_time_at_all(reading):
    found = reading(["a,b", *(f"{i % 5},{i % 7}" for i in range(30))])
    assert found.panel.ids == ["a", "b"]
    assert found.panel.series[0].times.dtype == np.int64
    assert found.panel.series[0].times.tolist() == list(range(30))
    assert "the rows are steps 0, 1, 2, ... (--time)" in said(found, "time")


def test_the_time_may_be_refused(reading):
    rows = ["date,y", *(f"{day},{i % 5}" for i, day in enumerate(DAYS))]
    assert reading(rows, time="none").panel.frequency.unit == "step"


def test_the_better_of_two_dates_is_the_time(reading):
    rows = ["created_at,date,y", *(f"2021-01-01,{day},{i}" for i, day in enumerate(DAYS))]
    found = reading(rows)
    assert found.panel.time_name == "date"
    assert found.panel.ids == ["y"]


def test_row_numbers_and_calendar_columns_are_no_series(reading):
    rows = [",date,year,month,dayofweek,y"]
    rows += [f"{i},{d},{d[:4]},{int(d[5:7])},{(i + 2) % 7},{i % 9}" for i, d in enumerate(DAYS)]
    found = reading(rows)
    assert found.panel.ids == ["y"]
    assert "'column_1': numbers the rows" in said(found, "target")
    assert "'year', 'month', 'dayofweek': repeats the time stamps" in said(found, "target")


def test_a_calendar_column_that_says_something_else_is_a_series(reading):
    rows = ["date,day,y", *(f"{day},{i % 5},{i % 9}" for i, day in enumerate(DAYS))]
    assert reading(rows).panel.ids == ["day", "y"]


def test_a_named_column_in_another_case(reading):
    rows = ["Date,Sales", *(f"{day},{i}" for i, day in enumerate(DAYS))]
    assert reading(rows, target=("sales",), time="date").panel.ids == ["Sales"]


def test_yes_and_no_help_only_when_named(reading):
    rows = [
        "date,y,holiday",
        *(f"{day},{i if i < 50 else ''},{'yes' if i % 7 == 0 else 'no'}" for i, day in enumerate(DAYS)),
    ]
    assert reading(rows).panel.covariate_names == ()
    found = reading(rows, target=("y",), covariates=("holiday",))
    known = found.panel.series[0].covariates
    assert known is not None
    assert known[:8, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    assert known.shape == (60, 1)


def test_ids_that_almost_tell_series_apart(reading):
    rows = [
        "date,store,y",
        *(f"{day},{s},{i}" for i, day in enumerate(DAYS) for s in "ABCD"),
        f"{DAYS[3]},A,13",
    ]
    found = reading(rows)
    assert found.panel.ids == ["A", "B", "C", "D"]
    assert found.repeats == {"A": 1}


def test_mixed_series_are_refused_and_the_likely_id_is_named(reading):
    rows = [
        "date,colour,y",
        *(f"{day},{c},{i + j}" for i, day in enumerate(DAYS) for j, c in enumerate(("red", "red", "blue"))),
    ]
    with pytest.raises(DataError, match="if 'colour' tells them apart: --id colour"):
        reading(rows)
    assert reading(rows, aggregate="sum", id="none").panel.series[0].values[0] == 3
    assert reading(rows, id="colour").panel.ids == ["red", "blue"]


def test_words_of_a_name():
    assert words_of("orderDate_UTC 2") == ["order", "date", "utc"]
    assert words_of("0") == []
