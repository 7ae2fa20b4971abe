"""Errors: what they say, and that they survive the way out of a worker process."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    MissingExtraError,
    StatewiseError,
    UnknownNameError,
    UserError,
    suggestion,
)


def test_a_message_has_the_place_first_and_a_line_for_each_known_part():
    error = UserError(
        "is no number", where="data.csv, row 7", seen="'abc'", expected="a number", fix="--na abc"
    )
    assert str(error) == (
        "data.csv, row 7: is no number\n  seen: 'abc'\n  expected: a number\n  fix: --na abc"
    )
    assert str(UserError("it rains")) == "it rains"
    assert str(UserError("it rains", fix="wait")) == "it rains\n  fix: wait"


def test_as_dict_holds_the_known_parts_only():
    assert UserError("x", where="y").as_dict() == {"what": "x", "where": "y"}
    assert UserError("x", seen="").as_dict() == {"what": "x", "seen": ""}


@pytest.mark.parametrize("kind", [ConfigError, DataError, CheckpointError, UserError])
def test_what_a_user_can_fix_ends_with_exit_code_2(kind):
    assert kind("x").exit_code == 2


def test_the_other_exit_codes():
    assert StatewiseError("x").exit_code == 1
    assert Interrupted("x").exit_code == 130
    assert not issubclass(Interrupted, UserError)


def test_a_missing_extra_names_package_purpose_and_command():
    error = MissingExtraError("optuna", "statewise-timeseries[tune]", "forecast tune")
    assert "forecast tune needs the package 'optuna'" in str(error)
    assert error.fix == 'pip install "statewise-timeseries[tune]"'


def test_an_unknown_name_lists_the_known_ones_in_order_and_offers_the_nearest():
    error = UnknownNameError("layer", "s6", ["s5", "lru", "gla"])
    assert error.what == "there is no layer called 's6'"
    assert error.expected == "one of gla, lru, s5"
    assert error.fix == "did you mean 's5'?"
    assert (error.name, error.known) == ("s6", ["gla", "lru", "s5"])


def test_an_unknown_name_in_an_empty_table_expects_nothing():
    error = UnknownNameError("layer", "s6", [])
    assert (error.expected, error.fix) == (None, None)


@pytest.mark.parametrize(
    "error",
    [
        UserError("what", where="where", seen="seen", expected="expected", fix="fix"),
        ConfigError("what", where="where"),
        MissingExtraError("optuna", "statewise[tune]", "this"),
        UnknownNameError("layer", "s6", ["s5"]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("transport", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_arrives_whole_from_another_process(error, transport):
    arrived = transport(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert arrived.as_dict() == error.as_dict()
    assert vars(arrived) == vars(error)


def test_suggestions_ignore_case_and_stay_silent_when_nothing_is_near():
    assert suggestion("NLINAER", ["nlinear", "tpgn"]) == "did you mean 'nlinear'?"
    assert suggestion("nlinear", ["NLinear"]) == "did you mean 'NLinear'?"
    assert suggestion("xyz", ["nlinear", "tpgn"]) is None
    assert suggestion("x", []) is None


@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=20), max_size=8))
def test_a_suggestion_is_always_a_known_name(name, known):
    answer = suggestion(name, known)
    assert answer is None or answer in {f"did you mean '{item}'?" for item in known}
