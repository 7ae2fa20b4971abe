"""S4D, S4 and LSSL over many chunks against steps and kernels, and against scipy's dense systems."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete

from statewise.core.errors import ConfigError
from statewise.core.layers import build
from statewise.core.layers.s4d import spectrum
from statewise.core.layers.s5 import hippo_spectrum
from statewise.core.ops import long_conv
from tests.contracts.layer_cases import close, differentiable, fold, gradients

CASES = {
    "s4d": {"d_state": 6},
    "s4d/bilinear": {"d_state": 6, "init": "lin", "discretisation": "bilinear"},
    "s4d/real": {"d_state": 3, "init": "real"},
    "s4": {"d_state": 6},
    "lssl": {"d_state": 5},
}
each = pytest.mark.parametrize("case", CASES)


def make(case: str, dtype=torch.float64, d_model: int = 3, **more):
    torch.manual_seed(0)
    return build(case.partition("/")[0], d_model=d_model, **{**CASES[case], **more}).to(dtype)


def inputs(layer, rows: int, length: int, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, length, layer.config.d_model, generator=generator, dtype=torch.float64).to(dtype)
    with torch.no_grad():
        state = layer(x[:, :5])[1]
    return x, state


@each
@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 101])
def test_many_chunks_are_a_fold_of_steps(case: str, length: int) -> None:
    layer = make(case)
    x, state = inputs(layer, 2, length)
    reset = torch.rand(2, length, generator=torch.Generator().manual_seed(2)) < 0.05
    for marks in (None, reset, torch.ones_like(reset)):
        close(layer(x, state, marks), fold(layer, x, state, marks), torch.float64)


@each
@pytest.mark.parametrize("marked", [False, True], ids=["plain", "with-resets"])
def test_rows_end_in_any_chunk(case: str, marked: bool) -> None:
    layer = make(case)
    lengths = torch.tensor([0, 1, 31, 32, 33, 63, 64, 65, 70])
    x, state = inputs(layer, len(lengths), 70)
    reset = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(3)) < 0.03 if marked else None
    y, end = layer(x, state, reset, lengths)
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        if length:
            alone = type(state)(state.h[one])
            marks = None if reset is None else reset[one, :length]
            close((y[one, :length], end.h[one]), fold(layer, x[one, :length], alone, marks), torch.float64)
        else:
            assert torch.equal(end.h[one], state.h[one])


@each
def test_gradients_of_many_chunks(case: str) -> None:
    layer = make(case)
    x, state = inputs(layer, 2, 70)
    state, reset = differentiable(state), torch.zeros(2, 70, dtype=torch.bool)
    reset[0, [40, 64]] = True
    wrt = [x.requires_grad_(), state.h, *layer.parameters()]
    whole = gradients(layer(x, state, reset), wrt)
    steps = gradients(fold(layer, x, state, reset), wrt)
    close(tuple(whole), tuple(steps), torch.float64, loose=10)


@each
def test_equals_the_convolution_with_its_kernel(case: str) -> None:
    layer = make(case)
    x, _ = inputs(layer, 2, 150)
    y, _ = layer(x)
    close(y, long_conv(x, layer.kernel(150)) + layer.D * x, torch.float64)


@each
def test_float32_over_a_long_sequence(case: str) -> None:
    layer = make(case, torch.float32, d_state=64)
    x, _ = inputs(layer, 1, 3000, torch.float32)
    with torch.no_grad():
        y, end = layer(x)
    wide = make(case, torch.float64, d_state=64)
    wide.load_state_dict(layer.state_dict())
    with torch.no_grad():
        exact, exact_end = wide(x.double())
    for value, wanted in ((y, exact), (end.h, exact_end.h)):
        error = (value - wanted).abs().square().mean() / wanted.abs().square().mean()
        assert float(error.sqrt()) <= 2e-6


def test_spectra_are_those_of_the_paper() -> None:
    size = 64
    n = torch.arange(32, dtype=torch.float64)
    torch.testing.assert_close(spectrum("lin", size).imag, torch.pi * n)
    inverse = spectrum("inv", size).imag
    # The last frequency of the half is positive: N is the size of the real state, not the number of pairs.
    assert float(inverse[0]) == pytest.approx(1283.4, abs=0.1)
    assert float(inverse.min()) > 0
    legs = spectrum("legs", size)
    assert float(legs.imag.max()) == pytest.approx(1303.3, abs=0.1)
    for init in ("lin", "inv", "legs"):
        assert bool((spectrum(init, size).real == -0.5).all())
    torch.testing.assert_close(spectrum("real", 3), torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64))


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
def test_s4d_equals_a_dense_system_of_scipy(rule) -> None:
    layer = make("s4d", d_model=1, discretisation=rule)
    C = torch.view_as_complex(layer.C.detach())[0].numpy()
    values = layer.continuous(torch.float64)[1][0].detach().numpy()
    dt = layer.log_dt.detach().exp().item()
    ad, bd, *_ = cont2discrete((np.diag(values), np.ones((3, 1)), C[None], [[0.0]]), dt, method=rule)
    x, _ = inputs(layer, 1, 40)
    h, expected = np.zeros(3, complex), []
    for u in x[0, :, 0].numpy():
        h = ad @ h + bd[:, 0] * u
        expected.append(2 * (C @ h).real + layer.D.item() * u)
    np.testing.assert_allclose(layer(x)[0][0, :, 0].detach(), expected, atol=1e-12)


@pytest.mark.parametrize("stability", ["exp", "softplus", "inverse-square"])
def test_every_stable_map_starts_at_the_same_eigenvalues(stability) -> None:
    layer = make("s4d", stability=stability)
    _, A, _ = layer.continuous(torch.float64)
    torch.testing.assert_close(
        A.real.detach(), torch.full((3, 3), -0.5, dtype=torch.float64), atol=1e-7, rtol=0
    )


def test_unreachable_eigenvalues_are_refused() -> None:
    with pytest.raises(ConfigError, match="stability"):
        build("s4d", d_model=2, init="real", stability="inverse-square")
    with pytest.raises(ConfigError, match="multiple of 2"):
        build("s4d", d_model=2, d_state=5)


def legs(size: int) -> tuple[np.ndarray, np.ndarray]:
    """HiPPO-LegS from its definition."""
    n = np.arange(size)
    return np.tril(-np.sqrt(np.outer(2 * n + 1, 2 * n + 1)), -1) - np.diag(n + 1.0), np.sqrt(2 * n + 1)


@pytest.mark.parametrize("name", ["s4", "lssl"])
def test_equals_hippo_legs_discretised_by_scipy(name: str) -> None:
    layer = make(name, d_model=2, d_state=8)
    a, b = legs(8)
    C = layer.C.detach()
    if name == "s4":
        basis = hippo_spectrum(8)[1][:, :4]
        C = torch.from_numpy((2 * torch.view_as_complex(C).numpy() @ basis.conj().T).real)
    x, _ = inputs(layer, 1, 40)
    for d in range(2):
        dt = layer.log_dt[d].detach().exp().item()
        ad, bd, *_ = cont2discrete((a, b[:, None], C[d : d + 1].numpy(), [[0.0]]), dt, method="bilinear")
        h, expected = np.zeros(8), []
        for u in x[0, :, d].numpy():
            h = ad @ h + bd[:, 0] * u
            expected.append(C[d].numpy() @ h + layer.D[d].item() * u)
        np.testing.assert_allclose(layer(x)[0][0, :, d].detach(), expected, atol=1e-5)
