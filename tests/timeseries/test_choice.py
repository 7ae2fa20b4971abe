"""Who is chosen, and why."""

from __future__ import annotations

import numpy as np
import pytest

from statewise.timeseries.choice import Choice, choose
from statewise.timeseries.config import AutoConfig
from statewise.timeseries.evidence import Losses, compare

RANKS = {"naive": 0, "seasonal-naive": 1, "drift": 2, "linear": 3, "network": 4}
BLOCKS = 6


def losses(errors: dict[str, dict[str, float]], spread: float = 0.0, blocks: int = BLOCKS) -> Losses:
    """Ten origins in each block; blocks differ by a random share of the level, for each method alone."""
    rng = np.random.default_rng(0)
    places = np.repeat(np.arange(blocks), 10)
    values = {
        name: {
            series: error * (1 + spread * rng.normal(size=blocks)[places]) for series, error in own.items()
        }
        for name, own in errors.items()
    }
    names = {series for own in errors.values() for series in own}
    return Losses(values=values, blocks=dict.fromkeys(sorted(names), places))


def chosen(
    errors: dict[str, dict[str, float]],
    windows: int = 50,
    spread: float = 0.0,
    blocks: int = BLOCKS,
    **settings: object,
) -> dict[str, Choice]:
    series = {name for by_series in errors.values() for name in by_series}
    counts = dict.fromkeys(sorted(series), windows)
    return choose(errors, losses(errors, spread, blocks), counts, RANKS, AutoConfig(**settings))


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
    assert choice.reason == "errs 30.0% less than seasonal-naive over 6 separate horizons"


def test_simple_baseline_that_wins_is_chosen():
    choice = chosen(one(naive=0.5, seasonal_naive=1.0, linear=0.7))["a"]
    assert (choice.method, choice.reason) == ("naive", "no method errs less")


def test_simpler_method_wins_a_near_tie():
    assert chosen(one(naive=2.0, linear=0.7005, network=0.7))["a"].method == "linear"
    assert chosen(one(naive=2.0, linear=0.7005, network=0.7), tolerance=0.0)["a"].method == "network"


def test_gain_that_may_be_chance_leaves_the_last_value_and_says_so():
    errors = one(naive=1.0, drift=0.93)
    assert chosen(errors, spread=0.02, blocks=30)["a"].method == "drift"
    few = chosen(errors, spread=0.02, blocks=2)["a"]
    assert few.method == "naive"
    assert "drift errs" in few.reason
    assert "which may be chance" in few.reason
    assert chosen(errors, spread=0.02, blocks=2, chance=1.0)["a"].method == "drift"
    assert chosen(one(naive=1.0, drift=0.4), spread=0.02, blocks=2)["a"].method == "drift"


def test_more_series_make_few_blocks_tell_more():
    few = {"naive": {"a": 1.0}, "linear": {"a": 0.75}}
    many = {name: dict.fromkeys([f"s{i}" for i in range(100)], own["a"]) for name, own in few.items()}
    p = [
        compare(losses(errors, blocks=2), "linear", "naive", list(errors["naive"])).p
        for errors in (few, many)
    ]
    assert p[1] < 0.5 * p[0]


def test_chance_is_that_of_the_blocks_once_there_are_many():
    rng = np.random.default_rng(1)
    gains = 0.1 + rng.normal(size=400)
    seen = Losses(
        values={"naive": {"a": np.full(400, 5.0)}, "linear": {"a": 5.0 - gains}},
        blocks={"a": np.arange(400)},
    )
    t = gains.mean() / gains.std(ddof=1) * np.sqrt(400)
    from scipy.special import ndtr

    assert compare(seen, "linear", "naive", ["a"]).p == pytest.approx(ndtr(-t), abs=5e-3)


def test_methods_meet_on_the_origins_that_both_forecast():
    seen = losses(one(naive=1.0, network=0.8))
    seen.values["network"]["a"][:50] = np.nan
    seen.values["naive"]["a"][:50] = 100.0
    against = compare(seen, "network", "naive", ["a"])
    assert (against.loss, against.reference, against.blocks) == (pytest.approx(0.8), pytest.approx(1.0), 1)


def test_series_follows_its_group_unless_another_is_clearly_better():
    errors = {
        "naive": {"a": 4.0, "b": 2.0, "c": 0.30},
        "linear": {"a": 0.5, "b": 1.01, "c": 0.50},
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
    choices = chosen(errors)
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
