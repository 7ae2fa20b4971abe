"""LEM, HGRN, GateLoop and RG-LRU against loops over their equations, and what their gates promise."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from statewise.core.layers import build
from statewise.core.layers.hgrn import lower_bounds
from statewise.core.ops import use_backend


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 6, 4, dtype=torch.float64)


@torch.no_grad()
def test_lem_equations(x) -> None:
    layer = build("lem", d_model=4, dt=0.5).double()
    w1, w2, wz = layer.W.chunk(3)
    y = z = torch.zeros(2, 4, dtype=torch.float64)
    expected = []
    for u in x.unbind(1):
        v1, v2, vz, vy = layer.inputs(u).chunk(4, 1)
        d, e = 0.5 * torch.sigmoid(y @ w1.T + v1), 0.5 * torch.sigmoid(y @ w2.T + v2)
        z = (1 - d) * z + d * torch.tanh(y @ wz.T + vz)
        y = (1 - e) * y + e * torch.tanh(z @ layer.W_y.T + vy)
        expected.append(y)
    torch.testing.assert_close(layer(x)[0], torch.stack(expected, 1), rtol=0, atol=1e-13)


@torch.no_grad()
def test_hgrn_equations(x) -> None:
    layer = build("hgrn", d_model=4, d_hidden=3, lower_bound=0.25).double()
    h, expected = torch.zeros(2, 3, dtype=torch.complex128), []
    for u in x.unbind(1):
        f = 0.25 + 0.75 * torch.sigmoid(layer.forget(u))
        c = torch.complex(*F.silu(layer.write(u)).chunk(2, 1))
        h = f * torch.exp(1j * layer.theta) * h + (1 - f) * c
        parts = layer.norm(torch.cat([h.real, h.imag], 1))
        expected.append(layer.out(torch.sigmoid(layer.gate(u)) * parts))
    with use_backend("portable"):
        torch.testing.assert_close(layer(x)[0], torch.stack(expected, 1), rtol=0, atol=1e-12)


def test_lower_bounds_are_the_shares_of_the_layers_below() -> None:
    assert lower_bounds(torch.zeros(4)).tolist() == [0, 0.25, 0.5, 0.75]
    logits = torch.randn(5, 3, dtype=torch.float64)
    bounds = lower_bounds(logits)
    assert bounds[0].tolist() == [0, 0, 0]
    torch.testing.assert_close(bounds[-1], 1 - torch.softmax(logits, 0)[-1])


@torch.no_grad()
def test_gateloop_equations(x) -> None:
    layer = build("gateloop", d_model=4, d_hidden=3).double()
    h, expected = torch.zeros(2, 3, dtype=torch.complex128), []
    for u in x.unbind(1):
        q, k, v, m, p, g = layer.inputs(u).chunk(6, 1)
        h = torch.sigmoid(m) * torch.exp(1j * p) * h + k * v
        expected.append(layer.out(F.silu(g) * (q * h).real))
    with use_backend("portable"):
        torch.testing.assert_close(layer(x)[0], torch.stack(expected, 1), rtol=0, atol=1e-12)
    amplitude = torch.sigmoid(build("gateloop", d_model=500, r_min=0.5, r_max=0.9).inputs.bias[1500:2000])
    assert 0.5 - 1e-6 <= float(amplitude.min()) < 0.55 < 0.85 < float(amplitude.max()) <= 0.9 + 1e-6


@torch.no_grad()
def test_gateloop_can_count_modulo_two() -> None:
    layer = build("gateloop", d_model=1, d_hidden=2)
    for parameter in layer.parameters():
        parameter.zero_()
    # The state is given as 1; nothing is written, nothing decays, and each 1 turns the state by pi.
    for bias, value in zip(layer.inputs.bias.view(6, 2), (1.0, 0.0, 0.0, 20.0, 0.0, 20.0), strict=True):
        bias.fill_(value)
    layer.inputs.weight.view(6, 2)[4].fill_(math.pi)
    bits = torch.randint(0, 2, (1, 40, 1)).float()
    state = layer.initial_state(1)._replace(h=torch.ones(1, 2, dtype=torch.complex64))
    layer.out.weight.fill_(1 / 40)
    with use_backend("portable"):
        y, _ = layer(bits, state)
    parity = 1 - 2 * (bits.cumsum(1) % 2)
    torch.testing.assert_close(y, parity, rtol=0, atol=1e-3)


@torch.no_grad()
def test_rglru_equations(x) -> None:
    layer = build("rglru", d_model=4, d_recurrent=6, heads=2, taps=3).double()
    gate, u = layer.inputs(x).chunk(2, -1)
    u = F.conv1d(F.pad(u.mT, (2, 0)), layer.conv.weight.T[:, None], layer.conv.bias, groups=6).mT
    blocks = torch.stack([torch.block_diag(*part) for part in layer.gate_weight])
    h, expected = torch.zeros(2, 6, dtype=torch.float64), []
    for t in range(6):
        r, i = (torch.sigmoid(u[:, t] @ blocks[n].T + layer.gate_bias[n]) for n in range(2))
        a = torch.exp(-8 * r * F.softplus(layer.Lambda))
        h = a * h + torch.sqrt(1 - a**2) * (i * u[:, t])
        expected.append(layer.out(F.gelu(gate[:, t]) * h))
    with use_backend("portable"):
        torch.testing.assert_close(layer(x)[0], torch.stack(expected, 1), rtol=0, atol=1e-12)


def test_rglru_decays_start_on_the_ring_and_closed_gates_have_gradients() -> None:
    layer = build("rglru", d_model=2000, r_min=0.5, r_max=0.9, heads=2000, taps=1)
    r = torch.exp(-F.softplus(layer.Lambda.detach()))
    assert 0.5 - 1e-6 <= float(r.min()) < 0.51 < 0.89 < float(r.max()) <= 0.9 + 1e-6
    assert abs(float((r**2).mean()) - (0.25 + 0.81) / 2) < 0.02
    layer = build("rglru", d_model=2)
    with torch.no_grad():
        layer.gate_bias[0] = -200.0  # the recurrence gate is exactly closed: a = 1
    with use_backend("portable"):
        y, _ = layer(torch.randn(1, 5, 2))
    for grad in torch.autograd.grad(y.sum(), list(layer.parameters())):
        assert bool(grad.isfinite().all())
