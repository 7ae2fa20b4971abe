"""Time stamps in the many ways people write them, and the questions that only they can answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import ConfigError, DataError
from statewise.core.tables.table import Table
from statewise.timeseries.dateforms import recognise
from statewise.timeseries.timestamps import Stamps, clock_of, parse_stamps


def table_of(cells: list[Any], name: str = "date") -> Table:
    n = len(cells)
    frame = pl.DataFrame({name: cells})
    return Table(frame=frame, lines=np.arange(2, n + 2), files=np.zeros(n, int), sources=("x.csv",))


def parse(*cells: Any, date_format: str | None = None, name: str = "date") -> Stamps:
    return parse_stamps(table_of(list(cells), name), name, date_format)


def moments(stamps: Stamps) -> list[str]:
    return [str(value).removesuffix(".000000") for value in stamps.values]


@pytest.mark.parametrize(
    ("cell", "expected", "unit"),
    [
        ("2020-02-29", "2020-02-29T00:00:00", "day"),
        ("2020/2/9", "2020-02-09T00:00:00", "day"),
        ("1990/1/1 0:00", "1990-01-01T00:00:00", "time"),
        ("2020-01-02T03:04:05", "2020-01-02T03:04:05", "time"),
        ("2020-01-02 03:04:05.678901", "2020-01-02T03:04:05.678901", "time"),
        ("2020-01-02 03:04:05,5", "2020-01-02T03:04:05.500000", "time"),
        ("2020-01-02 24:00", "2020-01-03T00:00:00", "time"),
        ("31.12.2019", "2019-12-31T00:00:00", "day"),
        ("1.2.2020 5:06", "2020-02-01T05:06:00", "time"),
        ("12/31/2019 1:05 PM", "2019-12-31T13:05:00", "time"),
        ("12/31/2019 12:00 AM", "2019-12-31T00:00:00", "time"),
        ("31/12/19", "2019-12-31T00:00:00", "day"),
        ("Jan 1 2000", "2000-01-01T00:00:00", "day"),
        ("January 31, 2000", "2000-01-31T00:00:00", "day"),
        ("1 January 2000", "2000-01-01T00:00:00", "day"),
        ("01-Feb-2000", "2000-02-01T00:00:00", "day"),
        ("2nd March 2000", "2000-03-02T00:00:00", "day"),
        ("Mon, 3 Jan 2000 05:00:00", "2000-01-03T05:00:00", "time"),
        ("2000 Sep 5", "2000-09-05T00:00:00", "day"),
        ("1949-03", "1949-03-01T00:00:00", "month"),
        ("1949M03", "1949-03-01T00:00:00", "month"),
        ("03/1949", "1949-03-01T00:00:00", "month"),
        ("Mar 1949", "1949-03-01T00:00:00", "month"),
        ("Mar-49", "1949-03-01T00:00:00", "month"),
        ("1970 Q1", "1970-01-01T00:00:00", "quarter"),
        ("1970Q4", "1970-10-01T00:00:00", "quarter"),
        ("Q2 1970", "1970-04-01T00:00:00", "quarter"),
        ("2020-W01", "2019-12-30T00:00:00", "week"),
        ("2020W53", "2020-12-28T00:00:00", "week"),
        ("2021-W01-3", "2021-01-06T00:00:00", "week"),
        ("W05 2020", "2020-01-27T00:00:00", "week"),
        ("20200229", "2020-02-29T00:00:00", "day"),
        ("202002", "2020-02-01T00:00:00", "month"),
        ("2020022923", "2020-02-29T23:00:00", "time"),
        ("202002292359", "2020-02-29T23:59:00", "time"),
        ("20200229235958", "2020-02-29T23:59:58", "time"),
        ("20200229T235958", "2020-02-29T23:59:58", "time"),
        ("1700", "1700-01-01T00:00:00", "year"),
        ("1577836800", "2020-01-01T00:00:00", "time"),
        ("1577836800.25", "2020-01-01T00:00:00.250000", "time"),
        ("1577836800123", "2020-01-01T00:00:00.123000", "time"),
        ("1577836800123456", "2020-01-01T00:00:00.123456", "time"),
        ("1577836800000000000", "2020-01-01T00:00:00", "time"),
    ],
)
def test_ways_of_writing(cell: str, expected: str, unit: str):
    stamps = parse(cell)
    assert moments(stamps) == [expected]
    assert stamps.unit == unit


@pytest.mark.parametrize("value", [20200229, 1700.0, 1577836800, 1577836800123])
def test_numbers_of_typed_files_are_read_as_their_text_is(value: float):
    assert moments(parse(value)) == moments(parse(f"{value:.0f}"))


@given(st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)), st.sampled_from([
    "%Y-%m-%d %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S.%f", "%d %B %Y %H:%M:%S.%f", "%b %d, %Y, %H:%M:%S.%f",
    "%Y%m%d %H:%M:%S.%f", "%Y-%m-%dT%I:%M:%S.%f %p",
]))  # fmt: skip
def test_every_moment_is_read_as_the_standard_library_wrote_it(moment: datetime, form: str):
    text = moment.strftime(form.replace("%Y", f"{moment.year:04d}"))
    assert parse(text).values[0] == np.datetime64(moment, "us")


@given(
    st.lists(st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)), min_size=2, max_size=5),
    st.lists(st.integers(-14 * 4, 14 * 4), min_size=2, max_size=5),
)
def test_offsets_name_the_same_moment(naive: list[datetime], quarters: list[int]):
    aware = [
        moment.replace(tzinfo=timezone(timedelta(minutes=15 * quarter)))
        for moment, quarter in zip(naive, quarters, strict=False)
    ]
    stamps = parse(*(moment.isoformat(timespec="microseconds") for moment in aware))
    utc = np.array([moment.astimezone(UTC).replace(tzinfo=None) for moment in aware], "datetime64[us]")
    if stamps.zone == "UTC":
        assert np.array_equal(stamps.values, utc)
    else:  # one offset for all, or local days: the wall clock is kept
        assert np.array_equal(
            stamps.values, np.array([m.replace(tzinfo=None) for m in aware], "datetime64[us]")
        )


def test_zones():
    assert parse("2020-01-01T00:00Z", "2020-01-01T01:00Z").zone == "UTC"
    kept = parse("2020-01-01T00:00+0530", "2020-01-01T01:00+0530")
    assert (kept.zone, moments(kept)[0]) == ("+05:30", "2020-01-01T00:00:00")
    mixed = parse("2020-03-29T01:00+01:00", "2020-03-29T03:00+02:00")
    assert (mixed.zone, moments(mixed)) == ("UTC", ["2020-03-29T00:00:00", "2020-03-29T01:00:00"])
    assert "+01:00, +02:00" in mixed.remark
    local = parse("2020-03-28T00:00+01:00", "2020-03-30T00:00+02:00")
    assert (local.zone, moments(local)[1]) == (None, "2020-03-30T00:00:00")
    assert "local days" in local.remark
    assert parse("2020-01-01T00:00+01:00[Europe/Berlin]").zone == "Europe/Berlin"
    assert parse("1577836800").zone == "UTC"
    assert parse("2020-01-01").zone is None


def test_zones_of_typed_columns():
    hours = pl.datetime_range(
        datetime(2020, 3, 28), datetime(2020, 3, 30), "1h", time_zone="Europe/Berlin", eager=True
    )
    stamps = parse(*hours)
    assert stamps.zone == "UTC"
    assert (np.diff(stamps.values) == np.timedelta64(1, "h")).all()
    days = pl.datetime_range(
        datetime(2020, 3, 28), datetime(2020, 4, 2), "1d", time_zone="Europe/Berlin", eager=True
    )
    stamps = parse(*days)
    assert stamps.zone == "Europe/Berlin"
    assert (np.diff(stamps.values) == np.timedelta64(1, "D")).all()


def test_day_and_month_are_told_apart_by_a_number_above_twelve():
    assert moments(parse("01/02/2020", "13/02/2020"))[0] == "2020-02-01T00:00:00"
    assert moments(parse("01/02/2020", "02/13/2020"))[0] == "2020-01-02T00:00:00"
    assert moments(parse("01.02.2020", "02.02.2020"))[0] == "2020-02-01T00:00:00"
    assert moments(parse("01/01/2020", "02/02/2020"))[1] == "2020-02-02T00:00:00"


def test_day_and_month_that_cannot_be_told_apart_are_asked_about():
    with pytest.raises(ConfigError) as caught:
        parse("02/02/2020", "01/02/2020")
    assert caught.value.where == "x.csv, row 3, column 'date'"
    assert caught.value.seen == "01/02/2020: 1 February with dmy, 2 January with mdy"
    assert "--date-format dmy" in str(caught.value.fix)
    assert moments(parse("01/02/2020", date_format="dmy")) == ["2020-02-01T00:00:00"]
    assert moments(parse("01/02/2020", date_format="MDY")) == ["2020-01-02T00:00:00"]


@pytest.mark.parametrize(
    ("cell", "date_format", "expected"),
    [
        ("31.12.19 5:00", "%d.%m.%y %H:%M", "2019-12-31T05:00:00"),
        ("2020-366", "%Y-%j", "2020-12-31T00:00:00"),
        ("05/2020", "%m/%Y", "2020-05-01T00:00:00"),
        ("2020", "%Y", "2020-01-01T00:00:00"),
        ("01/02/2020 03:04", "dd/mm/yyyy hh:mm", "2020-02-01T03:04:00"),
        ("2020-01-01T02:00:00+0200", "%Y-%m-%dT%H:%M:%S%z", "2020-01-01T00:00:00"),
        ("43831.5", "excel", "2020-01-01T12:00:00"),
        ("86400", "epoch", "1970-01-02T00:00:00"),
        ("86400000", "epoch-ms", "1970-01-02T00:00:00"),
    ],
)
def test_a_stated_format(cell: str, date_format: str, expected: str):
    assert moments(parse(cell, date_format=date_format)) == [expected]


def test_day_numbers_of_spreadsheets_need_a_telling_name():
    assert moments(parse("43831", name="excel_date")) == ["2020-01-01T00:00:00"]
    assert parse("43831", name="reading").unit == "step"


@given(st.integers(0, 99))
def test_two_digit_years(year: int):
    full = parse(f"Mar-{year:02d}").values[0].astype("datetime64[Y]").astype(int) + 1970
    assert full % 100 == year
    assert 1941 <= full <= 2040


@pytest.mark.parametrize(
    ("cells", "piece"),
    [
        (["2020-02-30"], "February 2020 has 29 days"),
        (["2019-02-29"], "February 2019 has 28 days"),
        (["2020-00-10"], "'2020-00-10' is no date"),
        (["2020-01-01 25:00"], "no such date or the clock no such time"),
        (["2020-01-01 13:00 PM"], "is no date"),
        (["2021-W53"], "'2021-W53' is no date"),
        (["2020-01-01", "32/01/2020"], "two ways"),
        (["13/02/2020", "02/13/2020"], "'13/02/2020' in row 2 and '02/13/2020' in row 3"),
        (["2020-01-01", "n/a"], "has no time stamp"),
        (["2020-01-01", "soon"], "'soon' is no date"),
        (["20200101", "2020-01-02"], "two ways"),
        (["2020-01-01T00:00Z", "2020-01-01T01:00"], "some have none"),
    ],
)
def test_what_is_no_date_is_named_with_its_row(cells: list[str], piece: str):
    with pytest.raises(DataError) as caught:
        parse(*cells)
    assert piece in str(caught.value)
    assert f"x.csv, row {len(cells) + 1}" in str(caught.value.where)


def test_a_wrong_cell_is_found_among_repeated_ones():
    cells = ["2020-01-01", "2020-01-02"] * 50 + ["2020-01-32"] + ["2020-01-01"] * 9
    with pytest.raises(
        DataError, match=r"row 102, column 'date': '2020-01-32' is no date: January 2020 has 31"
    ):
        parse(*cells)


def test_repeated_cells_get_the_same_stamp():
    stamps = parse("2020-01-02", "2020-01-01", "2020-01-02")
    assert moments(stamps) == ["2020-01-02T00:00:00", "2020-01-01T00:00:00", "2020-01-02T00:00:00"]


def test_plain_numbers_are_steps():
    stamps = parse("0", "1", "2.5", name="t")
    assert stamps.unit == "step"
    assert stamps.values.tolist() == [0, 1, 2.5]


@pytest.mark.parametrize(
    ("cells", "hinted", "leading", "expected"),
    [
        (["2020-01-01", "2020-01-02"], False, False, "ymd"),
        (["1.5", "2.5", "3.5"], True, True, None),
        (["20200101", "20200102"], False, True, "yyyymmdd"),
        (["20200101", "20200102"], False, False, None),
        (["20200102", "20200101"], True, False, "yyyymmdd"),
        (["1990", "1991", "1992"], False, True, "year"),
        (["1990", "1992", "1991"], False, True, None),
        (["1577836800", "1577840400"], False, True, "epoch"),
        (["red", "2020-01-01", "blue"], True, True, None),
        (["", "2020-01-01", ""], True, True, "ymd"),
        (["192.168.100.1", "10.0.0.1"], True, True, None),
        (["1-800-555", "1-800-556"], False, True, None),
    ],
)
def test_what_is_taken_for_a_time(cells: list[str], hinted: bool, leading: bool, expected: str | None):
    assert recognise(pl.Series("x", cells), hinted=hinted, leading=leading) == expected


def test_times_of_day():
    clock = clock_of(pl.Series(["13:45", "1:45 PM", "13.45", "0:00:00.5"]))
    assert clock is not None
    assert clock.tolist() == [49_500_000_000] * 3 + [500_000]
    hours = clock_of(pl.Series([0, 23]))
    assert hours is not None
    assert hours.tolist() == [0, 82_800_000_000]
    assert clock_of(pl.Series(["25:00"])) is None
    assert clock_of(pl.Series(["noon"])) is None
