"""Who is chosen, and why."""

from __future__ import annotations

import numpy as np
import pytest

from statewise.timeseries.choice import Choice, choose
from statewise.timeseries.config import AutoConfig

RANKS = {"naive": 0, "seasonal-naive": 1, "linear": 2, "network": 3}


def chosen(errors: dict[str, dict[str, float]], windows: int = 50, **settings: object) -> dict[str, Choice]:
    series = {name for by_series in errors.values() for name in by_series}
    return choose(errors, dict.fromkeys(sorted(series), windows), RANKS, AutoConfig(**settings))


def one(**errors: float) -> dict[str, dict[str, float]]:
    return {name.replace("_", "-"): {"a": error} for name, error in errors.items()}


def test_least_error_wins():
    choice = chosen(one(naive=2.0, seasonal_naive=1.0, linear=0.7, network=0.8))["a"]
    assert (choice.method, choice.mase, choice.baseline, choice.baseline_mase) == (
        "linear",
        0.7,
        "seasonal-naive",
        1.0,
    )
    assert choice.gain == pytest.approx(0.3)


def test_simple_baseline_that_wins_is_chosen():
    choice = chosen(one(naive=0.5, seasonal_naive=1.0, linear=0.7))["a"]
    assert choice.method == "naive"


def test_simpler_method_wins_a_near_tie():
    assert chosen(one(naive=2.0, linear=0.7005, network=0.7))["a"].method == "linear"
    assert chosen(one(naive=2.0, linear=0.7005, network=0.7), tolerance=0.0)["a"].method == "network"


def test_series_follows_its_group_unless_another_is_clearly_better():
    errors = {
        "naive": {"a": 2.0, "b": 1.0, "c": 0.30},
        "linear": {"a": 0.5, "b": 1.01, "c": 0.40},
    }
    choices = chosen(errors)
    assert {name: choice.method for name, choice in choices.items()} == {
        "a": "linear",
        "b": "linear",
        "c": "naive",
    }
    assert "better on this series than linear" in choices["c"].reason
    few = chosen(errors, windows=5)
    assert few["c"].method == "linear"
    assert "too few windows" in few["c"].reason


def test_series_that_fewer_methods_can_forecast_are_a_group_of_their_own():
    errors = {"naive": {"a": 2.0, "short": 0.9}, "drift": {"a": 2.1, "short": 0.5}, "linear": {"a": 0.5}}
    ranks = {"naive": 0, "drift": 1, "linear": 2}
    choices = choose(errors, {"a": 50, "short": 3}, ranks, AutoConfig())
    assert choices["a"].method == "linear"
    assert choices["short"].method == "drift"


def test_method_asked_for_is_taken_where_it_can_be():
    errors = {"naive": {"a": 0.1, "short": 0.9}, "network": {"a": 2.0}}
    choices = chosen(errors, choose="network")
    assert (choices["a"].method, choices["a"].reason) == ("network", "as asked")
    assert choices["short"].method == "naive"
    assert "network cannot forecast" in choices["short"].reason


def test_series_without_observations_to_judge_by_follows_its_group():
    errors = {"naive": {"a": 2.0, "b": np.nan}, "linear": {"a": 0.5, "b": np.nan}}
    assert chosen(errors)["b"].method == "linear"
    nothing = {"naive": {"a": np.nan}, "linear": {"a": np.nan}}
    assert chosen(nothing)["a"].method == "naive"
