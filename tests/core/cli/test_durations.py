"""Lengths of time, typed and shown."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.cli.durations import format_duration, parse_duration
from statewise.core.errors import UserError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60),
        ("60s", 60),
        ("60 sec", 60),
        ("0.5", 0.5),
        ("10m", 600),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1H 30M", 5400),
        ("1h30m15s", 5415),
        ("2d", 172800),
        ("2d6h", 194400),
        ("90m", 5400),
    ],
)
def test_what_people_type(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0",
        "0s",
        "-5",
        "nan",
        "inf",
        "1e3",
        "5x",
        "m",
        "10m1h",
        "1m1m",
        "1,5h",
        "h1",
        "1.",
        "٣",
        "1h30",
    ],
)
def test_what_is_no_length_of_time(text):
    with pytest.raises(UserError, match="is not a length of time") as caught:
        parse_duration(text, where="--budget")
    assert caught.value.where == "--budget"
    assert caught.value.seen == repr(text)
    assert "1h30m" in str(caught.value.fix)


def test_too_long_for_a_number_is_refused():
    with pytest.raises(UserError, match="is not a length of time"):
        parse_duration("9" * 400)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.04, "0s"),
        (1.04, "1s"),
        (0.44, "0.4s"),
        (9.96, "10s"),
        (10.4, "10s"),
        (59.6, "1m"),
        (60, "1m"),
        (61, "1m1s"),
        (3600, "1h"),
        (3601, "1h"),
        (5400, "1h30m"),
        (86400, "1d"),
        (194400.2, "2d6h"),
        (172860, "2d"),
    ],
)
def test_how_a_length_of_time_is_shown(seconds, text):
    assert format_duration(seconds) == text


units = st.tuples(*(st.integers(0, bound) for bound in (400, 99, 99, 99)))


@given(units.filter(any))
def test_parts_add_up(parts):
    days, hours, minutes, seconds = parts
    text = "".join(f"{count}{unit}" for count, unit in zip(parts, "dhms", strict=True) if count)
    assert parse_duration(text) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@given(st.floats(0.1, 1e8))
def test_what_is_shown_can_be_typed_and_is_near(seconds):
    shown = format_duration(seconds)
    again = parse_duration(shown)
    assert abs(again - seconds) <= max(0.5, seconds / 24)
    assert format_duration(again) == shown


@given(st.text(max_size=12))
def test_any_text_is_a_positive_length_or_a_clear_refusal(text):
    with contextlib.suppress(UserError):
        assert 0 < parse_duration(text) < float("inf")
