"""AR-Net: the unrolled recursion against a loop, and coefficients of a simulated process found again."""

from __future__ import annotations

import numpy as np
import torch

from statewise.timeseries.forecaster import Context
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.models.ar_net import ARNet, ARNetConfig, ARNetForecaster, ARNetForecasterConfig
from statewise.timeseries.panel import Panel, Series

STEP = Frequency("step")
COEFFICIENTS = np.array([0.6, -0.3, 0.4])


def test_forecasts_are_the_recursion():
    torch.manual_seed(0)
    model = ARNet(ARNetConfig(lags=4, horizon=9)).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([0.5, -0.2, 0.1, 0.3]))
        model.bias.fill_(0.7)
    x = torch.randn(3, 10, 2, dtype=torch.float64)
    seen = model(x)
    for row in range(3):
        past = x[row, :, 0].tolist()
        for h in range(9):
            nearest = past[::-1][:4]
            value = sum(w * v for w, v in zip(model.weight.tolist(), nearest, strict=True)) + 0.7
            np.testing.assert_allclose(seen[row, h].item(), value, rtol=1e-12)
            past.append(value)


def test_coefficients_of_an_autoregression_come_back():
    rng = np.random.default_rng(1)
    values = np.zeros(4000)
    for t in range(3, 4000):
        values[t] = COEFFICIENTS @ values[t - 3 : t][::-1] + rng.normal()
    panel = Panel(series=(Series(id="y", times=np.arange(4000), values=values),), frequency=STEP)
    method = ARNetForecaster(ARNetForecasterConfig(lags=3, lookback=3, patience=3))
    method.fit(panel, Context(horizon=1, period=1, frequency=STEP, epochs=6))
    np.testing.assert_allclose(method.state()["weights.weight"], COEFFICIENTS, atol=0.05)


def test_sparsity_drives_idle_lags_to_zero():
    model = ARNet(ARNetConfig(lags=5, horizon=1, sparsity=1.0))
    with torch.no_grad():
        model.weight.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]))
    few = model.penalty()
    with torch.no_grad():
        model.weight.fill_(0.2)
    assert few < model.penalty()
    model.penalty().backward()
    assert model.weight.grad is not None
    assert bool(model.weight.grad.isfinite().all())
