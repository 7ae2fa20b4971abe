"""minGRU and minLSTM against loops over their equations, and gates at their extremes."""

from __future__ import annotations

import torch

from statewise.core.layers.min_gru import MinGRU, MinGRUConfig
from statewise.core.layers.min_lstm import MinLSTM, MinLSTMConfig


def test_min_gru_equations() -> None:
    layer = MinGRU(MinGRUConfig(d_model=3, gate_bias=-1.0)).double()
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    gate, candidate = layer.gates(x).chunk(2, -1)
    z, h, expected = torch.sigmoid(gate), torch.zeros(2, 3, dtype=torch.float64), []
    for t in range(6):
        h = (1 - z[:, t]) * h + z[:, t] * candidate[:, t]
        expected.append(h)
    torch.testing.assert_close(layer(x)[0], torch.stack(expected, 1))
    assert layer.gates.bias.tolist() == [-1.0] * 3 + [0.0] * 3


def test_min_lstm_equations() -> None:
    layer = MinLSTM(MinLSTMConfig(d_model=3, expand=2, forget_bias=1.0)).double()
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    forget, write, candidate = layer.gates(x).chunk(3, -1)
    f, i = torch.sigmoid(forget), torch.sigmoid(write)
    h, expected = torch.zeros(2, 6, dtype=torch.float64), []
    for t in range(6):
        total = f[:, t] + i[:, t]
        h = f[:, t] / total * h + i[:, t] / total * candidate[:, t]
        expected.append(layer.out(h))
    torch.testing.assert_close(layer(x)[0], torch.stack(expected, 1))
    assert layer.gates.bias.tolist() == [1.0] * 6 + [0.0] * 12


def test_gates_stay_finite_where_both_underflow() -> None:
    layer = MinLSTM(MinLSTMConfig(d_model=1))
    with torch.no_grad():
        layer.gates.weight.zero_()
        layer.gates.bias[:] = torch.tensor([-200.0, -200.0, 3.0])
    y, state = layer(torch.ones(1, 2, 1))
    torch.testing.assert_close(y.flatten(), torch.tensor([1.5, 2.25]))
    (grad,) = torch.autograd.grad(state.h.sum(), layer.gates.bias)
    assert bool(grad.isfinite().all())
