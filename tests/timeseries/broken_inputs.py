"""Broken inputs: what a person may hand to `forecast fit`, and what the message must name.

Each case is a name, a function that writes the files and returns the arguments after `forecast fit`, and
pieces of text that the error must hold: the place (file, row, column or flag) and the fix. `STATED` lists the
inputs that are not refused but said: constant, short and empty series.
"""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

Build = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Broken:
    name: str
    build: Build
    expected: tuple[str, ...]


def days(n: int = 40, first: str = "2020-01-01") -> list[str]:
    start = pl.Series([first]).str.to_date()[0]
    return [str(day) for day in pl.date_range(start, pl.lit(start).dt.offset_by(f"{n - 1}d"), eager=True)]


def lines(n: int = 40, header: str = "date,y") -> list[str]:
    return [header, *(f"{day},{i % 7 + 0.5}" for i, day in enumerate(days(n)))]


def text(name: str, rows: list[str] | str, *flags: str) -> Build:
    """A text file as given, and flags after it."""

    def build(folder: Path) -> list[str]:
        content = rows if isinstance(rows, str) else "\n".join(rows) + "\n"
        (folder / name).write_text(content, encoding="utf-8", newline="")
        return [str(folder / name), *flags]

    return build


def raw(name: str, data: bytes, *flags: str) -> Build:
    def build(folder: Path) -> list[str]:
        (folder / name).write_bytes(data)
        return [str(folder / name), *flags]

    return build


def with_row(number: int, row: str) -> list[str]:
    """Forty good rows under a header, with the row on line `number` replaced."""
    rows = lines()
    rows[number - 1] = row
    return rows


def no_permission(folder: Path) -> list[str]:
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("this user may read every file")
    path = folder / "locked.csv"
    path.write_text("\n".join(lines()), encoding="utf-8")
    path.chmod(0)
    return [str(path)]


def directory(folder: Path) -> list[str]:
    (folder / "months").mkdir()
    (folder / "months" / "may.csv").write_text("\n".join(lines()), encoding="utf-8")
    return [str(folder / "months")]


def misspelt(folder: Path) -> list[str]:
    (folder / "sales.csv").write_text("\n".join(lines()), encoding="utf-8")
    return [str(folder / "salse.csv")]


def two_files(folder: Path) -> list[str]:
    (folder / "a.csv").write_text("\n".join(lines()), encoding="utf-8")
    (folder / "b.csv").write_text("\n".join(lines(header="date,price")), encoding="utf-8")
    return [str(folder / "a.csv"), str(folder / "b.csv")]


def swapped(folder: Path) -> list[str]:
    (folder / "run.toml").write_text("horizon = 7\n", encoding="utf-8")
    return [str(folder / "run.toml")]


