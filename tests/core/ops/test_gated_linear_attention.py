"""`gated_linear_attention`: every backend and gradient against the loop, hard decays, episodes and ends."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from statewise.core.errors import UserError
from statewise.core.ops import threads
from statewise.core.ops.dispatch import use_backend
from statewise.core.ops.gated_linear_attention import gated_linear_attention

FAST = ["portable", "cpu"]
DECAYS = ["none", "constant", "token", "key"]
every_backend = pytest.mark.parametrize("backend", FAST)


def arguments(
    batch, length, heads=2, keys=5, values=7, *, decay="key", dtype=torch.float64, seed=0, size=1.0
):
    """q, k, v, s0 and g (last, absent without decay), all taking gradients."""
    make = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=make, dtype=torch.float64)

    shape = {"constant": (heads,), "token": (batch, length, heads), "key": (batch, length, heads, keys)}
    tensors = [draw(batch, length, heads, width) for width in (keys, keys, values)]
    tensors.append(draw(batch, heads, keys, values))
    if decay != "none":
        tensors.append(-size * draw(*shape[decay]).abs())
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def run(inputs, backend="reference", **settings):
    q, k, v, s0, *g = inputs
    with use_backend(backend):
        return gated_linear_attention(q, k, v, *g, s0=s0, **settings)


def results(inputs, backend="reference", **settings) -> list[Tensor]:
    """Outputs, last state and all gradients under a fixed cotangent."""
    outputs = run(inputs, backend, **settings)
    cotangents = [torch.sin(torch.arange(x.numel(), dtype=x.dtype)).view(x.shape) for x in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, cotangents)]


def cast(inputs, dtype):
    return [x.detach().to(dtype).requires_grad_() for x in inputs]


def relative_rmse(value, exact):
    value, exact = value.detach().double(), exact.detach()
    return float((value - exact).norm() / exact.norm().clamp_min(1e-300))


def assert_same(values, exact, tolerance=1e-11):
    for value, wanted in zip(values, exact, strict=True):
        scale = float(wanted.detach().abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(value, wanted, rtol=0, atol=tolerance * max(scale, 1e-300))


def resets(batch, length, rate=0.3):
    return torch.rand(batch, length, generator=torch.Generator().manual_seed(3)) < rate


@every_backend
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("length", [1, 2, 5, 67])
def test_equals_the_loop(length, decay, reverse, backend):
    inputs = arguments(2, length, decay=decay)
    for options in (
        {},
        {"reset": resets(2, length), "scale": 0.7},
        {"reset": resets(2, length), "lengths": torch.tensor([length // 2, length])},
        {"reset": resets(2, length, 2.0), "lengths": torch.tensor([0, max(1, length - 1)])},
    ):
        exact = results(inputs, reverse=reverse, **options)
        assert_same(results(inputs, backend, reverse=reverse, **options), exact)


@every_backend
@pytest.mark.parametrize(("keys", "values"), [(1, 1), (64, 33), (3, 96)])
def test_any_width(keys, values, backend):
    inputs = arguments(1, 21, 3, keys, values)
    assert_same(results(inputs, backend), results(inputs))


@pytest.mark.parametrize("chunk", [1, 3, 16, 64, 1000])
@pytest.mark.parametrize("decay", ["token", "key"])
def test_the_chunk_changes_nothing(decay, chunk):
    inputs, options = arguments(2, 37, decay=decay), {"reset": resets(2, 37, 0.1)}
    assert_same(results(inputs, "portable", chunk=chunk, **options), results(inputs, **options))


@every_backend
@pytest.mark.parametrize("decay", DECAYS)
def test_float32_is_as_exact_as_the_loop(decay, backend):
    inputs = arguments(2, 300, 2, 32, 48, decay=decay, size=0.3)
    inputs = cast(cast(inputs, torch.float32), torch.float64)
    exact, single = results(inputs), cast(inputs, torch.float32)
    for value, loop, wanted in zip(results(single, backend), results(single), exact, strict=True):
        assert relative_rmse(value, wanted) <= max(2e-6, 3 * relative_rmse(loop, wanted))


@every_backend
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("decay", ["constant", "token", "key"])
@pytest.mark.parametrize("sizes", [(0.0,), (-1e-4,), (-5.0,), (-50.0,), (0.0, -1e-4, -5.0, -50.0)])
def test_hard_decays(sizes, decay, dtype, backend):
    """Also the gradient of a strong decay is exact, where q dq - k dk would leave only rounding."""
    inputs = arguments(1, 150, 2, 4, 6, decay=decay)
    pick = torch.randint(len(sizes), inputs[-1].shape, generator=torch.Generator().manual_seed(4))
    inputs[-1] = torch.tensor(sizes, dtype=torch.float64)[pick].requires_grad_()
    exact, single = results(inputs), cast(inputs, dtype)
    for value, loop, wanted in zip(results(single, backend), results(single), exact, strict=True):
        assert torch.isfinite(value).all()
        floor = 2e-6 if dtype == torch.float32 else 1e-12
        assert relative_rmse(value, wanted) <= max(floor, 3 * relative_rmse(loop, wanted))


@every_backend
@pytest.mark.parametrize("decay", ["token", "key"])
def test_forgetting_all_is_a_reset(decay, backend):
    inputs = arguments(1, 30, decay=decay)
    reset = resets(1, 30, 0.2)
    with torch.no_grad():
        inputs[-1][reset] = -torch.inf
        forgotten = run(inputs, backend)
        inputs[-1][reset] = -0.3
        assert_same(forgotten, run(inputs, reset=reset))


@every_backend
def test_twenty_thousand_steps(backend):
    inputs = arguments(1, 20_000, 1, 4, 4, decay="key", size=1.0)
    with torch.no_grad():
        inputs[-1] *= torch.tensor([0.0, 1e-4, 5.0, 50.0])
        inputs[1] *= torch.tensor([0.01, 1.0, 1.0, 1.0])
        exact = run(inputs)
        single = cast(inputs, torch.float32)
        for value, loop, wanted in zip(run(single, backend), run(single), exact, strict=True):
            assert relative_rmse(value, wanted) <= max(2e-6, 3 * relative_rmse(loop, wanted))
    gradients = torch.autograd.grad(run(single, backend)[0].sum(), single)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@every_backend
def test_a_state_that_overflowed_does_not_pass_a_reset(backend):
    inputs = [tensor.detach() for tensor in arguments(1, 12)]
    inputs[3] = torch.full_like(inputs[3], torch.inf)
    reset = torch.zeros(1, 12, dtype=torch.bool)
    reset[0, 5] = True
    o, last = run(inputs, backend, reset=reset)
    assert not torch.isfinite(o[:, :5]).any()
    assert_same((o[:, 5:], last), run([*(x[:, 5:] for x in inputs[:3]), None, inputs[4][:, 5:]]))


@every_backend
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("decay", DECAYS)
def test_gradcheck(decay, reverse, backend):
    options = {"reset": resets(2, 7), "lengths": torch.tensor([7, 4]), "reverse": reverse}
    inputs = arguments(2, 7, 1, 2, 3, decay=decay)
    assert torch.autograd.gradcheck(lambda *tensors: run(tensors, backend, **options), inputs)


@given(length=st.integers(2, 40), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_stream_in_two_chunks(length, data):
    split = data.draw(st.integers(0, length))
    backend, decay = data.draw(st.sampled_from(FAST)), data.draw(st.sampled_from(["token", "key"]))
    q, k, v, s0, g = (x.detach() for x in arguments(2, length, decay=decay))
    reset = resets(2, length, 0.1)
    whole = run((q, k, v, s0, g), backend, reset=reset)
    first, state = run(
        [x[:, :split] for x in (q, k, v)] + [s0, g[:, :split]], backend, reset=reset[:, :split]
    )
    rest = [x[:, split:] for x in (q, k, v)] + [state, g[:, split:]]
    second, last = run(rest, backend, reset=reset[:, split:])
    assert_same((torch.cat([first, second], 1), last), whole)


@given(length=st.integers(1, 30), end=st.integers(0, 30), backend=st.sampled_from(FAST))
@settings(max_examples=25, deadline=None)
def test_a_reversed_run_is_a_flipped_one(length, end, backend):
    end = min(length, end)
    q, k, v, s0, g = (x.detach() for x in arguments(1, length))
    o, last = run((q, k, v, s0, g), backend, reverse=True, lengths=torch.tensor([end]))
    q, k, v, g = (x[:, :end].flip(1) for x in (q, k, v, g))
    flipped, wanted = run((q, k, v, s0, g), backend)
    assert_same((o[:, :end], last), (flipped.flip(1), wanted))
    assert not o[:, end:].any()


@every_backend
@pytest.mark.filterwarnings("ignore:Flash Attention:ImportWarning")
def test_fla_agrees(backend):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Triton is not supported", UserWarning)
        per_key = pytest.importorskip("fla.ops.gla.naive")
        shared = pytest.importorskip("fla.ops.simple_gla.naive")
    q, k, v, s0, g = (x.detach() for x in arguments(2, 96, 2, 16, 24, dtype=torch.float32))
    theirs = per_key.naive_recurrent_gla(q, k, v, g, initial_state=s0, output_final_state=True)
    assert_same(run((q, k, v, s0, g), backend), theirs, 2e-6)
    g = g[..., 0]
    for oracle in (shared.naive_recurrent_simple_gla, shared.naive_chunk_simple_gla):
        theirs = oracle(q, k, v, g, initial_state=s0, output_final_state=True, scale=0.5)
        assert_same(run((q, k, v, s0, g), backend, scale=0.5), theirs, 2e-6)


@pytest.mark.parametrize("decay", DECAYS)
def test_same_bits_for_any_number_of_threads(decay, monkeypatch):
    monkeypatch.setattr(threads, "GRAIN", 1)
    inputs, options = (
        arguments(3, 70, 3, 8, 9, decay=decay, dtype=torch.float32),
        {"reset": resets(3, 70, 0.05)},
    )
    runs = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        try:
            runs.append(results(inputs, "cpu", **options))
        finally:
            torch.set_num_threads(1)
    for other in runs[1:]:
        assert all(torch.equal(one, two) for one, two in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("decay", ["none", "constant", "key"])
def test_compiled_graph_gives_the_eager_result(decay):
    inputs, reset = arguments(1, 6, decay=decay), resets(1, 6)

    def loss(*tensors):
        q, k, v, s0, *g = tensors
        o, last = gated_linear_attention(q, k, v, *g, s0=s0, reset=reset)
        return o.sin().sum() + last.sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), loss(*inputs))
    eager = torch.autograd.grad(loss(*inputs), inputs)
    assert_same(torch.autograd.grad(compiled(*inputs), inputs), eager)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@every_backend
def test_the_registered_node_is_sound(backend):
    q, k, v, s0, g = arguments(2, 5, dtype=torch.float32)
    node, cut = torch.ops.statewise.gated_linear_attention.default, resets(2, 5)
    torch.library.opcheck(node, (q, k, v, g, s0, cut, torch.tensor([5, 3]), 0.5, True, 4, backend))
    torch.library.opcheck(node, (q, k, v, None, None, None, None, 1.0, False, 64, backend))


@every_backend
def test_arguments_in_any_memory_layout(backend):
    q, k, v, s0, g = arguments(2, 9)
    strided = [x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    strided += [s0.detach().mT.contiguous().mT, g.detach().flip(1).contiguous().flip(1)]
    assert_same(run(strided, backend), run((q, k, v, s0, g)))


@every_backend
def test_one_output_alone_can_be_differentiated(backend):
    inputs = arguments(1, 9)
    for index in (0, 1):
        wanted = torch.autograd.grad(
            run(inputs)[index].sum(), inputs, allow_unused=True, materialize_grads=True
        )
        actual = torch.autograd.grad(run(inputs, backend)[index].sum(), inputs)
        assert_same(actual, wanted)


def test_half_precision_is_computed_in_single():
    inputs = [tensor.detach().bfloat16() for tensor in arguments(1, 5)]
    o, last = run(inputs, "cpu")
    assert o.dtype == last.dtype == torch.float32
    assert_same((o, last), run([tensor.float() for tensor in inputs], "cpu"), 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": torch.zeros(2, 5, 2, 3)}, "'k' has the wrong shape"),
        ({"v": torch.zeros(2, 4, 2, 3)}, "'v' has the wrong shape"),
        ({"g": torch.zeros(2, 5)}, r"'g' has the wrong shape[\s\S]*\(H,\), \(B, L, H\) or \(B, L, H, K\)"),
        ({"g": torch.zeros(3)}, "'g' has the wrong shape"),
        ({"s0": torch.zeros(2, 2, 4, 4)}, "'s0' has the wrong shape"),
        ({"reset": torch.zeros(2, 5)}, "'reset' has the wrong dtype"),
        ({"lengths": torch.zeros(3, dtype=torch.long)}, "'lengths' has the wrong shape"),
        ({"q": torch.zeros(2, 5, 2, 4, dtype=torch.long)}, "'q' has the wrong dtype"),
        ({"q": torch.zeros(2, 5, 2, 4, dtype=torch.complex64)}, "'q' has the wrong dtype"),
        ({"q": torch.zeros(2, 5, 8)}, "'q' has the wrong shape"),
        ({"chunk": 0}, "'chunk' is too small"),
    ],
)
def test_errors_name_the_argument(change, message):
    given = {"q": torch.zeros(2, 5, 2, 4), "k": torch.zeros(2, 5, 2, 4), "v": torch.zeros(2, 5, 2, 3)}
    with pytest.raises(UserError, match=message):
        gated_linear_attention(**given | change)
