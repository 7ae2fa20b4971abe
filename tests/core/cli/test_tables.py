"""Tables and curves in plain characters."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.cli.tables import cells, is_numeric, plain_table, sparkline


def test_numbers_stand_right_and_share_their_decimals():
    text = plain_table(["model", "MASE", "n"], [["tpgn", 0.8125, 3], ["naive", 12.5, 1200]])
    assert text.splitlines() == [
        "model   MASE     n",
        "tpgn    0.81     3",
        "naive  12.50  1200",
    ]


def test_what_is_unknown_is_a_dash_and_does_not_turn_the_column():
    rows = [["a", None], ["b", math.nan], ["c", 0.5]]
    assert is_numeric([row[1] for row in rows])
    assert plain_table(["x", "y"], rows).splitlines() == ["x       y", "a       -", "b       -", "c  0.5000"]


def test_a_table_without_rows_is_its_header():
    assert plain_table(["model", "MASE"], []) == "model  MASE"


def test_decimals_follow_the_largest_value_and_small_ones_are_not_lost():
    assert cells(["x"], [[1234.5], [0.25], [1e-9]]) == [["1234"], ["0.25"], ["1e-09"]]
    assert cells(["x"], [[123456.7], [-0.4]]) == [["123457"], ["-0.4"]]
    assert cells(["x"], [[0.00012345]]) == [["0.000123"]]
    assert cells(["x"], [[math.inf], [2.0]]) == [["inf"], ["2.000"]]
    assert cells(["x"], [[0.0], [0.0]]) == [["0.000"], ["0.000"]]


def test_other_kinds_of_cells():
    assert cells(["x"], [[True], [np.int64(3)], ["text"], [np.float32(1.5)]]) == [
        ["yes"],
        ["3"],
        ["text"],
        ["1.500"],
    ]
    assert not is_numeric([True, False])
    assert not is_numeric([None])
    assert is_numeric([np.float32(1), np.int64(2), None])


@given(
    st.lists(
        st.lists(
            st.floats() | st.none() | st.text(st.characters(codec="ascii", exclude_categories=["C"])),
            min_size=2,
            max_size=2,
        )
    )
)
def test_every_row_is_one_line_and_columns_are_aligned(rows):
    lines = plain_table(["first", "second"], rows).split("\n")
    assert len(lines) == len(rows) + 1
    width = max(len(line) for line in lines)
    first = max([5, *(len(row[0]) for row in cells(["first", "second"], rows))])
    assert all(line.ljust(width)[first : first + 2] == "  " for line in lines)


def test_a_curve_goes_from_low_to_high():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3, math.nan, 1]) == "█ ▁"
    assert sparkline([2, 2]) == "▅▅"
    assert sparkline([-1.7e308, 1.7e308, 0]) == "▁█▅"
    assert sparkline([0.0, 5e-324]) == "▅▅"
    assert sparkline([]) == ""
    assert sparkline([math.nan, math.inf]) == "  "


@given(st.lists(st.floats()))
def test_a_curve_has_one_character_per_value(values):
    assert len(sparkline(values)) == len(values)
