"""TPGN against the paper: parameter counts, and a loop over windows, columns and rows from the equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from statewise.core.errors import ConfigError
from statewise.timeseries.models.tpgn import TPGN, TPGNConfig, presets


@pytest.mark.parametrize(
    ("hidden", "horizon", "parameters"), [(2, 168, 431), (8, 168, 2_471), (32, 168, 22_151), (8, 1440, 3_372)]
)
def test_parameter_counts_are_the_papers(hidden: int, horizon: int, parameters: int):
    model = TPGN(TPGNConfig(lookback=168, horizon=horizon, period=24, features=4, hidden=hidden))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def loop(model: TPGN, x: Tensor) -> Tensor:
    """The equations one number at a time: x (B, L, 1+F) to (B, H)."""
    return torch.stack([_forecast_one(model, window) for window in x])


def _forecast_one(model: TPGN, window: Tensor) -> Tensor:
    config, period = model.config, model.config.period
    value = window[:, 0]
    mean = scale = None
    if config.normalise:
        mean = sum(value) / len(value)
        scale = torch.sqrt(sum((v - mean) ** 2 for v in value) / len(value) + 1e-5)
        window = torch.cat([((value - mean) / scale)[:, None], window[:, 1:]], dim=1)
    rows = math.ceil(config.lookback / period)
    missing = rows * period - config.lookback
    steps = [torch.zeros_like(window[0])] * missing + list(window)
    grid = [steps[row * period : (row + 1) * period] for row in range(rows)]

    short_rows = [_affine(model.row, torch.cat(grid[row])) for row in range(rows)]
    short = _affine(model.short, torch.cat(short_rows))
    table = []
    for column in range(period):
        outputs = _pgn_column(model, [grid[row][column] for row in range(rows)])
        long = _affine(model.long, torch.cat(outputs))
        table.append(_affine(model.head, torch.cat([short, long])))
    ahead = [table[step % period][step // period] for step in range(config.horizon)]
    y = torch.stack(ahead)
    return y if mean is None or scale is None else y * scale + mean


def _pgn_column(model: TPGN, inputs: list[Tensor]) -> list[Tensor]:
    """h_r from the W rows before, then the gated update with row r."""
    window, hidden = max(len(inputs) - 1, 1), model.config.hidden
    before = [torch.zeros_like(inputs[0])] * window + inputs
    outputs = []
    for row, now in enumerate(inputs):
        h = _affine(model.cell.history, torch.cat(before[row : row + window]))
        both = _affine(model.cell.gates, torch.cat([now, h]))
        g = 1 / (1 + torch.exp(-both[:hidden]))
        c = torch.tanh(both[hidden:])
        outputs.append(g * h + (1 - g) * c)
    return outputs


def _affine(linear: torch.nn.Linear, x: Tensor) -> Tensor:
    return torch.stack([row @ x for row in linear.weight]) + linear.bias


SHAPES = {
    "paper's form": TPGNConfig(lookback=12, horizon=8, period=4, features=2, hidden=3),
    "level kept": TPGNConfig(lookback=12, horizon=8, period=4, features=2, hidden=3, normalise=False),
    "nothing divides": TPGNConfig(lookback=11, horizon=7, period=4, features=1, hidden=2),
    "less than a period": TPGNConfig(lookback=3, horizon=2, period=5, features=1, hidden=2),
    "no period, no features": TPGNConfig(lookback=6, horizon=4, period=1, features=0, hidden=2),
    "one step": TPGNConfig(lookback=1, horizon=1, period=1, features=0, hidden=1, normalise=False),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_forecast_and_gradients_equal_the_loop(config: TPGNConfig):
    model = TPGN(config).double()
    x = torch.randn(3, config.lookback, 1 + config.features, dtype=torch.float64, requires_grad=True)
    variables = (x, *model.parameters())
    expected, seen = loop(model, x), model(x)
    torch.testing.assert_close(seen, expected, rtol=1e-11, atol=1e-12)

    direction = torch.randn_like(expected)
    by_loop = torch.autograd.grad((expected * direction).sum(), variables)
    by_model = torch.autograd.grad((seen * direction).sum(), variables)
    for one, other in zip(by_model, by_loop, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_normalised_forecast_moves_with_level_and_scale():
    model = TPGN(TPGNConfig(lookback=24, horizon=12, period=6, features=1, hidden=4)).double()
    x = torch.randn(5, 24, 2, dtype=torch.float64)
    moved = torch.cat([x[..., :1] * 40.0 - 7.0, x[..., 1:]], dim=-1)
    torch.testing.assert_close(model(moved), model(x) * 40.0 - 7.0, rtol=1e-4, atol=1e-4)


def test_constant_window_has_a_finite_forecast_and_gradient():
    model = TPGN(TPGNConfig(lookback=8, horizon=4, period=4, features=0, hidden=2))
    y = model(torch.full((2, 8, 1), 3.0))
    y.sum().backward()
    assert torch.allclose(y, torch.full_like(y, 3.0), atol=0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_presets_and_bounds():
    assert [TPGNConfig(**presets[name]).hidden for name in ("tiny", "small", "base")] == [2, 8, 32]
    with pytest.raises(ConfigError, match="'hidden' is out of bounds"):
        TPGNConfig(hidden=0)
