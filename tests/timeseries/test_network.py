"""What every network forecaster owes: it learns, repeats itself, sees no future, takes awkward series."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from statewise.core.errors import ConfigError, DataError
from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.tpgn import TPGNForecaster, TPGNForecasterConfig
from statewise.timeseries.network import NetworkConfig, NetworkForecaster
from statewise.timeseries.panel import Panel, Series

HOUR = Frequency("hour")
PERIOD, HORIZON = 12, 12


class Flat(NetworkForecaster[NetworkConfig]):
    """One linear map of the whole window: the quickest network there is."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)

    def build(self, inputs: Inputs) -> nn.Module:
        width = inputs.lookback * (1 + inputs.features)
        return nn.Sequential(nn.Flatten(), nn.Linear(width, inputs.horizon))


def context(**changes) -> Context:
    return Context(**({"horizon": HORIZON, "period": PERIOD, "frequency": HOUR, "epochs": 3} | changes))


def panel(*values: np.ndarray, covariates: list[np.ndarray] | None = None) -> Panel:
    series = tuple(
        Series(
            id=f"s{i}",
            times=HOUR.range(np.datetime64("2022-03-01", "us"), len(v)),
            values=np.asarray(v, dtype=np.float64),
            covariates=None if covariates is None else covariates[i],
        )
        for i, v in enumerate(values)
    )
    return Panel(series=series, frequency=HOUR, covariate_names=() if covariates is None else ("c",))


def wave(n: int, seed: int, level: float = 0.0, noise: float = 0.3) -> np.ndarray:
    return level + np.sin(np.arange(n) * 2 * np.pi / PERIOD) + np.random.default_rng(seed).normal(0, noise, n)


def fitted(forecaster: NetworkForecaster, data: Panel, **changes) -> NetworkForecaster:
    forecaster.fit(data, context(**changes))
    return forecaster


def mean_error(forecaster: NetworkForecaster, data: Panel, origins: np.ndarray) -> float:
    forecasts = forecaster.predict(data, [origins] * len(data))
    pairs = zip(forecasts, data.series, strict=True)
    return float(np.mean([abs(forecast - following(series, origins)) for forecast, series in pairs]))


def following(series: Series, origins: np.ndarray) -> np.ndarray:
    return series.values[origins[:, None] + np.arange(HORIZON)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: TPGNForecaster(TPGNForecasterConfig(hidden=4, learning_rate=1e-2)),
        lambda: Flat(NetworkConfig(learning_rate=3e-3)),
    ],
    ids=["tpgn", "flat"],
)
def test_it_learns_a_noisy_season_better_than_repeating_it(make):
    data = panel(wave(700, 0), wave(700, 1, level=50.0))
    forecaster = fitted(make(), data.head([600, 600]), epochs=8)
    origins = np.arange(600, 700 - HORIZON)
    repeated = [abs(following(s, origins) - following(s, origins - PERIOD)) for s in data.series]
    assert mean_error(forecaster, data, origins) < 0.85 * np.mean(repeated)


def test_same_seed_same_forecast_and_state_predicts_in_a_fresh_object():
    data, origins = panel(wave(300, 0)), [np.array([250, 280])]
    one, two, other = (fitted(Flat(NetworkConfig()), data, seed=seed) for seed in (1, 1, 2))
    expected = one.predict(data, origins)[0]
    np.testing.assert_array_equal(two.predict(data, origins)[0], expected)
    assert not np.array_equal(other.predict(data, origins)[0], expected)

    fresh = Flat(NetworkConfig())
    with pytest.raises(RuntimeError, match="fit or restore"):
        fresh.predict(data, origins)
    fresh.restore(one.state(), context())
    np.testing.assert_array_equal(fresh.predict(data, origins)[0], expected)
    assert expected.dtype == np.float64
    assert expected.shape == (2, HORIZON)


def test_fit_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(Flat(NetworkConfig()), panel(wave(200, 0)))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("known", [True, False], ids=["series of the fit", "unseen series"])
def test_a_forecast_depends_on_nothing_at_or_after_its_origin(known: bool):
    values = wave(300, 0)
    values[[3, 40, 41, 230, 255]] = np.nan
    forecaster = fitted(TPGNForecaster(TPGNForecasterConfig()), panel(values), epochs=1)
    if not known:
        values = wave(300, 7, level=1e4, noise=9.0)
        values[:20] = np.nan
    name = "s0" if known else "new"
    origins = np.array([5, 19, 21, 60, 250])

    def forecast(changed: np.ndarray, at: np.ndarray) -> np.ndarray:
        series = panel(changed).series[0]
        data = Panel(series=(Series(id=name, times=series.times, values=changed),), frequency=HOUR)
        return forecaster.predict(data, [at])[0]

    together = forecast(values, origins)
    assert np.isfinite(together).all()
    for row, origin in enumerate(origins):
        future = values.copy()
        future[origin:] = np.random.default_rng(1).normal(-1e6, 1e5, len(values) - origin)
        alone = forecast(future, np.array([origin]))[0]
        np.testing.assert_allclose(alone, together[row], rtol=1e-6)
        future[origin:] = np.nan
        np.testing.assert_array_equal(forecast(future, np.array([origin]))[0], alone)


