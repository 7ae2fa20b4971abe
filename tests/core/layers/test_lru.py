"""LRU against the equations in numpy, and its initialisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from statewise.core.layers.lru import LRU, LRUConfig


def test_equations() -> None:
    layer = LRU(LRUConfig(d_model=3, d_state=5)).double()
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    lam = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    b, c = p["B"][:, 0] + 1j * p["B"][:, 1], p["C"][..., 0] + 1j * p["C"][..., 1]
    h, expected = np.zeros(5, complex), []
    for u in x[0].numpy():
        h = lam * h + np.exp(p["log_gamma"]) * (b @ u)
        expected.append((c @ h).real + p["D"] * u)
    y, state = layer(x)
    np.testing.assert_allclose(y[0].detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(state.h[0].detach().numpy(), h, atol=1e-12)


@pytest.mark.parametrize("stability", ["exp", "softplus", "inverse-square"])
def test_eigenvalues_start_on_the_ring(stability) -> None:
    config = LRUConfig(d_model=2, d_state=4000, r_min=0.5, r_max=0.9, max_phase=0.3, stability=stability)
    lam = LRU(config).double().eigenvalues().detach()
    r, phase = lam.abs(), lam.angle()
    assert 0.5 <= float(r.min()) < 0.51
    assert 0.89 < float(r.max()) <= 0.9 + 1e-6
    assert abs(float((r**2).mean()) - (0.25 + 0.81) / 2) < 0.01, "the square of the radius is uniform"
    assert float(phase.min()) > 0
    assert 0.29 < float(phase.max()) <= 0.3 + 1e-6


def test_gamma_gives_states_of_unit_variance() -> None:
    layer = LRU(LRUConfig(d_model=16, d_state=200, r_min=0.9, r_max=0.95))
    with torch.no_grad():
        _, state = layer(torch.randn(64, 200, 16))
    assert 0.9 < float((state.h.abs() ** 2).mean()) < 1.1
