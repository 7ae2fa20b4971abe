"""Numbers as people write them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import ConfigError
from statewise.core.tables.table import Table
from statewise.timeseries.numerals import decimal_sign, flags, numbers


def read(*cells: str | None, decimal: str = ".") -> list[float]:
    return numbers(pl.Series(cells, dtype=pl.String), decimal).values.tolist()


def sign_of(*cells: str, delimiter: str = ";") -> str:
    n = len(cells)
    frame, zeros = pl.DataFrame({"y": cells}), np.zeros(n, dtype=int)
    table = Table(frame=frame, lines=np.arange(n), files=zeros, sources=("x.csv",), delimiter=delimiter)
    return decimal_sign(table, ["y"])


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1), (" 2.5 ", 2.5), ("-3e2", -300), ("+.5", 0.5), ("1,234", 1234), ("1,234,567.5", 1234567.5),
        ("7.", 7),
        ("-1,234", -1234), ("1 234", 1234), ("1\u00a0234.5", 1234.5), ("1'234", 1234), ("$1,234.50", 1234.5),
        ("€ 3", 3), ("3 EUR", 3), ("12 %", 12), ("(5.5)", -5.5), ("\u22124", -4),
    ],
)  # fmt: skip
def test_with_a_decimal_point(cell: str, value: float):
    assert read(cell) == [value]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1,5", 1.5),
        ("1.234", 1234),
        ("1.234,5", 1234.5),
        ("-0,001", -0.001),
        ("1 234,5", 1234.5),
        ("7", 7),
        ("1e3", 1000),
    ],
)
def test_with_a_decimal_comma(cell: str, value: float):
    assert read(cell, decimal=",") == [value]


@pytest.mark.parametrize("cell", ["", " ", "NA", "n/a", "NaN", "null", "None", "-", "?", "#N/A", None])
def test_missing_words(cell: str | None):
    found = numbers(pl.Series(["1", cell], dtype=pl.String))
    assert np.isnan(found.values[1])
    assert not found.wrong.any()


@pytest.mark.parametrize("cell", ["1.2.3", "abc", "1,23,4", "12,34", "1-2", "0x10", "1 2", "--5", "1,2345"])
def test_what_is_no_number(cell: str):
    found = numbers(pl.Series(["1", cell]))
    assert found.wrong.tolist() == [False, True]
    assert found.share == 0.5


def test_a_point_in_a_file_with_decimal_commas_is_no_number():
    assert numbers(pl.Series(["1,5", "1.5"]), ",").wrong.tolist() == [False, True]


def test_further_missing_words_count_in_text_and_in_numbers():
    assert np.isnan(numbers(pl.Series(["ERR", "5"]), missing=("err",)).values[0])
    assert np.isnan(numbers(pl.Series([-999.0, 5.0]), missing=("-999",)).values[0])


@given(st.floats(-1e15, 1e15), st.sampled_from(".,"), st.sampled_from(["", " ", "'"]))
def test_every_number_survives(value: float, decimal: str, groups: str):
    text = f"{value:,.6f}".replace(",", "_").replace(".", decimal).replace("_", groups)
    assert read(text, decimal=decimal) == [float(f"{value:.6f}")]


@pytest.mark.parametrize(
    ("cells", "sign"),
    [
        (("1.5", "2"), "."),
        (("1,5", "2"), ","),
        (("0,125", "1,250"), ","),
        (("1234,567", "1,250"), ","),
        (("1.234,5",), ","),
        (("1.234.567",), ","),
        (("1,234,567",), "."),
        (("1,234.5",), "."),
        (("Smith, John", "1.5"), "."),
        (("2.5", "1,250"), "."),
    ],
)
def test_the_decimal_sign_of_a_file(cells: tuple[str, ...], sign: str):
    assert sign_of(*cells) == sign


def test_a_comma_that_can_be_read_in_two_ways_is_asked_about():
    with pytest.raises(ConfigError, match=r"1,250: 1\.250 with --decimal , or 1250 with --decimal \."):
        sign_of("3", "1,250")
    # inside quotation marks of a text separated by commas it sets thousands apart
    assert sign_of("3", "1,250", delimiter=",") == "."


def test_yes_and_no():
    found = flags(pl.Series(["Yes", "no", "", None]))
    assert found is not None
    assert found[:2].tolist() == [1, 0]
    assert np.isnan(found[2:]).all()
    assert flags(pl.Series([True, None])) is not None
    assert flags(pl.Series(["yes", "perhaps"])) is None
    assert flags(pl.Series(["", ""])) is None
    assert flags(pl.Series([1, 0])) is None
