"""`auto` from series to intervals: what it chooses, what it leaves out, and what it never looks at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from statewise.timeseries import auto
from statewise.timeseries.auto import AutoResult
from statewise.timeseries.config import AutoConfig
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models.blend import Blend
from statewise.timeseries.models.naive import Drift
from statewise.timeseries.models.nlinear import NLinear, NLinearConfig
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.portfolio import Forecast, Portfolio
from statewise.timeseries.stacking import blend_weights, left_out_weights

HOURLY = Frequency("hour")
CONTEXT = Context(horizon=6, period=8, frequency=HOURLY)
LINEAR = AutoConfig(methods=("nlinear", "dlinear"), budget=None, blend=False)


def panel(values: dict[str, np.ndarray], covariates: np.ndarray | None = None) -> Panel:
    first = np.datetime64("2024-01-01")
    return Panel(
        series=tuple(
            Series(id=name, times=HOURLY.range(first, len(v)), values=v, covariates=covariates)
            for name, v in values.items()
        ),
        frequency=HOURLY,
        covariate_names=() if covariates is None else ("price",),
    )


def seasonal(seed: int, n: int = 300) -> np.ndarray:
    """A season with errors that decay slowly: a linear method beats the naive ones."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=n)
    for t in range(1, n):
        noise[t] += 0.6 * noise[t - 1]
    return 30 + 5 * np.sin(2 * np.pi * np.arange(n) / 8) + noise


def walk(seed: int, n: int = 300) -> np.ndarray:
    return 100 + np.cumsum(np.random.default_rng(seed).normal(size=n))


def run(values: dict[str, np.ndarray], config: AutoConfig = LINEAR, context: Context = CONTEXT) -> AutoResult:
    return auto.run(panel(values), context, config)


def methods(result: AutoResult) -> dict[str, str]:
    return {name: choice.method for name, choice in result.choices.items()}


def assert_sound(forecasts: list[Forecast], horizon: int = 6) -> None:
    for one in forecasts:
        assert one.point.shape == (horizon,)
        bounds = np.concatenate((one.lower[::-1], one.point[None], one.upper))
        assert np.isfinite(bounds).all()
        assert (np.diff(bounds, axis=0) >= 0).all()


def test_linear_method_wins_on_a_season_and_naive_on_a_walk():
    result = run({"season": seasonal(0), "walk": walk(1)})
    assert methods(result)["season"] in ("nlinear", "dlinear")
    assert methods(result)["walk"] in ("naive", "drift")
    choice = result.choices["season"]
    assert choice.baseline == "seasonal-naive"
    assert choice.gain > 0.1
    assert_sound(result.portfolio.predict(panel({"season": seasonal(0), "walk": walk(1)})))


def test_scoreboard_holds_every_method_on_both_blocks_and_the_choice():
    result = run({"season": seasonal(0)})
    names = ["naive", "seasonal-naive", "drift", "nlinear", "dlinear", "auto"]
    assert [row.method for row in result.rows] == [name for name in names for _ in range(2)]
    for split in ("validation", "test"):
        chosen = result.row(methods(result)["season"], split)
        assert result.row("auto", split).score == chosen.score
        assert chosen.score is not None
        assert chosen.score.windows == 60 - 6 + 1
        least = min(row.score.mase for row in result.rows if row.split == "validation" and row.score)
        assert result.row("auto", "validation").series["season"].mase <= 1.01 * least


def test_test_rows_change_no_choice_and_no_validation_score():
    before = {"a": seasonal(2), "b": walk(3), "c": seasonal(4)}
    rng = np.random.default_rng(5)
    endings = (rng.normal(size=60), np.full(60, 1e6), np.full(60, np.nan))
    changed = [
        {name: np.concatenate((values[:240], later)) for name, values in before.items()} for later in endings
    ]
    results = [run(values) for values in (before, *changed)]
    for other in results[1:]:
        assert other.choices == results[0].choices
        for row, same in zip(results[0].rows, other.rows, strict=True):
            if row.split == "validation":
                assert row.series == same.series


