"""`long_conv` against its sums, scipy and numpy, in both directions and at awkward lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.core.errors import UserError
from statewise.core.ops import explain, long_conv, use_backend
from statewise.core.ops.long_conv.portable import fast_length

CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")
LENGTHS = [(1, 1), (2, 2), (9, 9), (31, 31), (30, 7), (7, 30), (97, 97)]


def draw(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def run(inputs, backend):
    """The output and the gradients of all inputs under one cotangent."""
    with use_backend(backend):
        y = long_conv(*inputs)
        cotangent = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)
        return [y, *torch.autograd.grad(y, inputs, cotangent, materialize_grads=True, allow_unused=True)]


def relative_error(value, exact):
    return float((value.detach().double() - exact.detach()).norm() / exact.detach().norm())


@pytest.mark.parametrize("both", [False, True], ids=["causal", "both-ways"])
@pytest.mark.parametrize(("length", "taps"), LENGTHS)
def test_equals_the_sums(length: int, taps: int, both: bool) -> None:
    inputs = [draw(2, length, 3), draw(3, taps, seed=1)] + ([draw(3, taps, seed=2)] if both else [])
    for value, exact in zip(run(inputs, "portable"), run(inputs, "reference"), strict=True):
        torch.testing.assert_close(value, exact, rtol=0, atol=1e-11)


def test_equals_numpy() -> None:
    x, kernel, after = draw(1, 13, 2), draw(2, 13, seed=1), draw(2, 12, seed=2)
    y = long_conv(x, kernel, after).detach()
    for d in range(2):
        signal, taps, later = (t.detach().numpy() for t in (x[0, :, d], kernel[d], after[d]))
        whole = np.convolve(signal, np.concatenate([later[::-1], taps]))
        np.testing.assert_allclose(y[0, :, d], whole[12 : 12 + 13], atol=1e-12)


@pytest.mark.parametrize("length", [1024, 4099])
def test_float32_keeps_its_digits(length: int) -> None:
    decay = torch.exp(-torch.arange(length, dtype=torch.float64) / (length / 4))
    wide = [draw(2, length, 4), (draw(4, length, seed=1).detach() * decay).requires_grad_()]
    single = [tensor.detach().float().requires_grad_() for tensor in wide]
    exact = run([tensor.detach().double().requires_grad_() for tensor in single], "portable")
    for value, wanted in zip(run(single, "portable"), exact, strict=True):
        assert value.dtype == torch.float32
        assert relative_error(value, wanted) <= 2e-6


def test_gradcheck() -> None:
    inputs = (draw(2, 5, 2), draw(2, 5, seed=1), draw(2, 3, seed=2))
    assert torch.autograd.gradcheck(long_conv, inputs)
    with use_backend("reference"):
        assert torch.autograd.gradcheck(long_conv, inputs)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_gradients_that_are_not_wanted_are_not_given(wanted) -> None:
    inputs = [draw(1, 6, 2), draw(2, 6, seed=1), draw(2, 5, seed=2)]
    full = run(inputs, "portable")
    some = [tensor.detach().requires_grad_(i in wanted) for i, tensor in enumerate(inputs)]
    y = long_conv(*some)
    cotangent = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)
    gradients = torch.autograd.grad(y, [some[i] for i in wanted], cotangent)
    for i, gradient in zip(wanted, gradients, strict=True):
        torch.testing.assert_close(gradient, full[i + 1])


@given(st.integers(1, 100_000))
@settings(max_examples=200, deadline=None)
def test_fast_length_is_the_next_smooth_number(least: int) -> None:
    scipy_fft = pytest.importorskip("scipy.fft")
    assert fast_length(least) == scipy_fft.next_fast_len(least, real=True)


def test_same_bits_for_any_number_of_threads() -> None:
    inputs = [draw(3, 500, 32, dtype=torch.float32), draw(32, 500, dtype=torch.float32, seed=1)]
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append(run(inputs, "portable"))
        finally:
            torch.set_num_threads(1)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_compiled_graph_gives_the_eager_result() -> None:
    inputs = (draw(2, 6, 2), draw(2, 6, seed=1))
    compiled = torch.compile(lambda *tensors: long_conv(*tensors).sin(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), long_conv(*inputs).sin())
    empty = torch.empty(2, 0, dtype=torch.float64)
    torch.library.opcheck(torch.ops.statewise.long_conv, (*inputs, empty, "portable"), test_utils=CHECKS)


def test_half_precision_is_computed_in_float32() -> None:
    x, kernel = draw(1, 8, 2, dtype=torch.bfloat16), draw(2, 8, dtype=torch.bfloat16, seed=1)
    y = long_conv(x, kernel)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, long_conv(x.float(), kernel.float()))


def test_plain_torch_is_no_fallback() -> None:
    assert explain("long_conv") == {
        "backend": "portable",
        "reason": "plain torch is the fastest known on a CPU",
    }


def test_errors_name_the_argument() -> None:
    x, kernel = draw(2, 5, 3), draw(3, 5)
    with pytest.raises(UserError, match="'x' has the wrong shape"):
        long_conv(x[0], kernel)
    with pytest.raises(UserError, match="'kernel' has the wrong shape"):
        long_conv(x, kernel.T)
    with pytest.raises(UserError, match="'anticausal' has the wrong shape"):
        long_conv(x, kernel, kernel[:2])
    with pytest.raises(UserError, match="complex"):
        long_conv(x, torch.complex(kernel, kernel))
