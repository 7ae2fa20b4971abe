"""Delimited text: records as the standard library finds them, headers, titles, footers, encodings."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.tables import records as records_module
from statewise.core.tables.delimited import parse_text
from statewise.core.tables.records import scan, split
from statewise.core.tables.source import Content
from statewise.core.tables.table import Table

fields = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8)
tables = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(fields, min_size=n, max_size=n), min_size=1, max_size=8)
)


def parse(text: str | bytes, **options) -> Table:
    data = text.encode() if isinstance(text, str) else text
    return parse_text(Content(name="x.csv", data=data), **options)


@given(table=tables, delimiter=st.sampled_from([",", ";", "\t", "|"]), end=st.booleans())
def test_records_are_those_of_the_standard_library(table: list[list[str]], delimiter: str, end: bool):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(table)
    text = buffer.getvalue() if end else buffer.getvalue().removesuffix("\n")
    data = text.encode()
    found = scan(data, delimiter)
    assert found.fields.tolist() == [len(row) for row in table]
    cells = [split(data[a:b].decode(), delimiter) for a, b in zip(found.starts, found.ends, strict=True)]
    assert cells == [[cell.strip() for cell in row] for row in table]
    before = [data[:start].count(b"\n") + 1 for start in found.starts]
    assert found.lines.tolist() == before


def test_records_do_not_depend_on_the_size_of_a_piece(monkeypatch: pytest.MonkeyPatch):
    data = b'a,"b\n,""c",d\n1,2,3\n"x,\ny",5,6'
    whole = scan(data, ",")
    for size in range(1, len(data)):
        monkeypatch.setattr(records_module, "_CHUNK", size)
        pieces = scan(data, ",")
        for name in ("starts", "ends", "fields", "lines"):
            assert np.array_equal(getattr(pieces, name), getattr(whole, name))


def test_runs_leave_out_what_was_dropped():
    data = b"a\nbb\n\nccc\n"
    found = scan(data, ",")
    kept = found.take(found.ends > found.starts)
    assert [data[a:b] for a, b in kept.runs()] == [b"a\nbb", b"ccc"]


@pytest.mark.parametrize(
    ("first", "second", "header"),
    [
        ("date,y", "2020-01-01,5", True),
        ("2020-01-01,5", "2020-01-02,6", False),
        ("a,b", "c,d", True),
        ("date,0,1", "2020-01-01,5,6", True),
        (",KSI", "1969-01-01,5", True),
        ("name,1990,1991,1992", "Chad,5,6,7", True),
        ("5,6", "7,8", False),
        ("A,2020-01-01,5", "A,2020-01-02,6", False),
        ("x,1/22/20,1/23/20", "A,5,6", True),
        ("NA,5", "2020-01-02,6", False),
    ],
)
def test_a_header_holds_other_things_than_the_rows(first: str, second: str, header: bool):
    table = parse("\n".join([first, second, second, second]))
    assert len(table) == (3 if header else 4)
    assert (table.frame.columns[0] == "column_1") is (not header or first.startswith(","))
    assert table.lines[0] == (2 if header else 1)


def test_a_header_may_be_denied_or_claimed():
    text = "1,2\n3,4\n5,6\n"
    assert parse(text, header=True).frame.columns == ["1", "2"]
    assert len(parse("a,b\nc,d\n", header=False)) == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str):
    rows = [
        ("date", "note", "y"),
        ("2020-01-01", '"a, b; c"', "1.5"),
        ("2020-01-02", "", "2"),
        ("2020-01-03", "d", "3"),
    ]
    table = parse("\n".join(delimiter.join(row) for row in rows))
    assert table.frame.row(0) == ("2020-01-01", "a, b; c", "1.5")
    assert table.delimiter == delimiter


def test_decimal_commas_do_not_pass_for_a_delimiter():
    assert parse("date;a;b\n2020-01-01;1,5;2,5\n2020-01-02;1,5;2,5\n").frame.width == 3


def test_titles_remarks_and_footers_are_left_out_with_a_note():
    text = "Sales of the year\n\n# made by hand\ndate,y,z\n2020-01-01,1,2\n\n2020-01-02,3,4\n,,\n"
    text += "Total,4,6\nAverage,2,3\n"
    table = parse(text)
    assert table.frame.rows() == [("2020-01-01", "1", "2"), ("2020-01-02", "3", "4")]
    assert table.lines.tolist() == [5, 7]
    said = " ".join(note.text for note in table.notes)
    assert "lines above the header: 1, left out" in said
    assert "lines that begin with #: 1, left out" in said
    assert "the footer from row 9 on ('Total') was left out" in said


def test_a_series_called_total_is_no_footer():
    rows = [f"{name},2020-01-{d:02d},{d}" for name in ("a", "Total") for d in range(1, 4)]
    assert len(parse("\n".join(["id,date,y", *rows]))) == 6
    years = [f"{name},{2000 + d},{d}" for name in ("a", "Total") for d in range(9)]
    assert len(parse("\n".join(["id,year,y", *years]))) == 18


def test_empty_lines_of_a_single_column_are_missing_values():
    table = parse("y\n1\n\n3\n\n\n")
    assert table.frame["y"].to_list() == ["1", None, "3"]
    assert table.lines.tolist() == [2, 3, 4]


def test_delimiters_at_the_ends_of_rows():
    assert parse("date,y,\n2020-01-01,1,\n2020-01-02,2,\n").frame.columns == ["date", "y"]
    assert parse("date,y\n2020-01-01,1,\n2020-01-02,2,\n").frame.columns == ["date", "y"]


def test_blanks_before_quotation_marks():
    table = parse('date, "y"\n2020-01-01, "1,5"\n2020-01-02, "2,5"\n')
    assert table.frame.rows() == [("2020-01-01", "1,5"), ("2020-01-02", "2,5")]


def test_runs_of_blanks():
    assert parse("date  y\n2020-01-01   1\n 2020-01-02\t2 \n", delimiter=" ").frame.row(1) == (
        "2020-01-02",
        "2",
    )


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"]
)
@pytest.mark.parametrize("feed", ["\n", "\r\n", "\r"])
def test_encodings_and_line_feeds(encoding: str, feed: str):
    rows = ["date,größe,note", "2020-01-01,1,naïve", "2020-01-02,2,é"]
    table = parse(feed.join([*rows, ""]).encode(encoding))
    assert table.frame.columns == ["date", "größe", "note"]
    assert table.frame.rows() == [("2020-01-01", "1", "naïve"), ("2020-01-02", "2", "é")]


def test_a_long_text_keeps_its_line_numbers(tmp_path: Path):
    rows = ["date,y", *(f"2020-01-01,{i}" for i in range(5_000))]
    rows[1_000] = "# aside"
    assert parse("\n".join(rows)).lines[[0, 998, 999, -1]].tolist() == [2, 1_000, 1_002, 5_001]


def test_runs_of_blanks_are_found():
    table = parse("Weight Waist  Pulse\n191 36 50\n 189 37 52\n")
    assert table.frame.columns == ["Weight", "Waist", "Pulse"]
    assert table.frame.rows() == [("191", "36", "50"), ("189", "37", "52")]
    assert any("blank" in note.text or "space" in note.text for note in table.notes)


def test_words_between_blanks_are_no_fields():
    assert parse("name\nJane Doe\nJohn Roe\n").frame.columns == ["name"]


def test_an_index_without_a_name_has_a_header_above_it():
    table = parse(",0\n1821,269\n1822,321\n")
    assert table.frame.columns == ["column_1", "0"]
    assert table.lines.tolist() == [2, 3]


def test_a_header_that_ends_with_a_delimiter():
    table = parse("Series id: X\n\nYear,Period,Value,\n1959,Q01,5.8\n1959,Q02,5.1\n")
    assert table.frame.columns == ["Year", "Period", "Value"]
    assert table.lines.tolist() == [4, 5]