def test_bad_series_fall_back_with_a_note_and_harm_no_other():
    good = {"good": seasonal(6), "other": walk(7)}
    late = np.concatenate((np.full(299, np.nan), [5.0]))
    bad = {
        "constant": np.full(300, 4.0),
        "short": np.array([1.0, 2.0, 4.0]),
        "empty": np.full(300, np.nan),
        "one value": late,
        "single": np.array([9.0]),
    }
    values = {"constant": bad["constant"], **good, **{name: bad[name] for name in list(bad)[1:]}}
    result = run(values)
    assert set(result.fallbacks) == set(bad)
    assert methods(result) == methods(run(good))
    assert all(any(f"'{name}'" in note for note in result.notes) for name in bad)
    forecasts = {one.series: one for one in result.portfolio.predict(panel(values))}
    assert_sound(list(forecasts.values()))
    np.testing.assert_array_equal(forecasts["constant"].upper, 4.0)
    np.testing.assert_array_equal(forecasts["short"].point, 4.0)
    np.testing.assert_array_equal(forecasts["empty"].point, 0.0)
    alone = {one.series: one for one in run(good).portfolio.predict(panel(good))}
    np.testing.assert_allclose(forecasts["good"].point, alone["good"].point)


def test_nothing_but_bad_series_still_gives_a_forecast():
    values = {"constant": np.full(50, 4.0), "empty": np.full(50, np.nan)}
    result = run(values)
    assert result.choices == {}
    assert result.row("naive", "test").score is None
    assert_sound(result.portfolio.predict(panel(values)))


def test_gap_before_the_first_value_is_no_history():
    values = seasonal(8)
    gap = np.concatenate((np.full(200, np.nan), values))
    result, plain = run({"a": gap}), run({"a": values})
    assert methods(result) == methods(plain)
    np.testing.assert_allclose(
        result.portfolio.predict(panel({"a": gap}))[0].point,
        plain.portfolio.predict(panel({"a": values}))[0].point,
        rtol=1e-6,
    )


def test_gaps_inside_are_borne():
    values = seasonal(9)
    values[np.random.default_rng(10).random(300) < 0.2] = np.nan
    values[150:170] = np.nan
    result = run({"a": values})
    assert methods(result)["a"] in ("nlinear", "dlinear")
    assert_sound(result.portfolio.predict(panel({"a": values})))


def test_ragged_series_are_judged_on_their_own_ends():
    result = run({"long": seasonal(11, 400), "short": seasonal(12, 60)})
    assert [blocks.end for blocks in result.plan.blocks] == [400, 60]
    forecasts = result.portfolio.predict(panel({"long": seasonal(11, 400), "short": seasonal(12, 60)}))
    assert forecasts[1].times[0] == np.datetime64("2024-01-03T12:00")
    assert_sound(forecasts)


def test_coverage_on_the_test_rows_is_near_the_level():
    result = run({f"s{i}": seasonal(20 + i, 1500) for i in range(3)})
    row = result.row("auto", "test").score
    assert row is not None
    np.testing.assert_allclose(row.coverage, (0.8, 0.95), atol=0.04)


def test_method_asked_for_is_fitted_whatever_it_scores():
    result = run({"walk": walk(13)}, replace(LINEAR, choose="dlinear"))
    assert methods(result) == {"walk": "dlinear"}
    assert result.portfolio.predict(panel({"walk": walk(13)}))[0].method == "dlinear"


def test_settings_of_a_method_are_used():
    settings = {"nlinear": NLinearConfig(lookback=3)}
    config = replace(LINEAR, choose="nlinear")
    result = auto.run(panel({"a": seasonal(14)}), CONTEXT, config, settings)
    method = result.portfolio.methods["nlinear"]
    assert isinstance(method, NLinear)
    assert method.maps.shape[1] == 3


