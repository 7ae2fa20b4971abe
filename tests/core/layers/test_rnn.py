"""Elman, LSTM and GRU against torch's own, sLSTM against its unstabilised equations, and how they start."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from statewise.core.layers import build
from statewise.core.ops import use_backend

TORCH = {"elman": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@pytest.mark.parametrize("name", TORCH)
def test_loads_the_weights_of_torch_and_agrees(name) -> None:
    theirs = TORCH[name](3, 5, batch_first=True).double()
    layer = build(name, d_model=3, d_hidden=5).double()
    layer.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    expected, last = theirs(x)
    with use_backend("portable"):
        y, state = layer(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-13)
    for ours, other in zip(state, last if name == "lstm" else (last,), strict=True):
        torch.testing.assert_close(ours, other[0], rtol=0, atol=1e-13)


def test_slstm_equals_its_equations_without_a_stabiliser() -> None:
    layer = build("slstm", d_model=4, heads=2).double()
    x = torch.randn(2, 9, 4, dtype=torch.float64)
    h = c = n = torch.zeros(2, 4, dtype=torch.float64)
    blocks = torch.zeros(4, 4, 4, dtype=torch.float64)  # gate, unit, unit
    for head, block in enumerate(layer.recurrent.detach().unflatten(1, (4, 2))):
        blocks[:, 2 * head : 2 * head + 2, 2 * head : 2 * head + 2] = block
    expected = []
    for x_t in x.unbind(1):
        i, f, z, o = (
            layer.gates(x_t).unflatten(1, (4, 4)).add(torch.einsum("gij,bj->bgi", blocks, h)).unbind(1)
        )
        c = torch.sigmoid(f) * c + torch.exp(i) * torch.tanh(z)
        n = torch.sigmoid(f) * n + torch.exp(i)
        h = torch.sigmoid(o) * c / n
        expected.append(h)
    with use_backend("portable"):
        y, state = layer(x)
    torch.testing.assert_close(y, torch.stack(expected, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close((state.ratio, state.log_n), (c / n, torch.log(n)), rtol=0, atol=1e-12)


def test_slstm_gradients_pass_through_the_state_between_chunks() -> None:
    layer = build("slstm", d_model=4, heads=2).double()
    x = torch.randn(2, 8, 4, dtype=torch.float64, requires_grad=True)
    with use_backend("portable"):
        whole = layer(x)
        first, state = layer(x[:, :5])
        second, state = layer(x[:, 5:], state)
    for ours, other in zip(
        (torch.cat([first, second], 1), *state[:3]), (whole[0], *whole[1][:3]), strict=True
    ):
        (found,) = torch.autograd.grad(ours.sin().sum(), x, retain_graph=True)
        (wanted,) = torch.autograd.grad(other.sin().sum(), x, retain_graph=True)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_slstm_stays_finite_where_its_exponentials_would_not() -> None:
    layer = build("slstm", d_model=2, heads=1)
    with torch.no_grad():
        layer.gates.bias[:2] = torch.tensor([300.0, -300.0])
    with use_backend("portable"):
        y, state = layer(torch.randn(1, 50, 2))
    assert bool(y.isfinite().all())
    assert bool(state.log_n.isfinite().all())


def test_memory_gates_start_open() -> None:
    assert build("lstm", d_model=2, forget_bias=1.5).bias_ih_l0.tolist() == [0, 0, 1.5, 1.5, 0, 0, 0, 0]
    assert build("gru", d_model=1, update_bias=2.0).bias_ih_l0.tolist() == [0, 2, 0]
    bias = build("slstm", d_model=6, heads=2, forget_bias_first=2.0, forget_bias_last=4.0).gates.bias
    assert bias[6:12].tolist() == [2, 3, 4, 2, 3, 4]
    assert build("pararnn", d_model=1, gate_bias=-2.0).gates.bias.tolist() == [-2, 0, 0]
    assert build("pararnn", d_model=1, cell="diag-lstm", gate_bias=-2.0).gates.bias.tolist() == [2, 0, 0]
