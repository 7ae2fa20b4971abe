"""`s4d_kernel`, `s4_kernel` and `krylov_kernel`: against their loops, scipy and the paper's algorithm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete, dlsim

from statewise.core.errors import UserError
from statewise.core.ops import explain, krylov_kernel, s4_kernel, s4d_kernel, use_backend

CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")
LENGTHS = [1, 2, 3, 31, 64, 97]
RULES = ["zoh", "bilinear"]


def diagonal(features=3, states=4, dtype=torch.float64, real=False):
    """dt, A and C of a diagonal system."""
    generator = torch.Generator().manual_seed(0)
    shape, kind = (features, states), torch.float64 if real else torch.complex128
    n = torch.arange(states, dtype=torch.float64)
    dt = torch.logspace(-3, -1, features, dtype=torch.float64)
    A = -(n + 1) if real else torch.complex(torch.full_like(n, -0.5), torch.pi * n)
    C = torch.randn(shape, generator=generator, dtype=kind)
    narrow = dtype if real else torch.promote_types(dtype, torch.complex64)
    A = A.expand(shape).to(narrow).clone()
    return dt.to(dtype).requires_grad_(), A.requires_grad_(), C.to(narrow).requires_grad_()


def run(op, inputs, length, backend, *, allow_unused=False, **options):
    with use_backend(backend):
        kernel = op(*inputs, length, **options)
        cotangent = torch.cos(torch.arange(kernel.numel(), dtype=kernel.dtype)).view(kernel.shape)
        gradients = torch.autograd.grad(
            kernel, inputs, cotangent, allow_unused=allow_unused, materialize_grads=allow_unused
        )
        return [kernel, *gradients]


def relative_error(value, exact):
    wide = value.detach().to(exact.dtype)
    return float((wide - exact.detach()).norm() / exact.detach().norm())


@pytest.mark.parametrize("real", [False, True], ids=["complex", "real"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("length", LENGTHS)
def test_s4d_equals_the_loop(length: int, rule, real: bool) -> None:
    inputs = diagonal(real=real)
    exact = run(s4d_kernel, inputs, length, "reference", discretisation=rule)
    for value, wanted in zip(
        run(s4d_kernel, inputs, length, "portable", discretisation=rule), exact, strict=True
    ):
        torch.testing.assert_close(value, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_s4d_equals_the_dense_system_of_scipy(rule) -> None:
    dt, A, C = (tensor.detach() for tensor in diagonal(features=2))
    kernel = s4d_kernel(dt, A, C, 20, discretisation=rule)
    for d in range(2):
        a, b, c = np.diag(A[d].numpy()), np.ones((4, 1)), 2 * C[d : d + 1].numpy()
        ad, bd, *_ = cont2discrete((a, b, c, np.zeros((1, 1))), float(dt[d]), method=rule)
        # scipy's bilinear rule also changes C and D; the recurrence alone is compared, with C as it is.
        powers = [(c @ np.linalg.matrix_power(ad, l) @ bd).real.item() for l in range(20)]
        np.testing.assert_allclose(kernel[d], powers, atol=1e-12)


def test_s4d_real_equals_a_simulation() -> None:
    dt, A, C = (tensor.detach() for tensor in diagonal(features=1, real=True))
    a, b, c = np.diag(A[0].numpy()), np.ones((4, 1)), C.numpy()
    system = cont2discrete((a, b, c, np.zeros((1, 1))), float(dt[0]), method="zoh")
    impulse = np.zeros((21, 1))
    impulse[0] = 1
    _, y, _ = dlsim(system, impulse)
    # The output of dlsim lags one step: it reads the state before the input.
    np.testing.assert_allclose(s4d_kernel(dt, A, C, 20)[0], y[1:, 0], atol=1e-13)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("length", [1024, 5000])
def test_s4d_in_float32(length: int, rule) -> None:
    """The highest frequency of S4D-Inv turns thousands of times; the digits of the phase are kept."""
    dt, _, C = diagonal(features=4, states=32, dtype=torch.float32)
    n = torch.arange(32)
    A = torch.complex(torch.full((32,), -0.5), 64 / torch.pi * (64 / (2 * n + 1) - 1))
    single = (dt, A.expand(4, 32).clone().requires_grad_(), C)
    wide = tuple(
        t.detach().to(torch.complex128 if t.is_complex() else torch.float64).requires_grad_() for t in single
    )
    exact = run(s4d_kernel, wide, length, "reference", discretisation=rule)
    errors = [
        relative_error(value, wanted)
        for value, wanted in zip(
            run(s4d_kernel, single, length, "portable", discretisation=rule), exact, strict=True
        )
    ]
    assert errors[0] <= 2e-7
    # The gradient of dt is a sum over frequencies that cancels: a rounded cotangent alone moves it by 1e-6.
    assert max(errors) <= 1e-5


@pytest.mark.parametrize("real", [False, True], ids=["complex", "real"])
@pytest.mark.parametrize("rule", RULES)
def test_s4d_gradcheck(rule, real: bool) -> None:
    inputs = diagonal(features=2, states=2, real=real)
    assert torch.autograd.gradcheck(lambda *t: s4d_kernel(*t, 7, discretisation=rule), inputs)


def test_s4d_with_a_decay_of_zero() -> None:
    """Bilinear with A dt = -2: the state forgets at once, and the gradient stays finite and right."""
    dt = torch.tensor([0.5], dtype=torch.float64)
    A = torch.tensor([[-4.0]], dtype=torch.float64, requires_grad=True)
    C = torch.ones(1, 1, dtype=torch.float64)
    results = []
    for backend in ("reference", "portable"):
        with use_backend(backend):
            kernel = s4d_kernel(dt, A, C, 5, discretisation="bilinear")
            results.append((kernel, *torch.autograd.grad(kernel.sum(), A)))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(
        results[1][0][0].detach(), torch.tensor([0.25, 0, 0, 0, 0], dtype=torch.float64)
    )


def test_s4d_shared_state_matrix() -> None:
    dt, A, C = diagonal()
    torch.testing.assert_close(s4d_kernel(dt, A[0], C, 9), s4d_kernel(dt, A, C, 9))


def test_s4d_same_bits_for_any_number_of_threads() -> None:
    inputs = diagonal(features=64, states=16, dtype=torch.float32)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append(run(s4d_kernel, inputs, 1000, "portable"))
        finally:
            torch.set_num_threads(1)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_s4d_compiled_graph_gives_the_eager_result() -> None:
    inputs = diagonal()
    compiled = torch.compile(lambda *t: s4d_kernel(*t, 9).sin(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), s4d_kernel(*inputs, 9).sin())
    a, w = ((tensor.detach() / 20).requires_grad_() for tensor in inputs[1:])
    torch.library.opcheck(torch.ops.statewise.s4d_kernel, (a, w, 9, True, "portable"), test_utils=CHECKS)


def test_plain_torch_is_no_fallback() -> None:
    assert explain("s4d_kernel")["reason"] == "plain torch is the fastest known on a CPU"


def test_s4d_errors_name_the_argument() -> None:
    dt, A, C = diagonal()
    with pytest.raises(UserError, match="'A' has the wrong shape"):
        s4d_kernel(dt, A[:, :2], C, 5)
    with pytest.raises(UserError, match="'dt' has the wrong shape"):
        s4d_kernel(dt[:2], A, C, 5)
    with pytest.raises(UserError, match="'C' does not fit A"):
        s4d_kernel(dt, A.real, C, 5)
    with pytest.raises(UserError, match="'length' is too small"):
        s4d_kernel(dt, A, C, 0)


def structured(features=2, states=3, dtype=torch.float64):
    """dt, Lambda, P, B and C of a diagonal plus rank-one system."""
    dt, A, C = diagonal(features, states, dtype)
    generator = torch.Generator().manual_seed(1)
    P, B = torch.randn(2, features, states, generator=generator, dtype=torch.complex128).to(C.dtype)
    return dt, A, P.requires_grad_(), B.requires_grad_(), C


def dense(features=2, states=4, dtype=torch.float64):
    """A discrete system with a dense, stable matrix."""
    generator = torch.Generator().manual_seed(1)
    A = torch.linalg.qr(torch.randn(features, states, states, generator=generator, dtype=torch.float64))[0]
    B, C = torch.randn(2, features, states, generator=generator, dtype=torch.float64)
    return tuple(tensor.to(dtype).clone().requires_grad_() for tensor in (0.99 * A, B, C))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("op", "system"), [(s4_kernel, structured), (krylov_kernel, dense)])
def test_dense_kernels_equal_the_loop(op, system, length: int) -> None:
    inputs = system()
    exact = run(op, inputs, length, "reference", allow_unused=True)
    for value, wanted in zip(run(op, inputs, length, "portable", allow_unused=True), exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("length", [16, 33])
def test_s4_equals_the_cauchy_product_at_the_roots_of_unity(length: int) -> None:
    """The paper's algorithm: the generating function for C (I - a^L) by Woodbury, transformed back."""
    dt, A, P, B, C = (tensor.detach().numpy() for tensor in structured())
    kernel = s4_kernel(*(tensor.detach() for tensor in structured()), length)
    for d in range(2):
        values, p, b, c = (np.concatenate([v[d], v[d].conj()]) for v in (A, P, B, C))
        a = np.diag(values) - np.outer(p, p.conj())
        discrete = np.linalg.solve(2 / dt[d] * np.eye(6) - a, 2 / dt[d] * np.eye(6) + a)
        # On a circle of radius r, off z = -1 where the bilinear map has its pole: the kernel times r^l.
        r = 0.9
        c = c @ (np.eye(6) - np.linalg.matrix_power(r * discrete, length))
        z = r * np.exp(-2j * np.pi * np.arange(length) / length)
        node = 2 / dt[d] * (1 - z) / (1 + z)

        def cauchy(v, w, node=node, values=values):
            return (v * w / (node[:, None] - values)).sum(1)

        inner = cauchy(c, p) * cauchy(p.conj(), b) / (1 + cauchy(p.conj(), p))
        spectrum = 2 / (1 + z) * (cauchy(c, b) - inner)
        expected = np.fft.ifft(spectrum).real / r ** np.arange(length)
        np.testing.assert_allclose(kernel[d], expected, atol=1e-11)


def test_dense_kernels_in_float32() -> None:
    single = structured(4, 32, torch.float32)
    wide = [t.detach().to(torch.complex128 if t.is_complex() else torch.float64) for t in single]
    with use_backend("reference"):
        exact = s4_kernel(*wide, 1000)
    assert relative_error(s4_kernel(*single, 1000), exact) <= 2e-7


def test_dense_kernels_gradcheck() -> None:
    assert torch.autograd.gradcheck(lambda *t: s4_kernel(*t, 7), structured())
    assert torch.autograd.gradcheck(lambda *t: krylov_kernel(*t, 7), dense())


def test_dense_kernels_name_the_argument() -> None:
    dt, A, P, B, C = structured()
    with pytest.raises(UserError, match="'P' has the wrong shape"):
        s4_kernel(dt, A, P[:, :2], B, C, 5)
    with pytest.raises(UserError, match="'B' is real"):
        s4_kernel(dt, A, P, B.real, C, 5)
    with pytest.raises(UserError, match="'dt' has the wrong shape"):
        s4_kernel(dt[:1], A, P, B, C, 5)
    with pytest.raises(UserError, match="'C' has the wrong shape"):
        krylov_kernel(*dense()[:2], C.real[:, :2], 5)