def test_method_that_fails_on_one_series_is_used_for_the_others(monkeypatch: pytest.MonkeyPatch):
    rule = Drift.rule

    def fails(self: Drift, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        if values[0] > 1000:
            raise ZeroDivisionError("no slope")
        return rule(self, values, origins)

    monkeypatch.setattr(Drift, "rule", fails)
    line = np.arange(300.0)
    config = AutoConfig(methods=(), budget=None)
    result = run({"bad": 2000 + line, "good": line}, config)
    assert methods(result) == {"bad": "naive", "good": "drift"}
    assert any("drift: failed on series 'bad' (ZeroDivisionError: no slope)" in note for note in result.notes)


def test_method_that_fails_everywhere_is_left_out_unless_asked_for(monkeypatch: pytest.MonkeyPatch):
    def fails(self: NLinear, panel: Panel, context: Context) -> None:
        raise FloatingPointError("singular")

    monkeypatch.setattr(NLinear, "fit", fails)
    result = run({"a": seasonal(15)})
    assert methods(result) == {"a": "dlinear"}
    assert "singular" in result.row("nlinear", "validation").note
    assert result.row("nlinear", "validation").score is None
    with pytest.raises(FloatingPointError):
        run({"a": seasonal(15)}, replace(LINEAR, choose="nlinear"))


def test_method_that_fails_only_later_is_not_chosen(monkeypatch: pytest.MonkeyPatch):
    fit = NLinear.fit

    def fails(self: NLinear, panel: Panel, context: Context) -> None:
        if len(panel.series[0]) > 200:
            raise FloatingPointError("singular")
        fit(self, panel, context)

    config = AutoConfig(methods=("nlinear",), budget=None)
    assert methods(run({"a": seasonal(16)}, config)) == {"a": "nlinear"}
    monkeypatch.setattr(NLinear, "fit", fails)
    result = run({"a": seasonal(16)}, config)
    assert methods(result)["a"] in ("naive", "seasonal-naive", "drift")
    assert any("singular" in note for note in result.notes)


def test_interruption_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch):
    def interrupted(self: NLinear, panel: Panel, context: Context) -> None:
        raise KeyboardInterrupt

    assert not run({"a": seasonal(17)}).interrupted
    monkeypatch.setattr(NLinear, "fit", interrupted)
    result = run({"a": seasonal(17)})
    assert result.interrupted
    assert methods(result)["a"] in ("naive", "seasonal-naive", "drift")
    assert result.row("dlinear", "test").score is None
    assert_sound(result.portfolio.predict(panel({"a": seasonal(17)})))


def test_what_there_is_no_time_for_is_left_out():
    config = AutoConfig(methods=("nlinear", "theta", "ets", "tpgn"), budget=5.0)
    result = run({f"s{i}": seasonal(i, 400) for i in range(4)}, config)
    for name in ("theta", "ets", "tpgn"):
        assert "left out" in result.row(name, "validation").note
    assert set(methods(result).values()) == {"nlinear"}


def test_series_too_short_for_a_method_are_forecast_by_another():
    config = AutoConfig(methods=("tpgn",), budget=None)
    result = run({"a": seasonal(18, 40)}, config, replace(CONTEXT, epochs=1))
    assert "needs 28 training rows" in result.row("tpgn", "test").note
    assert methods(result)["a"] == "seasonal-naive"


def test_covariates_that_end_with_the_history_are_not_used():
    rng = np.random.default_rng(19)
    price = rng.normal(size=(306, 1))
    values = {"a": seasonal(19) + 6 * price[:300, 0]}
    known = auto.run(panel(values, price), CONTEXT, LINEAR)
    unknown = auto.run(panel(values, price[:303]), CONTEXT, LINEAR)
    assert known.notes == []
    assert "price" in unknown.notes[0]
    mase = [result.row("auto", "validation").series["a"].mase for result in (known, unknown)]
    assert mase[0] < 0.7 * mase[1]


@pytest.fixture(scope="module")
def fitted() -> Portfolio:
    return run({"season": seasonal(21), "walk": walk(22), "constant": np.full(99, 2.0)}).portfolio