def cut_parquet(folder: Path) -> list[str]:
    path = folder / "data.parquet"
    pl.DataFrame({"date": days(), "y": range(40)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    return [str(path)]


def empty_parquet(folder: Path) -> list[str]:
    path = folder / "data.parquet"
    pl.DataFrame({"date": [], "y": []}, schema={"date": pl.Date, "y": pl.Float64}).write_parquet(path)
    return [str(path)]


_ROWS = "\n".join(lines()).encode()
_PRICES = ["date;y", *(f"{day};1,{200 + i}" for i, day in enumerate(days()))]
_COMMAS = ["date;y", *(f"{day};{i},5" for i, day in enumerate(days())), "2020-02-10;1.5"]
_IDS = ["date,id,y", *(f"{day},{name},1" for day in days(20) for name in "ab"), "2020-01-21,,1"]
_ZONES = ["date,y", "2020-01-01T00:00Z,1", "2020-01-01T01:00Z,2", "2020-01-01T02:00,3"]
_HOURS = ["time,y", "1020-01-01 00:00,1", *(f"2020-01-01 {hour:02d}:00,1" for hour in range(24))]
_NOISE = random.Random(0).randbytes(2_000)
_TWICE = ["date,y", *(f"{day},{i + j}" for i, day in enumerate(days(20)) for j in (0, 5))]
_STORES = [
    "date,store,y",
    *(f"{day},{s},{i + j}" for i, day in enumerate(days(20)) for j, s in enumerate("AAB")),
]
_AHEAD = [
    "date,y,price",
    *(f"{day},{i % 7},{i % 3}" for i, day in enumerate(days(30))),
    *(f"{day},,{price}" for day, price in zip(days(3, "2020-01-31"), ("1", "", "2"), strict=True)),
]

BROKEN = (
    # the file as such
    Broken("empty-file", raw("data.csv", b""), ("data.csv: is empty", "fix: check that the export")),
    Broken("blank-file", raw("data.csv", b"\n \n\n"), ("data.csv: is empty",)),
    Broken("bom-only", raw("data.csv", b"\xef\xbb\xbf\n"), ("data.csv: is empty",)),
    Broken("missing-file", misspelt, ("salse.csv: there is no such file", "did you mean 'sales.csv'?")),
    Broken("directory", directory, ("months: is a directory", "may.csv")),
    Broken("no-permission", no_permission, ("locked.csv: may not be read", "chmod u+r")),
    Broken(
        "binary",
        raw("data.csv", _NOISE),
        ("data.csv, row 1: holds bytes that are no text", "export the table"),
    ),
    Broken("picture", raw("data.csv", b"\x89PNG\r\n\x1a\n" + _NOISE), ("data.csv", "a picture", "CSV")),
    Broken("spreadsheet", raw("book.xlsx", b"PK\x03\x04" + _NOISE), ("book.xlsx", "spreadsheet", "as CSV")),
    Broken("pickle", raw("model.pkl", b"\x80\x04\x95" + _NOISE), ("model.pkl", "pickles are never opened")),
    Broken("json", text("data.json", '[{"y": 1}]'), ("data.json", "the ending .json", "convert it to CSV")),
    Broken("config-for-data", swapped, ("run.toml", "the ending .toml", "--config")),
    Broken(
        "nul-bytes",
        raw("data.csv", _ROWS[:60] + b"\x00\x00" + _ROWS[60:]),
        ("data.csv, row 5", "0x00", "export the table"),
    ),
    Broken(
        "cut-gzip",
        raw("data.csv.gz", gzip.compress(_ROWS)[:-30]),
        ("data.csv.gz", "cut-off gzip", "download it"),
    ),
    Broken(
        "bad-gzip", raw("data.csv.gz", b"\x1f\x8b" + _NOISE), ("data.csv.gz", "gzip file", "copy or download")
    ),
    Broken("cut-parquet", cut_parquet, ("data.parquet: is a damaged parquet file", "write or copy it again")),
    Broken("text-as-parquet", raw("data.parquet", _ROWS), ("data.parquet: is a damaged parquet file",)),
    Broken("empty-parquet", empty_parquet, ("data.parquet", "no rows", "longer history")),
    Broken(
        "wrong-encoding",
        raw("data.csv", "date,y\nmärz,1\n".encode("latin-1"), "--encoding", "utf-8"),
        ("data.csv, row 2: is not utf-8 text", "--encoding"),
    ),
    Broken(
        "unknown-encoding",
        text("data.csv", lines(), "--encoding", "utf-9"),
        ("--encoding", "utf-9", "latin-1"),
    ),
    Broken(
        "two-kinds-of-files",
        two_files,
        ("b.csv: has other columns than", "a.csv", "no column 'y'; also 'price'"),
    ),
    # rows and fields
    Broken(
        "header-only",
        text("data.csv", ["date,y"]),
        ("data.csv, row 1: holds a header and no rows", "--no-header"),
    ),
    Broken(
        "one-row",
        text("data.csv", ["date,y", "2020-01-01,5"]),
        ("data.csv, row 2: holds a single row", "longer"),
    ),
    Broken(
        "one-row-no-header",
        text("data.csv", ["2020-01-01,5"]),
        ("data.csv, row 1: holds a single row", "longer"),
    ),
    Broken(
        "comments-only",
        text("data.csv", ["# a", "# b"]),
        ("data.csv: holds no rows", "check that the export"),
    ),
    Broken(
        "long-row",
        text("data.csv", with_row(9, "2020-01-08,1,5")),
        ("data.csv, row 9: has 3 fields, where the other rows have 2", "decimal sign"),
    ),
    Broken(
        "short-row",
        text("data.csv", with_row(12, "2020-01-11")),
        ("data.csv, row 12: has 1 fields", "expected: 2 fields", "complete the row"),
    ),
    Broken(
        "header-too-short",
        text("data.csv", ["date,y", *(f"{day},1,5" for day in days())]),
        ("data.csv, row 1: has 2 fields, where the other rows have 3", "decimal sign"),
    ),
    Broken(
        "open-quote",
        text("data.csv", with_row(6, '2020-01-05,"5')),
        ("data.csv, row 6: a quotation mark is opened and never closed", "close it"),
    ),
    Broken(
        "equal-headers",
        text("data.csv", ["date,y,y", *(f"{day},1,2" for day in days())]),
        ("data.csv, row 1: two columns are called 'y'", "the 2nd and the 3rd column", "rename"),
    ),
    Broken(
        "million-characters",
        text("data.csv", with_row(7, f"2020-01-06,{'a' * 1_000_000}")),
        ("data.csv, row 7, column 'y'", "(1,000,000 characters)' is no number", "correct the cell"),
    ),
    # time stamps
    Broken(
        "day-or-month",
        text("data.csv", ["date,y", "01/02/2020,1", "02/02/2020,2", "03/02/2020,3"]),
        ("data.csv, row 2, column 'date'", "1 February with dmy, 2 January with mdy", "--date-format dmy"),
    ),
    Broken(
        "31-february",
        text("data.csv", with_row(20, "2020-02-31,4")),
        (
            "data.csv, row 20, column 'date': '2020-02-31' is no date: February 2020 has 29 days",
            "--date-format",
        ),
    ),
    Broken("month-13", text("data.csv", with_row(20, "2020-13-01,4")), ("row 20", "there is no month 13")),
    Broken(
        "compact-31-june",
        text("data.csv", ["date,y", *(f"2020060{i},1" for i in range(1, 10)), "20200631,1"]),
        ("row 11, column 'date': '20200631' is no date: June 2020 has 30 days",),
    ),
    Broken(
        "two-date-formats",
        text("data.csv", with_row(15, "14.01.2020,4")),
        (
            "data.csv, row 15, column 'date': dates are written in two ways",
            "'2020-01-01' in row 2",
            "2020-01-31",
        ),
    ),
    Broken(
        "words-for-a-date",
        text("data.csv", with_row(15, "tomorrow,4")),
        ("row 15, column 'date': 'tomorrow' is no date", "such as '2020-01-01' in row 2", "--date-format"),
    ),
    Broken(
        "no-dates-at-all",
        text("data.csv", ["date,y", "red,1", "green,2", "blue,3"]),
        ("row 2, column 'date': 'red' is no date", "--time none"),
    ),
    Broken(
        "blank-date",
        text("data.csv", with_row(10, ",4")),
        ("row 10, column 'date': has no time stamp", "fill the"),
    ),
    Broken(
        "mixed-zones",
        text("data.csv", _ZONES),
        ("row 4", "'2020-01-01T00:00Z' in row 2 and '2020-01-01T02:00' in row 4", "add the missing offsets"),
    ),
    Broken(
        "pattern-does-not-fit",
        text("data.csv", lines(), "--date-format", "%d.%m.%Y"),
        (
            "row 2, column 'date': '2020-01-01' does not fit --date-format %d.%m.%Y",
            "correct the cell or the pattern",
        ),
    ),
    Broken(
        "order-does-not-fit",
        text("data.csv", lines(), "--date-format", "dmy"),
        ("--date-format dmy does not fit",),
    ),
    Broken(
        "one-stamp-each",
        text("data.csv", ["time,id,y", *(f"2020-01-01 05:00,{name},1" for name in "abc")], "--id", "id"),
        ("data.csv: a single time stamp does not tell", "give --frequency"),
    ),
    Broken(
        "lost-in-time",
        text("data.csv", _HOURS),
        ("data.csv: the grid would be nearly empty", "the widest gap is from 1020-01-01", "--frequency"),
    ),
    Broken(
        "step-too-fine", text("data.csv", lines(), "--frequency", "s"), ("--frequency", "too fine", "daily")
    ),
    Broken(
        "frequency-nonsense", text("data.csv", lines(), "--frequency", "montly"), ("'montly'", "'monthly'")
    ),
    Broken(
        "frequency-of-steps",
        text("data.csv", ["step,y", *(f"{i},{i % 5}" for i in range(30))], "--frequency", "D"),
        ("--frequency", "counts steps", "--time"),
    ),
    # columns
    Broken(
        "wrong-target",
        text("data.csv", ["date,sales", *lines()[1:]], "--target", "salse"),
        ("there is no column 'salse'", "data.csv, --target", "did you mean 'sales'?"),
    ),
    Broken(
        "wrong-time", text("data.csv", lines(), "--time", "dat"), ("data.csv, --time", "did you mean 'date'?")
    ),
    Broken("wrong-id", text("data.csv", lines(), "--id", "store"), ("data.csv, --id", "one of date, y")),
    Broken(
        "text-target",
        text("data.csv", ["date,y,sky", *(f"{day},1,blue" for day in days())], "--target", "sky"),
        ("data.csv, row 2, column 'sky': 'sky' holds text", "name one of these with --target: y"),
    ),
    Broken(
        "time-as-target",
        text("data.csv", lines(), "--target", "date"),
        ("data.csv, --target", "expected: one of y"),
    ),
    Broken(
        "target-and-covariate",
        text("data.csv", lines(), "--target", "y", "--covariates", "y"),
        ("named both as a target and as a covariate", "name it once"),
    ),
    Broken(
        "blank-covariate",
        text("data.csv", _AHEAD, "--target", "y", "--covariates", "price"),
        ("data.csv, row 33, column 'price': a covariate is blank", "fill the cell"),
    ),
    Broken(
        "only-text",
        text("data.csv", ["date,sky", *(f"{day},blue" for day in days())]),
        ("data.csv, row 2: no column holds numbers", "'sky' (blue)", "--target"),
    ),
    Broken("only-dates", text("data.csv", ["date", *days()]), ("no column holds numbers", "'date'")),
    Broken(
        "no-values",
        text("data.csv", ["date,y", *(f"{day}," for day in days())]),
        ("no column has a value", "column 'y'", "--target"),
    ),
    Broken(
        "repeated-stamps",
        text("data.csv", _TWICE),
        ("data.csv, row 3, column 'date'", "40 rows share 20 time stamps", "--aggregate mean"),
    ),
    Broken("id-that-repeats", text("data.csv", _STORES), ("60 rows share 20 time stamps", "--id store")),
    Broken("blank-id", text("data.csv", _IDS), ("data.csv, row 42, column 'id': has no id", "fill the cell")),
    # numbers
    Broken(
        "infinity",
        text("data.csv", with_row(30, "2020-01-29,inf")),
        ("data.csv, row 30, column 'y': is infinite", "leave the cell empty"),
    ),
    Broken(
        "too-large",
        text("data.csv", with_row(30, f"2020-01-29,1{'0' * 200}")),
        ("row 30, column 'y': is infinite or too large", "rescale the column"),
    ),
    Broken(
        "1.2.3",
        text("data.csv", with_row(8, "2020-01-07,1.2.3")),
        ("data.csv, row 8, column 'y': '1.2.3' is no number", "--missing 1.2.3"),
    ),
    Broken(
        "word-for-a-number",
        text("data.csv", with_row(8, "2020-01-07,ERR")),
        ("row 8", "'ERR'", "--missing ERR"),
    ),
    Broken(
        "comma-or-point",
        text("data.csv", _PRICES),
        ("data.csv, row 2, column 'y'", "1.200 with --decimal , or 1200 with --decimal .", "give --decimal"),
    ),
    Broken(
        "point-among-commas",
        text("data.csv", _COMMAS),
        ("row 42, column 'y': '1.5' is no number", "--decimal ."),
    ),
    # flags
    Broken(
        "decimal-sign",
        text("data.csv", lines(), "--decimal", ";"),
        ("decimal", "seen: ';'", "set decimal to"),
    ),
    Broken(
        "delimiter-sign",
        text("data.csv", lines(), "--delimiter", "ab"),
        ("delimiter", "seen: 'ab'", "one of , ; tab | space"),
    ),
    Broken(
        "aggregate-word",
        text("data.csv", lines(), "--aggregate", "median"),
        ("aggregate", "seen: 'median'", "mean, sum, first or last"),
    ),
)


@dataclass(frozen=True)
class Stated:
    name: str
    build: Build
    kind: str
    expected: str
    """A piece of the note."""


STATED = (
    Stated(
        "constant",
        text("data.csv", ["date,y,z", *(f"{day},5,{i % 7}" for i, day in enumerate(days()))]),
        "constant",
        "'y'",
    ),
    Stated("short", text("data.csv", lines(6)), "short", "'y'"),
    Stated(
        "empty-column",
        text("data.csv", ["date,y,z", *(f"{day},,{i % 7}" for i, day in enumerate(days()))]),
        "empty",
        "'y'",
    ),
)
