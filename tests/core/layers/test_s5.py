"""S5 against the dense system that it diagonalises, discretised by scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag
from scipy.signal import cont2discrete

from statewise.core.layers.s5 import S5, BidirectionalS5, S5Config, hippo_normal, hippo_spectrum

BLOCK = 6


def hippo_legs(size: int) -> np.ndarray:
    """HiPPO-LegS from its definition."""
    n = np.arange(size)
    a = -np.sqrt(np.outer(2 * n + 1, 2 * n + 1))
    return np.tril(a, -1) - np.diag(n + 1.0)


def complex_of(parameter: torch.Tensor, axis: int) -> np.ndarray:
    real, imaginary = parameter.detach().double().unbind(axis)
    return real.numpy() + 1j * imaginary.numpy()


def test_hippo_normal_is_legs_plus_a_rank_one_correction() -> None:
    p = np.sqrt(np.arange(8) + 0.5)
    np.testing.assert_allclose(hippo_normal(8), hippo_legs(8) + np.outer(p, p), atol=1e-12)
    values, vectors = hippo_spectrum(8)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.conj().T, hippo_normal(8), atol=1e-12)
    assert (values[:4].imag < 0).all()
    np.testing.assert_allclose(values[:4], values[4:][::-1].conj(), atol=1e-12)
    # The largest frequency of the published initialisation at N = 64.
    assert hippo_spectrum(64)[0].imag.max() == pytest.approx(1303.3, abs=0.1)


@pytest.mark.parametrize("discretisation", ["zoh", "bilinear"])
@pytest.mark.parametrize("conj_sym", [True, False])
@pytest.mark.parametrize("blocks", [1, 2])
def test_equals_the_dense_system(discretisation, conj_sym: bool, blocks: int) -> None:
    dt, d = 0.05, 2
    config = S5Config(d_model=d, d_state=blocks * BLOCK, blocks=blocks, discretisation=discretisation,
                      conj_sym=conj_sym, dt_min=dt, dt_max=dt)  # fmt: skip
    layer = S5(config).double()
    # Back from the basis of the eigenvectors to that of HiPPO-N, where everything is real but C'.
    kept = BLOCK // 2 if conj_sym else BLOCK
    basis = block_diag(*[hippo_spectrum(BLOCK)[1][:, :kept]] * blocks)
    twice = 2.0 if conj_sym else 1.0
    b = twice * (basis @ complex_of(layer.B, 1)).real if conj_sym else basis @ complex_of(layer.B, 1)
    c = complex_of(layer.C, 2) @ basis.conj().T
    c = twice * c.real if conj_sym else c
    a = block_diag(*[hippo_normal(BLOCK)] * blocks)
    # For the bilinear rule scipy changes C and D too, S5 keeps them: only the recurrence is taken.
    ad, bd, *_ = cont2discrete((a, b, c, np.zeros((d, d))), dt, method=discretisation)
    x = torch.randn(1, 9, d, dtype=torch.float64)
    h, expected = np.zeros(len(a), bd.dtype), []
    for u in x[0].numpy():
        h = ad @ h + bd @ u
        expected.append((c @ h).real + layer.D.detach().numpy() * u)
    np.testing.assert_allclose(layer(x)[0][0].detach().numpy(), expected, atol=1e-5)


def test_steps_are_log_uniform() -> None:
    layer = S5(S5Config(d_model=2, d_state=4000, blocks=1000, dt_min=1e-3, dt_max=1e-1))
    dt = layer.log_dt.detach().exp()
    assert 1e-3 - 1e-9 <= float(dt.min()) < 1.05e-3
    assert 0.95e-1 < float(dt.max()) <= 1e-1 + 1e-9
    assert float(dt.log().mean()) == pytest.approx(np.log(1e-2), abs=0.1)


def test_clip_keeps_the_system_stable() -> None:
    for clip, stable in ((True, True), (False, False)):
        layer = S5(S5Config(d_model=2, d_state=4, clip=clip))
        with torch.no_grad():
            layer.Lambda[:, 0] = 0.5
        assert bool((layer.discretise()[0].abs() < 1).all()) == stable


def test_slow_states_keep_their_digits() -> None:
    layer = S5(S5Config(d_model=2, d_state=4, dt_min=1e-6, dt_max=1e-6))
    with torch.no_grad():
        layer.Lambda[:] = torch.tensor([-1e-4, 0.0])
    _, factor = layer.discretise()
    torch.testing.assert_close(factor.real.detach(), torch.full((2,), 1e-6), rtol=1e-5, atol=0)


def test_both_ways_is_one_system_run_twice() -> None:
    layer = BidirectionalS5(S5Config(d_model=3, d_state=6)).double()
    one = S5(layer.config).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    parts = []
    for half in layer.C.detach().chunk(2, dim=1):
        one.load_state_dict({**layer.state_dict(), "C": half, "D": torch.zeros(3)})
        parts.append(half)
        x_way = x if len(parts) == 1 else x.flip(1)
        y = one(x_way)[0]
        parts[-1] = y if len(parts) == 1 else y.flip(1)
    torch.testing.assert_close(layer(x)[0], parts[0] + parts[1] + layer.D * x)