def test_known_future_covariate_is_used():
    rng = np.random.default_rng(3)
    promotion = (rng.random((900 + HORIZON, 1)) < 0.2).astype(float)
    values = wave(900, 0, noise=0.1) + 3.0 * promotion[:900, 0]
    with_it = panel(values, covariates=[promotion])
    without = panel(values)
    origins = np.arange(800, 900 - HORIZON)
    config = NetworkConfig(lookback=2 * PERIOD, learning_rate=1e-2)
    seen = mean_error(fitted(Flat(config), with_it.head([800]), epochs=10), with_it, origins)
    blind = mean_error(fitted(Flat(config), without.head([800]), epochs=10), without, origins)
    assert seen < 0.5 * blind


def test_ragged_short_constant_and_empty_series_stand_beside_a_long_one():
    gappy = wave(120, 2)
    gappy[30:55] = np.nan
    data = panel(wave(400, 0), wave(50, 1), np.full(80, 7.0), np.full(60, np.nan), gappy, np.array([1.0]))
    forecaster = fitted(TPGNForecaster(TPGNForecasterConfig(lookback=36)), data, epochs=1)
    ends = [np.array([len(series)]) for series in data.series]
    forecasts = forecaster.predict(data, ends)
    assert all(f.shape == (1, HORIZON) and np.isfinite(f).all() for f in forecasts)
    assert abs(forecasts[2] - 7.0).max() < 1.0
    assert forecaster.predict(data, [np.array([], dtype=int)] * 6)[0].shape == (0, HORIZON)


def test_shortest_history_named_by_minimum_can_be_fitted():
    forecaster = Flat(NetworkConfig())
    shortest = forecaster.minimum(context())
    fitted(forecaster, panel(wave(shortest, 0)))
    assert forecaster.predict(panel(wave(shortest, 0)), [np.array([shortest])])[0].shape == (1, HORIZON)
    with pytest.raises(DataError, match="no series is long enough"):
        forecaster.fit(panel(wave(2 * HORIZON, 0)), context())


@pytest.mark.parametrize("size", [1e-30, 1e12])
def test_extreme_units_do_not_matter(size: float):
    data = panel(wave(300, 0))
    moved = panel(data.series[0].values * size)
    plain = fitted(TPGNForecaster(TPGNForecasterConfig()), data).predict(data, [np.array([300])])[0]
    scaled = fitted(TPGNForecaster(TPGNForecasterConfig()), moved).predict(moved, [np.array([300])])[0]
    np.testing.assert_allclose(scaled / size, plain, rtol=1e-3, atol=1e-4)


def test_a_leap_far_out_of_range_stays_finite():
    values = wave(300, 0)
    forecaster = fitted(TPGNForecaster(TPGNForecasterConfig()), panel(values))
    values[250:] = 1e30
    assert np.isfinite(forecaster.predict(panel(values), [np.arange(240, 301)])[0]).all()


def test_deadline_ends_the_fit_and_progress_is_told():
    told: list[tuple[float, str]] = []
    start = time.monotonic()
    forecaster = fitted(
        Flat(NetworkConfig(patience=10_000)),
        panel(wave(3000, 0)),
        epochs=100_000,
        deadline=start + 1.5,
        progress=lambda fraction, words: told.append((fraction, words)),
    )
    assert time.monotonic() - start < 6
    assert forecaster.result is not None
    assert forecaster.result.stopped_by == "deadline"
    assert 0 <= told[0][0] <= told[-1][0] <= 1
    assert told[0][1].startswith("epoch 1")
    assert "validation error" in told[-1][1]


def test_lookback_is_whole_seasons_and_fits_the_data():
    def chosen(n: int, period: int) -> int:
        forecaster = fitted(Flat(NetworkConfig()), panel(wave(n, 0)), period=period, epochs=1)
        return int(forecaster.state()["inputs.shape"][0])

    assert chosen(2000, 24) == 168
    assert chosen(144, 12) == 48
    assert chosen(60, 12) == 12
    assert chosen(2400, 300) == 600


def test_settings_out_of_bounds_are_named():
    with pytest.raises(ConfigError, match="'validation' is out of bounds"):
        NetworkConfig(validation=1.0)
    with pytest.raises(ConfigError, match="'period' is out of bounds"):
        TPGNForecasterConfig(period=0)
