"""The parts that networks share: patches, RevIN, Holt-Winters smoothing, windows of several series."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.joint_windows import Aligned, JointWindows
from statewise.timeseries.models.es_rnn import ESRNN, ESRNNConfig
from statewise.timeseries.models.patching import default_patch, patch_count, patches
from statewise.timeseries.models.revin import RevIN
from statewise.timeseries.models.smoothing import HoltWinters
from statewise.timeseries.panel import Panel, Series

DAY = Frequency("day")


@given(lookback=st.integers(1, 200), length=st.integers(1, 32), stride=st.integers(1, 32))
def test_patches_end_with_the_last_step_and_lose_none(lookback: int, length: int, stride: int):
    length = min(length, lookback)
    stride = min(stride, length)
    x = torch.arange(float(lookback)).view(1, lookback, 1)
    cut = patches(x, length, stride)
    assert cut.shape == (1, patch_count(lookback, length, stride), length)
    assert cut[0, -1, -1] == lookback - 1
    assert set(cut.flatten().tolist()) == set(range(lookback))


@given(st.integers(1, 1000))
def test_default_patches_fit(lookback: int):
    length, stride = default_patch(lookback)
    assert 1 <= stride <= length <= max(lookback, 1)


def test_revin_takes_forecasts_back():
    revin = RevIN()
    with torch.no_grad():
        revin.gain.fill_(1.7)
        revin.shift.fill_(-0.4)
    x = 5 + 3 * torch.randn(4, 50)
    seen, units = revin(x)
    torch.testing.assert_close(revin.inverse(seen, units), x)
    torch.testing.assert_close(((seen + 0.4) / 1.7).mean(dim=1), torch.zeros(4), atol=1e-5, rtol=0)


def smoothing_loop(y: np.ndarray, period: int, a: float, g: float) -> tuple[np.ndarray, np.ndarray]:
    """Levels (L,) and the season of the m steps that follow."""
    rows = y[: 2 * period].reshape(2, period)
    season = list((rows - rows.mean(axis=1, keepdims=True)).mean(axis=0)) if period > 1 else [0.0]
    level, levels = y[:period].mean(), []
    for t, value in enumerate(y):
        now = season[t]
        level = a * (value - now) + (1 - a) * level
        levels.append(level)
        season.append(g * (value - level) + (1 - g) * now if period > 1 else 0.0)
    return np.array(levels), np.array(season[len(y) : len(y) + period])


@pytest.mark.parametrize(("period", "length"), [(4, 16), (4, 18), (7, 21), (1, 9), (5, 10)])
def test_smoothing_equals_the_loop(period: int, length: int):
    rng = np.random.default_rng(period)
    y = rng.normal(size=(3, length))
    layer = HoltWinters(period).double()
    with torch.no_grad():
        layer.rates.copy_(torch.tensor([0.3, -0.8]))
    a, g = torch.sigmoid(layer.rates).tolist()
    levels, _, after = layer(torch.from_numpy(y))
    for row in range(3):
        expected, season = smoothing_loop(y[row], period, a, g)
        np.testing.assert_allclose(levels[row].detach(), expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(after[row].detach(), season, rtol=1e-10, atol=1e-12)


def test_smoothing_learns_from_its_gradient():
    y = torch.randn(2, 12, dtype=torch.float64)
    layer = HoltWinters(4).double()

    def run(rates: torch.Tensor) -> torch.Tensor:
        levels, seasons, after = torch.func.functional_call(layer, {"rates": rates}, (y,))
        return torch.cat([levels, seasons, after], dim=1)

    assert torch.autograd.gradcheck(run, layer.rates.detach().requires_grad_())


def test_an_untrained_es_rnn_goes_on_with_level_and_season():
    week = torch.sin(torch.arange(28.0) * 2 * torch.pi / 7)
    model = ESRNN(ESRNNConfig(lookback=28, horizon=10, period=7))
    forecast = model((3 + week).view(1, 28, 1))[0]
    expected = 3 + torch.sin(torch.arange(28.0, 38.0) * 2 * torch.pi / 7)
    torch.testing.assert_close(forecast, expected, atol=0.05, rtol=0)


def ragged() -> tuple[Panel, Inputs]:
    first = np.datetime64("2024-01-01")
    long = Series(id="a", times=DAY.range(first, 30), values=np.arange(30.0))
    short = Series(id="b", times=DAY.range(first + 10, 15), values=100 + np.arange(15.0))
    panel = Panel(series=(long, short), frequency=DAY)
    return panel, Inputs.fit(panel, [30, 15], Context(horizon=2, period=1, frequency=DAY), 4)


def test_series_stand_on_one_clock():
    panel, inputs = ragged()
    clock = Aligned(panel)
    assert (clock.offsets, clock.length) == ([0, 10], 30)
    windows = JointWindows(clock, inputs, pad=0)
    mean, scale = inputs.scales["b"]
    x = windows.inputs_at(np.array([20, 8]))
    np.testing.assert_allclose(x[0, :, 1, 0] * scale + mean, 100 + np.arange(6.0, 10), rtol=1e-6)
    np.testing.assert_array_equal(x[1, :, 1, 0], np.zeros(4))  # it has not begun
    mean, scale = inputs.scales["a"]
    np.testing.assert_allclose(x[1, :, 0, 0] * scale + mean, np.arange(4.0, 8), rtol=1e-6)


def test_what_was_not_observed_has_no_weight():
    panel, inputs = ragged()
    windows = JointWindows(Aligned(panel), inputs, pad=0)
    batch = windows.gather(windows.starts(24, 28))
    assert batch.x.shape == (5, 4, 2, 1 + inputs.features)
    assert batch.weight is not None
    np.testing.assert_array_equal(batch.weight[:, 0], np.ones((5, 2)))
    np.testing.assert_array_equal(batch.weight[:, 1], [[1, 0], [0, 0], [0, 0], [0, 0], [0, 0]])
