"""`linear_scan`: backends, gradients and edges against the loop, the loop against other people's filters."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from torch import Tensor

from statewise.core.errors import UserError
from statewise.core.ops import linear_scan, use_backend
from statewise.core.ops.linear_scan import portable

BACKENDS = ["portable", "cpu"]
SHAPES = [(2, 7, 3), (1, 1, 1), (2, 5, 2, 2), (3, 4), (1, 33, 70), (2, 3, 517)]
SHARED = {
    "full": lambda shape: shape,
    "channels": lambda shape: shape[2:],
    "row": lambda shape: (1, 1, *shape[2:]),
    "time": lambda shape: (*shape[:2], *[1] * (len(shape) - 2)),
    "batch": lambda shape: (shape[0], 1, *shape[2:]),
    "scalar": lambda shape: (),
}
real, paired = torch.float64, torch.complex128


def draw(*shape: int, dtype: torch.dtype = real, seed: int = 0) -> Tensor:
    make = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, 2, generator=make, dtype=real)
    values = torch.view_as_complex(values) if dtype.is_complex else values[..., 0]
    return values.to(dtype).requires_grad_()


def results(inputs, backend, **settings) -> list[Tensor]:
    """Both outputs, and the gradients of every input under fixed cotangents."""
    with use_backend(backend):
        outputs = linear_scan(*inputs, **settings)
        cotangents = [draw(*out.shape, dtype=out.dtype, seed=9).detach() for out in outputs]
        wanted = [item for item in inputs if item is not None]
        return [*outputs, *torch.autograd.grad(outputs, wanted, cotangents)]


def relative_error(value: Tensor, exact: Tensor) -> float:
    return float((value - exact).detach().norm() / exact.detach().norm().clamp_min(1e-300))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "kinds", [(real, real), (paired, paired), (real, paired)], ids=["real", "complex", "mixed"]
)
@pytest.mark.parametrize("shared", SHARED)
def test_values_and_gradients_equal_the_loop(shared, kinds, backend):
    for shape in SHAPES:
        a, b = draw(*SHARED[shared](shape), dtype=kinds[0]), draw(*shape, dtype=kinds[1], seed=1)
        h0 = draw(shape[0], *shape[2:], dtype=kinds[1], seed=2)
        reset = torch.rand(shape[:2], generator=torch.Generator().manual_seed(3)) < 0.4
        for start in (None, h0):
            for mask in (None, reset):
                for reverse in (False, True):
                    exact = results((a, b, start), "reference", reset=mask, reverse=reverse)
                    found = results((a, b, start), backend, reset=mask, reverse=reverse)
                    for value, wanted in zip(found, exact, strict=True):
                        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("dtype", [real, paired])
@pytest.mark.parametrize("reset", [None, [0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 1]])
def test_gradients_equal_finite_differences(reset, dtype, backend):
    inputs = draw(2, 5, 3, dtype=dtype), draw(2, 5, 3, dtype=dtype, seed=1), draw(2, 3, dtype=dtype, seed=2)
    mask = None if reset is None else torch.tensor(reset, dtype=torch.bool).expand(2, 5)
    for reverse in (False, True):
        with use_backend(backend):
            assert torch.autograd.gradcheck(
                lambda *args, reverse=reverse: linear_scan(*args, reset=mask, reverse=reverse), inputs
            )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shared", ["full", "channels", "time"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_single_precision_is_as_exact_as_the_loop(dtype, shared, backend):
    shape = (2, 1000, 24)
    a = (draw(*SHARED[shared](shape), dtype=dtype).detach().sigmoid()).requires_grad_()
    b, h0 = draw(*shape, dtype=dtype, seed=1), draw(2, 24, dtype=dtype, seed=2)
    double = [item.detach().to(paired if dtype.is_complex else real).requires_grad_() for item in (a, b, h0)]
    exact = results(double, "reference")
    loop = results((a, b, h0), "reference")
    for value, single, wanted in zip(results((a, b, h0), backend), loop, exact, strict=True):
        assert relative_error(value, wanted) <= max(2e-6, 3 * relative_error(single, wanted))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("log_decay", [0.0, -1e-4, -5.0, -50.0])
def test_long_sequences_stay_finite_and_equal_the_closed_form(log_decay, backend):
    length = 20_000
    a = torch.full((4,), log_decay).exp()
    with use_backend(backend):
        last = linear_scan(a, torch.ones(1, length, 4))[1]
    decay = float(a[0])
    exact = length if decay == 1 else (1 - decay**length) / (1 - decay)
    assert last.double().sub(exact).abs().max() <= 2e-5 * exact


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_nothing_crosses_a_reset_not_even_infinity(backend):
    a, b = draw(1, 4, 40), draw(1, 4, 40, seed=1)
    spoilt = b.detach().clone()
    spoilt[0, 1] = float("inf")
    reset = torch.tensor([[False, False, True, False]])
    with use_backend(backend):
        h, last = linear_scan(a, spoilt, torch.full((1, 40), float("nan"), dtype=real), reset=reset)
        clean, wanted = linear_scan(a[:, 2:], b[:, 2:])
        da = torch.autograd.grad(last.sum(), a)[0]
    torch.testing.assert_close(h[:, 2:], clean)
    torch.testing.assert_close(last, wanted)
    assert not da[:, 2].any()
    assert da[:, 3].isfinite().all()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_a_reset_everywhere_returns_the_writes(backend):
    a, b = draw(2, 5, 35), draw(2, 5, 35, seed=1)
    everywhere = torch.ones(2, 5, dtype=torch.bool)
    for reverse, final in ((False, -1), (True, 0)):
        h, last, da = results((a, b, None), backend, reset=everywhere, reverse=reverse)[:3]
        if not reverse:
            torch.testing.assert_close(h, b)
            torch.testing.assert_close(last, b[:, final])
            assert not da.any()
        else:
            torch.testing.assert_close(h[:, :-1], b[:, :-1])


@st.composite
def episodes(draw_from):
    """A length, where episodes start, where the sequence is split, a width and a direction."""
    length = draw_from(st.integers(1, 24))
    starts = draw_from(st.lists(st.integers(0, length - 1), unique=True, max_size=5))
    return length, sorted(starts), draw_from(st.integers(0, length)), draw_from(st.sampled_from([1, 5, 33]))


@settings(max_examples=30, deadline=None)
@given(episodes(), st.sampled_from(["reference", *BACKENDS]))
def test_episodes_are_separate_and_splitting_changes_nothing(episode, backend):
    length, starts, split, width = episode
    a, b = draw(2, length, width).detach(), draw(2, length, width, seed=1).detach()
    h0 = draw(2, width, seed=2).detach()
    reset = torch.zeros(2, length, dtype=torch.bool)
    reset[:, starts] = True
    with use_backend(backend):
        h, last = linear_scan(a, b, h0, reset=reset)
        bounds = [0, *(start for start in starts if start > 0), length]
        parts = [
            linear_scan(a[:, lo:hi], b[:, lo:hi], None if lo in starts else h0)[0]
            for lo, hi in pairwise(bounds)
        ]
        torch.testing.assert_close(h, torch.cat(parts, 1), rtol=1e-12, atol=1e-12)
        first, middle = linear_scan(a[:, :split], b[:, :split], h0, reset=reset[:, :split])
        second, end = linear_scan(a[:, split:], b[:, split:], middle, reset=reset[:, split:])
        torch.testing.assert_close(h, torch.cat([first, second], 1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(last, end, rtol=1e-12, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(episodes(), st.sampled_from(["reference", *BACKENDS]))
def test_backwards_is_each_episode_flipped(episode, backend):
    length, starts, _, width = episode
    a, b = draw(1, length, width).detach(), draw(1, length, width, seed=1).detach()
    reset = torch.zeros(1, length, dtype=torch.bool)
    reset[:, starts] = True
    bounds = [0, *(start for start in starts if start > 0), length]
    with use_backend(backend):
        h, last = linear_scan(a, b, reset=reset, reverse=True)
        parts = [
            linear_scan(a[:, lo:hi].flip(1), b[:, lo:hi].flip(1))[0].flip(1) for lo, hi in pairwise(bounds)
        ]
    torch.testing.assert_close(h, torch.cat(parts, 1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, h[:, 0], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [real, paired])
def test_the_loop_is_scipys_filter(dtype):
    a, b = draw(dtype=dtype).detach() * 0.3, draw(1, 50, dtype=dtype, seed=1).detach()
    with use_backend("reference"):
        h = linear_scan(a, b)[0]
    np.testing.assert_allclose(h[0].numpy(), signal.lfilter([1], [1, -a.item()], b[0].numpy()), atol=1e-12)


def test_a_constant_transition_is_torchaudios_filter_with_its_gradient():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchaudio.functional import lfilter
    a, b = (draw(3).detach() * 0.4).requires_grad_(), draw(1, 30, 3, seed=1)
    h = linear_scan(a, b)[0]
    ones = torch.ones_like(a)
    theirs = lfilter(
        b[0].T, torch.stack([ones, -a], 1), torch.stack([ones, 0 * ones], 1), clamp=False, batching=True
    )
    torch.testing.assert_close(h[0].T, theirs)
    weights = draw(3, 30, seed=2).detach()
    ours = torch.autograd.grad((h[0].T * weights).sum(), (a, b))
    for mine, other in zip(ours, torch.autograd.grad((theirs * weights).sum(), (a, b)), strict=True):
        torch.testing.assert_close(mine, other)


def test_log_gates_are_flas_naive_hgrn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fla.ops.hgrn.naive import naive_recurrent_hgrn
    x, gate, h0 = (
        draw(*shape, seed=seed).detach().float() for seed, shape in enumerate([(2, 9, 5)] * 2 + [(2, 5)])
    )
    gate = torch.nn.functional.logsigmoid(gate)
    theirs, their_last = naive_recurrent_hgrn(x, gate, initial_state=h0, output_final_state=True)
    h, last = linear_scan(gate.exp(), x, h0)
    torch.testing.assert_close(h, theirs)
    torch.testing.assert_close(last, their_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("shape", [(4, 200, 512), (1, 3000, 700), (5, 300, 96)])
@pytest.mark.parametrize("shared", ["full", "channels"])
def test_the_number_of_threads_changes_no_bit(shared, shape, dtype):
    """Large enough for several threads, for several tiles of a row and for stores past the caches."""
    a, b = draw(*SHARED[shared](shape), dtype=dtype), draw(*shape, dtype=dtype, seed=1)
    a = (a.detach() / (1 + a.detach().abs())).requires_grad_()
    one = results((a, b, None), "cpu")
    for count in (2, 3):
        torch.set_num_threads(count)
        for value, wanted in zip(results((a, b, None), "cpu"), one, strict=True):
            assert torch.equal(value, wanted)
    torch.set_num_threads(1)
    for value, wanted in zip(one, results((a, b, None), "portable"), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)


def test_half_precision_keeps_its_state_in_single_and_double_stays_double():
    a, b = draw(3).detach(), draw(1, 4, 3, seed=1).detach()
    h, last = linear_scan(a.bfloat16(), b.bfloat16())
    assert (h.dtype, last.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(h, linear_scan(a.bfloat16().float(), b.bfloat16().float())[0])
    assert linear_scan(a, b)[0].dtype == torch.float64
    assert linear_scan(a.to(torch.complex64), b.float())[0].dtype == torch.complex64


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_memory_layout_gives_the_same(backend):
    a, b, h0 = (
        draw(2, 6, 5, dtype=paired),
        draw(2, 6, 5, dtype=paired, seed=1),
        draw(2, 5, dtype=paired, seed=2),
    )
    exact = results((a, b, h0), backend)
    strided = [item.detach().mT.contiguous().mT.requires_grad_() for item in (a, b, h0)]
    conjugated = [item.detach().conj().resolve_conj().conj().requires_grad_() for item in (a, b, h0)]
    for inputs in (strided, conjugated):
        for value, wanted in zip(results(inputs, backend), exact, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-14, atol=1e-14)
    with use_backend(backend):
        expanded = torch.autograd.grad(linear_scan(a, b, h0)[0].sum().abs(), (a, b, h0))
        whole = linear_scan(a, b, h0)[0]
        ones = torch.ones_like(whole) * torch.sgn(whole.sum()).detach()
        for value, wanted in zip(expanded, torch.autograd.grad(whole, (a, b, h0), ones), strict=True):
            torch.testing.assert_close(value, wanted)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_in_gives_nothing_out(shape, backend):
    a, b, h0 = draw(*shape), draw(*shape, seed=1), draw(shape[0], shape[2], seed=2)
    with use_backend(backend):
        h, last = linear_scan(a, b, h0)
        (h.sum() + last.sum()).backward()
    assert (h.shape, last.shape) == (shape, (shape[0], shape[2]))
    assert [item.grad is None or item.grad.shape == item.shape for item in (a, b, h0)] == [True] * 3
    if shape[1] == 0:
        torch.testing.assert_close(last, h0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_is_asked_for_gets_a_gradient(backend):
    a, b, h0 = draw(2, 5, 3), draw(2, 5, 3, seed=1), draw(2, 3, seed=2)
    exact = results((a, b, h0), "reference")[2:]
    with use_backend(backend):
        for chosen in range(3):
            inputs = [item if place == chosen else item.detach() for place, item in enumerate((a, b, h0))]
            outputs = linear_scan(*inputs)
            cotangents = [draw(*out.shape, seed=9).detach() for out in outputs]
            gradient = torch.autograd.grad(outputs, inputs[chosen], cotangents)[0]
            torch.testing.assert_close(gradient, exact[chosen])
        last_only = torch.autograd.grad(linear_scan(a, b)[1].sum(), b)[0]
    ones = torch.ones(2, 3, dtype=real)
    torch.testing.assert_close(
        last_only, portable.backward(None, ones, a.detach(), b.detach(), None, None, False, False)[1]
    )


def test_compiled_and_exported_equal_eager():
    a, b, h0 = draw(2, 5, 3), draw(2, 5, 3, seed=1), draw(2, 3, seed=2)
    reset = torch.tensor([[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]], dtype=torch.bool)

    class Scan(torch.nn.Module):
        def forward(self, a, b, h0, reset):
            return linear_scan(a, b, h0, reset=reset, reverse=True)

    eager = linear_scan(a, b, h0, reset=reset, reverse=True)
    for scan in (
        torch.compile(Scan(), backend="aot_eager", fullgraph=True),
        torch.export.export(Scan(), (a, b, h0, reset)).module(),
    ):
        outputs = scan(a, b, h0, reset)
        found = [*outputs, *torch.autograd.grad([out.sum() for out in outputs], (a, b, h0))]
        wanted = [*eager, *torch.autograd.grad([out.sum() for out in eager], (a, b, h0), retain_graph=True)]
        for value, exact in zip(found, wanted, strict=True):
            torch.testing.assert_close(value, exact, rtol=0, atol=0)


BROKEN = {
    "b has one axis": (((3,), (3,)), {}, "'b' has the wrong shape", "at least two axes"),
    "a does not fit": (
        ((4,), (1, 2, 3)),
        {},
        "'a' has the wrong shape",
        "broadcastable to the shape of b, (1, 2, 3)",
    ),
    "a has too many axes": (((1, 1, 2, 3), (1, 2, 3)), {}, "'a' has the wrong shape", "(1, 2, 3)"),
    "h0 with a time axis": (((3,), (1, 2, 3), (1, 2, 3)), {}, "'h0' has the wrong shape", "(B, *F) = (1, 3)"),
    "reset of another length": (
        ((3,), (1, 2, 3)),
        {"reset": (1, 3)},
        "'reset' has the wrong shape",
        "(B, L) = (1, 2)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_error_names_the_argument_what_was_seen_and_what_was_right(case):
    shapes, masks, what, expected = BROKEN[case]
    inputs = [torch.rand(shape) for shape in shapes]
    resets = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in masks.items()}
    with pytest.raises(UserError) as caught:
        linear_scan(*inputs, **resets)
    error = caught.value
    assert (error.where, error.what) == ("linear_scan", what)
    assert expected in error.expected
    assert "float32 on cpu" in error.seen or "bool on cpu" in error.seen


def test_wrong_kinds_of_numbers_are_refused():
    with pytest.raises(UserError, match="'b' has the wrong dtype"):
        linear_scan(torch.rand(3), torch.ones(1, 2, 3, dtype=torch.int64))
    with pytest.raises(UserError, match="'reset' has the wrong dtype"):
        linear_scan(torch.rand(3), torch.rand(1, 2, 3), reset=torch.zeros(1, 2))
    with pytest.raises(UserError, match="'a' is on another device"):
        linear_scan(torch.rand(3, device="meta"), torch.rand(1, 2, 3))
