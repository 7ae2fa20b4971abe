"""JSON documents: valid for any reader, whatever goes in."""

from __future__ import annotations

import datetime
import enum
import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.documents import dumps, plain


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    left: int
    right: float


@dataclass
class Point:
    x: float
    where: Path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float64("nan"), None),
        (np.float32("inf"), None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array([[1.0, math.nan]]), [[1.0, None]]),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.datetime64("NaT"), None),
        (torch.tensor([1.5, math.inf]), [1.5, None]),
        (torch.tensor(2), 2),
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Pair(1, math.nan), [1, None]),
        (Point(x=math.inf, where=Path("p")), {"x": None, "where": "p"}),
        (datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.UTC), "2024-01-02T03:00:00+00:00"),
        (datetime.timedelta(minutes=1), 60.0),
        (OrderedDict([(2, "b"), (np.int64(1), "a")]), {"2": "b", "1": "a"}),
        (True, True),
        (None, None),
    ],
    ids=repr,
)
def test_plain_values(value, expected):
    result = plain(value)
    assert result == expected
    assert type(result) is type(expected)


def test_a_set_is_written_in_order():
    # not among the cases above: the repr of a set, and so the test's name, differs from process to process
    assert plain({"b", "a"}) == ["a", "b"]


def test_keys_keep_their_order():
    assert list(json.loads(dumps({"z": 1, "a": {"y": 2, "b": 3}}))) == ["z", "a"]
    assert dumps({"z": 1, "a": 2}, indent=None) == '{"z": 1, "a": 2}'


def test_the_text_is_ascii_and_comes_back():
    text = dumps({"größe": "日本"})
    assert text.isascii()
    assert json.loads(text) == {"größe": "日本"}


def test_an_object_without_a_json_form_is_named():
    with pytest.raises(TypeError, match="Thread has no JSON form"):
        plain({"x": [type("Thread", (), {})()]})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.floats(width=32).map(np.float32),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=8,
)


@given(values)
def test_any_nesting_makes_strict_json(value):
    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(dumps(value), parse_constant=refuse) == plain(value)