def test_portfolio_restores_from_arrays_and_json(fitted: Portfolio):
    data = panel({"season": seasonal(21), "walk": walk(22), "constant": np.full(99, 2.0)})
    again = Portfolio.restore(
        json.loads(json.dumps(fitted.description())), load(save(fitted.state())), CONTEXT
    )
    for one, other in zip(fitted.predict(data), again.predict(data), strict=True):
        assert (one.series, one.method, one.note) == (other.series, other.method, other.note)
        for name in ("times", "point", "lower", "upper"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_portfolio_goes_on_from_newer_rows(fitted: Portfolio):
    longer = fitted.predict(panel({"season": seasonal(21, 310)}))[0]
    assert longer.times[0] == np.datetime64("2024-01-01") + np.timedelta64(310, "h")
    # the season turns with the rows
    shape = np.sin(2 * np.pi * np.arange(310, 316) / 8)
    assert np.corrcoef(longer.point, shape)[0, 1] > 0.9


def test_portfolio_forecasts_series_never_seen_in_their_own_size(fitted: Portfolio):
    small, large = fitted.predict(panel({"new": seasonal(23), "larger": 1000 * seasonal(23)}))
    assert_sound([small, large])
    np.testing.assert_allclose(large.point, 1000 * small.point)
    np.testing.assert_allclose(large.upper, 1000 * small.upper)
    assert small.upper[0, 0] > small.point[0] + 0.1


def test_portfolio_repeats_the_last_value_where_its_method_cannot_work(fitted: Portfolio):
    short = fitted.predict(panel({"season": np.array([1.0, 5.0])}))[0]
    assert (short.method, "too few" in short.note) == ("naive", True)
    np.testing.assert_array_equal(short.point, 5.0)
    assert_sound([short])


@pytest.mark.parametrize(
    ("file", "columns", "frequency", "horizon"),
    [
        ("ETTh1.csv", range(1, 8), "hour", 24),
        ("airline.csv", [1], "month", 12),
        ("seattle-weather.csv", [2, 3], "day", 7),
    ],
)
def test_choice_beats_seasonal_naive_on_public_sets(
    file: str, columns: list[int], frequency: str, horizon: int, real_data: Path
):
    table = np.loadtxt(real_data / "timeseries" / file, delimiter=",", skiprows=1, usecols=columns, ndmin=2)
    unit = Frequency(frequency)
    times = unit.range(np.datetime64("2016-07-01"), len(table))
    data = Panel(
        series=tuple(Series(id=f"s{i}", times=times, values=v) for i, v in enumerate(table.T)), frequency=unit
    )
    config = AutoConfig(methods=("nlinear", "dlinear", "theta"), budget=60)
    result = auto.run(data, Context(horizon=horizon, period=horizon, frequency=unit), config)
    for split in ("validation", "test"):
        naive = result.row("seasonal-naive", split).score
        chosen = result.row("auto", split).score
        assert naive is not None
        assert chosen is not None
        assert chosen.mase <= 0.95 * naive.mase
    assert result.fallbacks == {}


def test_blend_of_methods_that_err_differently_is_chosen_kept_and_restored():
    rng = np.random.default_rng(30)
    noise = rng.normal(size=400)
    for t in range(8, 400):
        noise[t] += 0.45 * noise[t - 1] + 0.45 * noise[t - 8]
    data = {"a": 20 + noise}
    config = AutoConfig(methods=("nlinear", "dlinear"), budget=None, tolerance=0.0)
    result = run(data, config)
    blend = next(row for row in result.rows if row.method == "blend" and row.split == "validation")
    assert blend.score is not None
    singles = [row.score.mase for row in result.rows if row.split == "validation" and row.score]
    assert blend.score.mase < 1.05 * min(singles)
    assert methods(result) == {"a": "blend"}
    method = result.portfolio.methods["blend"]
    assert isinstance(method, Blend)
    assert sum(method.weights.values()) == pytest.approx(1.0)
    again = Portfolio.restore(
        json.loads(json.dumps(result.portfolio.description())), load(save(result.portfolio.state())), CONTEXT
    )
    one, other = (part.predict(panel(data))[0] for part in (result.portfolio, again))
    np.testing.assert_array_equal(one.point, other.point)
    parts = [
        weight * method.members[name].predict(panel(data), [np.array([400])])[0][0]
        for name, weight in method.weights.items()
    ]
    np.testing.assert_allclose(one.point, np.sum(parts, axis=0))


def test_weights_follow_the_errors_and_add_up():
    grams = np.stack([np.diag([1.0, 4.0])] * 4)
    np.testing.assert_allclose(blend_weights(grams), [0.8, 0.2], atol=0.01)
    np.testing.assert_allclose(left_out_weights(grams).sum(axis=1), 1.0)
    same = np.stack([np.ones((2, 2))] * 4)
    np.testing.assert_allclose(blend_weights(same), [0.5, 0.5], atol=1e-6)
