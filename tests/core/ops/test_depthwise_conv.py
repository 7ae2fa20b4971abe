"""`depthwise_conv`: backends, gradients and edges against the sliding window, the window against `conv1d`."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from statewise.core.errors import UserError
from statewise.core.ops import depthwise_conv, use_backend

BACKENDS = ["portable", "cpu"]
real, paired = torch.float64, torch.complex128


def draw(*shape: int, dtype: torch.dtype = real, seed: int = 0) -> Tensor:
    make = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, 2, generator=make, dtype=real)
    values = torch.view_as_complex(values) if dtype.is_complex else values[..., 0]
    return values.to(dtype).requires_grad_()


def inputs_of(batch: int, length: int, width: int, taps: int, dtype: torch.dtype = real) -> list[Tensor]:
    sizes = [(batch, length, width), (taps, width), (width,), (batch, taps - 1, width)]
    return [draw(*size, dtype=dtype, seed=seed) for seed, size in enumerate(sizes)]


def masks_of(batch: int, length: int) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(5)
    lengths = torch.randint(0, length + 1, (batch,), generator=make)
    lengths[0] = length
    return torch.rand(batch, length, generator=make) < 0.25, lengths


def results(inputs, backend, **settings) -> list[Tensor]:
    """Both outputs, and the gradients of every input under fixed cotangents."""
    with use_backend(backend):
        outputs = depthwise_conv(*inputs, **settings)
        cotangents = [draw(*out.shape, dtype=out.dtype, seed=9).detach() for out in outputs]
        wanted = [item for item in inputs if item is not None]
        return [*outputs, *torch.autograd.grad(outputs, wanted, cotangents, materialize_grads=True)]


def relative_error(value: Tensor, exact: Tensor) -> float:
    return float((value - exact).detach().norm() / exact.detach().norm().clamp_min(1e-300))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [real, paired])
@pytest.mark.parametrize("taps", [1, 2, 4, 11])
def test_values_and_gradients_equal_the_window(taps, dtype, backend):
    for batch, length, width in [(2, 7, 3), (1, 1, 1), (3, 5, 33), (2, 3, 523), (1, 40, 20)]:
        x, weight, bias, tail = inputs_of(batch, length, width, taps, dtype)
        reset, lengths = masks_of(batch, length)
        for shift, start, mask, ends in itertools.product(
            (None, bias), (None, tail), (None, reset), (None, lengths)
        ):
            arguments = {"reset": mask, "lengths": ends}
            exact = results((x, weight, shift, start), "reference", **arguments)
            found = results((x, weight, shift, start), backend, **arguments)
            for value, wanted in zip(found, exact, strict=True):
                torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("dtype", [real, paired])
def test_gradients_equal_finite_differences(dtype, backend):
    inputs = inputs_of(2, 5, 3, 3, dtype)
    reset = torch.tensor([[0, 0, 1, 0, 0], [1, 0, 0, 1, 1]], dtype=torch.bool)
    for mask, lengths in ((None, None), (reset, None), (reset, torch.tensor([3, 5])), (reset | True, None)):
        with use_backend(backend):
            assert torch.autograd.gradcheck(
                lambda *args, mask=mask, lengths=lengths: depthwise_conv(*args, reset=mask, lengths=lengths),
                tuple(inputs),
            )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_single_precision_is_as_exact_as_the_window(dtype, backend):
    inputs = inputs_of(2, 300, 24, 7, dtype)
    double = [item.detach().to(paired if dtype.is_complex else real).requires_grad_() for item in inputs]
    exact, loop = results(double, "reference"), results(inputs, "reference")
    for value, single, wanted in zip(results(inputs, backend), loop, exact, strict=True):
        assert relative_error(value, wanted) <= max(2e-6, 3 * relative_error(single, wanted))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_without_masks_it_is_torchs_convolution(backend):
    x, weight, bias, tail = inputs_of(3, 20, 6, 5)
    with use_backend(backend):
        y, end = depthwise_conv(x, weight, bias, tail)
    before = torch.cat([tail, x], 1)
    exact = torch.nn.functional.conv1d(before.mT, weight.T[:, None], bias, groups=6).mT
    torch.testing.assert_close(y, exact)
    torch.testing.assert_close(end, before[:, -4:], rtol=0, atol=0)


def test_the_last_tap_weighs_the_present_step():
    x = torch.arange(1.0, 5.0)[None, :, None]
    y, tail = depthwise_conv(x, torch.tensor([[100.0], [10.0], [1.0]]))
    assert y[0, :, 0].tolist() == [1, 12, 123, 234]
    assert tail[0, :, 0].tolist() == [3, 4]


def test_the_tail_is_the_true_end_of_a_row_and_forgets_earlier_episodes():
    x = torch.arange(1.0, 6.0).expand(4, 5)[..., None]
    reset = torch.tensor(
        [[0, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 1, 0, 0]], dtype=torch.bool
    )
    lengths = torch.tensor([3, 5, 4, 0])
    y, tail = depthwise_conv(
        x, torch.ones(4, 1), tail=torch.full((4, 3, 1), -1.0), reset=reset, lengths=lengths
    )
    assert tail[..., 0].tolist() == [[1, 2, 3], [0, 4, 5], [2, 3, 4], [-1, -1, -1]]
    assert y[..., 0].tolist() == [[-2, 1, 5, 0, 0], [-2, 1, 5, 4, 9], [-2, 1, 5, 10, 0], [0] * 5]


@st.composite
def episodes(draw_from):
    length = draw_from(st.integers(1, 20))
    starts = draw_from(st.lists(st.integers(0, length - 1), unique=True, max_size=4))
    return length, sorted(starts), draw_from(st.integers(0, length)), draw_from(st.sampled_from([1, 2, 4, 9]))


@settings(max_examples=30, deadline=None)
@given(episodes(), st.sampled_from(["reference", *BACKENDS]))
def test_episodes_are_separate_and_splitting_changes_nothing(episode, backend):
    length, starts, split, taps = episode
    x, weight, bias, tail = (item.detach() for item in inputs_of(2, length, 5, taps))
    reset = torch.zeros(2, length, dtype=torch.bool)
    reset[:, starts] = True
    bounds = [0, *(start for start in starts if start > 0), length]
    with use_backend(backend):
        y, end = depthwise_conv(x, weight, bias, tail, reset=reset)
        parts = [
            depthwise_conv(x[:, lo:hi], weight, bias, tail if lo == 0 and lo not in starts else None)
            for lo, hi in itertools.pairwise(bounds)
        ]
        torch.testing.assert_close(y, torch.cat([part for part, _ in parts], 1))
        torch.testing.assert_close(end, parts[-1][1])
        first, middle = depthwise_conv(x[:, :split], weight, bias, tail, reset=reset[:, :split])
        second, last = depthwise_conv(x[:, split:], weight, bias, middle, reset=reset[:, split:])
        torch.testing.assert_close(y, torch.cat([first, second], 1))
        torch.testing.assert_close(end, last)


@settings(max_examples=30, deadline=None)
@given(episodes(), st.sampled_from(["reference", *BACKENDS]))
def test_lengths_are_each_row_alone(episode, backend):
    length, starts, first_end, taps = episode
    x, weight, bias, tail = (item.detach() for item in inputs_of(2, length, 5, taps))
    reset = torch.zeros(2, length, dtype=torch.bool)
    reset[:, starts] = True
    with use_backend(backend):
        y, end = depthwise_conv(x, weight, bias, tail, reset=reset, lengths=torch.tensor([first_end, length]))
        for row, stop in enumerate((first_end, length)):
            one = slice(row, row + 1)
            alone = depthwise_conv(x[one, :stop], weight, bias, tail[one], reset=reset[one, :stop])
            torch.testing.assert_close(y[one, :stop], alone[0])
            torch.testing.assert_close(end[one], alone[1])
    assert not y[0, first_end:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("size", [(3, 300, 700, 4), (1, 1100, 512, 3)])
def test_the_number_of_threads_changes_no_bit(size, dtype):
    inputs = inputs_of(*size, dtype)
    reset, lengths = masks_of(*size[:2])
    one = results(inputs, "cpu", reset=reset, lengths=lengths)
    for count in (2, 3):
        torch.set_num_threads(count)
        for value, wanted in zip(results(inputs, "cpu", reset=reset, lengths=lengths), one, strict=True):
            assert torch.equal(value, wanted)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_memory_layout_gives_the_same(backend):
    inputs = inputs_of(2, 6, 5, 3, paired)
    exact = results(inputs, backend)
    strided = [
        item.detach().mT.contiguous().mT.requires_grad_() if item.ndim > 1 else item for item in inputs
    ]
    conjugated = [item.detach().conj().resolve_conj().conj().requires_grad_() for item in inputs]
    for changed in (strided, conjugated):
        for value, wanted in zip(results(changed, backend), exact, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("size", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_in_gives_nothing_out(size, backend):
    x, weight, bias, tail = inputs_of(*size, 3)
    reset, lengths = torch.zeros(size[:2], dtype=torch.bool), torch.zeros(size[0], dtype=torch.int64)
    with use_backend(backend):
        y, end = depthwise_conv(x, weight, bias, tail, reset=reset, lengths=lengths)
        (y.sum() + end.sum()).backward()
    assert (y.shape, end.shape) == (size, (size[0], 2, size[2]))
    torch.testing.assert_close(end, tail)


def test_half_precision_computes_in_single_and_double_stays_double():
    x, weight, *_ = (item.detach() for item in inputs_of(1, 4, 3, 2))
    y, tail = depthwise_conv(x.bfloat16(), weight.bfloat16())
    assert (y.dtype, tail.dtype) == (torch.float32, torch.float32)
    assert depthwise_conv(x, weight)[0].dtype == torch.float64


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_the_registered_node_is_sound():
    x, weight, bias, tail = inputs_of(2, 5, 3, 3, torch.float32)
    reset, lengths = masks_of(2, 5)
    torch.library.opcheck(
        torch.ops.statewise.depthwise_conv.default, (x, weight, bias, tail, reset, lengths, "cpu")
    )


def test_compiled_and_exported_equal_eager():
    x, weight, bias, tail = inputs_of(2, 5, 3, 3)
    reset, lengths = masks_of(2, 5)

    class Conv(torch.nn.Module):
        def forward(self, x, weight, bias, tail, reset, lengths):
            return depthwise_conv(x, weight, bias, tail, reset=reset, lengths=lengths)

    arguments = (x, weight, bias, tail, reset, lengths)
    eager = Conv()(*arguments)
    wanted = [*eager, *torch.autograd.grad([out.sum() for out in eager], arguments[:4])]
    for conv in (
        torch.compile(Conv(), backend="aot_eager", fullgraph=True),
        torch.export.export(Conv(), arguments).module(),
    ):
        outputs = conv(*arguments)
        found = [*outputs, *torch.autograd.grad([out.sum() for out in outputs], arguments[:4])]
        for value, exact in zip(found, wanted, strict=True):
            torch.testing.assert_close(value, exact, rtol=0, atol=0)


BROKEN = {
    "x": ({"x": (2, 3)}, "'x' has the wrong shape", "three axes"),
    "weight": ({"weight": (3, 5)}, "'weight' has the wrong shape", "(K, D) = (3, 4)"),
    "no taps": ({"weight": (0, 4)}, "'weight' has the wrong shape", "K at least 1"),
    "bias": ({"bias": (3,)}, "'bias' has the wrong shape", "(D,) = (4,)"),
    "tail": ({"tail": (2, 3, 4)}, "'tail' has the wrong shape", "(B, K - 1, D) = (2, 2, 4)"),
    "reset": ({"reset": (2, 6)}, "'reset' has the wrong shape", "(B, L) = (2, 5)"),
    "lengths": ({"lengths": (3,)}, "'lengths' has the wrong shape", "(B,) = (2,)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_error_names_the_argument_what_was_seen_and_what_was_right(case):
    changes, what, expected = BROKEN[case]
    shapes = {"x": (2, 5, 4), "weight": (3, 4)} | changes
    arguments = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for name, kind in (("reset", torch.bool), ("lengths", torch.int64)):
        if name in arguments:
            arguments[name] = arguments[name].to(kind)
    with pytest.raises(UserError) as caught:
        depthwise_conv(**arguments)
    assert (caught.value.where, caught.value.what) == ("depthwise_conv", what)
    assert expected in caught.value.expected


def test_wrong_kinds_of_numbers_are_refused():
    x, weight = torch.rand(1, 2, 3), torch.rand(2, 3)
    with pytest.raises(UserError, match="'x' has the wrong dtype"):
        depthwise_conv(x.long(), weight)
    with pytest.raises(UserError, match="'lengths' has the wrong dtype"):
        depthwise_conv(x, weight, lengths=torch.ones(1))
    with pytest.raises(UserError, match="'weight' is on another device"):
        depthwise_conv(x, weight.to("meta"))
