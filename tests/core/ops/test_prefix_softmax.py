"""`prefix_softmax`: every backend and gradient against the loop and against softmax itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from statewise.core.errors import UserError
from statewise.core.ops import threads
from statewise.core.ops.dispatch import use_backend
from statewise.core.ops.prefix_softmax import PrefixState, prefix_softmax

FAST = ["portable", "cpu"]
every_backend = pytest.mark.parametrize("backend", FAST)


def arguments(batch, length, heads=2, values=5, *, dtype=torch.float64, spread=1.0, fresh=False, seed=0):
    """s, v, and a state that has seen something, or nothing; all taking gradients."""
    make = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=make, dtype=torch.float64)

    s, v = spread * draw(batch, length, heads), draw(batch, length, heads, values)
    m, u, w = spread * draw(batch, heads), draw(batch, heads).exp(), draw(batch, heads, values)
    state = (m, 0 * u, 0 * w) if fresh else (m, u, w)
    return [tensor.to(dtype).requires_grad_() for tensor in (s, v, *state)]


def run(inputs, backend="reference", **options):
    s, v, *state = inputs
    with use_backend(backend):
        o, last = prefix_softmax(s, v, PrefixState(*state) if state else None, **options)
    return [o, *last]


def results(inputs, backend="reference", **options) -> list[Tensor]:
    """Outputs, last state and all gradients under a fixed cotangent."""
    outputs = run(inputs, backend, **options)
    cotangents = [torch.sin(1.0 + torch.arange(x.numel(), dtype=x.dtype)).view(x.shape) for x in outputs]
    gradients = torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True, materialize_grads=True)
    return [*outputs, *gradients]


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


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_is_a_softmax_over_the_past(backend):
    s, v, *_ = (x.detach() for x in arguments(2, 13))
    weights = s.transpose(1, 2).unsqueeze(-2).expand(-1, -1, 13, -1)
    weights = weights.masked_fill(torch.ones(13, 13, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
    wanted = (weights @ v.transpose(1, 2)).transpose(1, 2)
    assert_same(run((s, v), backend)[:1], [wanted])


@every_backend
@pytest.mark.parametrize("fresh", [False, True], ids=["continued", "fresh"])
@pytest.mark.parametrize("length", [1, 2, 5, 67])
def test_equals_the_loop(length, fresh, backend):
    inputs = arguments(2, length, fresh=fresh)
    for options in (
        {},
        {"reset": resets(2, length)},
        {"reset": resets(2, length), "lengths": torch.tensor([length // 2, length])},
        {"reset": resets(2, length, 2.0), "lengths": torch.tensor([0, max(1, length - 1)])},
    ):
        assert_same(results(inputs, backend, **options), results(inputs, **options))


@every_backend
@pytest.mark.parametrize("values", [1, 33, 64])
def test_any_width(values, backend):
    inputs = arguments(1, 21, 3, values)
    assert_same(results(inputs, backend), results(inputs))


@every_backend
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1000.0])
def test_float32_is_as_exact_as_the_loop(spread, backend):
    inputs = cast(cast(arguments(2, 300, 2, 16, spread=spread), torch.float32), torch.float64)
    exact, single = run(inputs), cast(inputs, torch.float32)
    for value, loop, wanted in zip(run(single, backend), run(single), exact, strict=True):
        assert torch.isfinite(value).all()
        assert relative_rmse(value, wanted) <= max(2e-6, 3 * relative_rmse(loop, wanted))
    exact = torch.autograd.grad(exact[0].sin().sum(), inputs)
    values = torch.autograd.grad(run(single, backend)[0].sin().sum(), single)
    loops = torch.autograd.grad(run(single)[0].sin().sum(), single)
    for value, loop, wanted in zip(values, loops, exact, strict=True):
        assert torch.isfinite(value).all()
        assert relative_rmse(value, wanted) <= max(2e-6, 3 * relative_rmse(loop, wanted))


@every_backend
def test_twenty_thousand_steps(backend):
    inputs = arguments(1, 20_000, 1, 3, spread=2.0)
    with torch.no_grad():
        exact, single = run(inputs), cast(inputs, torch.float32)
        for value, loop, wanted in zip(run(single, backend), run(single), exact, strict=True):
            assert relative_rmse(value, wanted) <= max(2e-6, 3 * relative_rmse(loop, wanted))


@every_backend
def test_a_state_that_overflowed_does_not_pass_a_reset(backend):
    s, v, m, u, w = (tensor.detach() for tensor in arguments(1, 12))
    reset = torch.zeros(1, 12, dtype=torch.bool)
    reset[0, 5] = True
    o, *last = run((s, v, m, u, torch.full_like(w, torch.inf)), backend, reset=reset)
    assert not torch.isfinite(o[:, :5]).any()
    assert_same((o[:, 5:], *last), run((s[:, 5:], v[:, 5:])))


@every_backend
@pytest.mark.parametrize("fresh", [False, True])
def test_gradcheck(fresh, backend):
    """Also of the last m, which the step with the greatest score holds."""
    s, v, *state = arguments(2, 7, 2, 3, fresh=fresh)
    options = {"reset": resets(2, 7), "lengths": torch.tensor([7, 4])}
    if fresh:  # the derivative at u = 0 is one-sided
        assert torch.autograd.gradcheck(lambda s, v: run((s, v), backend, **options), (s, v))
    else:
        assert torch.autograd.gradcheck(lambda *x: run(x, backend, **options), (s, v, *state))


@given(length=st.integers(2, 40), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_stream_in_two_chunks(length, data):
    split, backend = data.draw(st.integers(1, length - 1)), data.draw(st.sampled_from(FAST))
    s, v, *state = (x.detach() for x in arguments(2, length, fresh=data.draw(st.booleans())))
    reset = resets(2, length, 0.1)
    whole = run((s, v, *state), backend, reset=reset)
    first, *state = run((s[:, :split], v[:, :split], *state), backend, reset=reset[:, :split])
    second, *last = run((s[:, split:], v[:, split:], *state), backend, reset=reset[:, split:])
    assert_same((torch.cat([first, second], 1), *last), whole)


def test_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(threads, "GRAIN", 1)
    inputs, options = arguments(3, 70, 3, 40, dtype=torch.float32), {"reset": resets(3, 70, 0.05)}
    runs = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        try:
            runs.append(results(inputs, "cpu", **options))
        finally:
            torch.set_num_threads(1)
    for other in runs[1:]:
        assert all(torch.equal(one, two) for one, two in zip(runs[0], other, strict=True))


def test_compiled_graph_gives_the_eager_result():
    inputs, reset = arguments(1, 6), resets(1, 6)

    def loss(s, v, m, u, w):
        o, last = prefix_softmax(s, v, PrefixState(m, u, w), reset=reset)
        return o.sin().sum() + sum(x.sum() for x in last)

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), loss(*inputs))
    eager = torch.autograd.grad(loss(*inputs), inputs)
    assert_same(torch.autograd.grad(compiled(*inputs), inputs), eager)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@every_backend
def test_the_registered_node_is_sound(backend):
    node, inputs = torch.ops.statewise.prefix_softmax.default, arguments(2, 5, dtype=torch.float32)
    torch.library.opcheck(node, (*inputs, resets(2, 5), torch.tensor([5, 3]), backend))
    torch.library.opcheck(node, (*inputs, None, None, backend))


@every_backend
def test_arguments_in_any_memory_layout(backend):
    inputs = arguments(2, 9)
    strided = [x.detach().transpose(0, 1).contiguous().transpose(0, 1) for x in inputs]
    assert_same(run(strided, backend), run(inputs))


def test_half_precision_is_computed_in_single():
    inputs = [tensor.detach().bfloat16() for tensor in arguments(1, 5)]
    outputs = run(inputs, "cpu")
    assert all(x.dtype == torch.float32 for x in outputs)
    assert_same(outputs, run([tensor.float() for tensor in inputs], "cpu"), 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": torch.zeros(2, 4, 3, 3)}, "'v' has the wrong shape"),
        (
            {"state": PrefixState(*torch.zeros(2, 2, 2), torch.zeros(2, 3, 4))},
            r"'state\.m' has the wrong shape",
        ),
        (
            {"state": PrefixState(*torch.zeros(2, 2, 3), torch.zeros(2, 3, 5))},
            r"'state\.w' has the wrong shape",
        ),
        ({"reset": torch.zeros(2, 5)}, "'reset' has the wrong dtype"),
        ({"lengths": torch.zeros(3, dtype=torch.long)}, "'lengths' has the wrong shape"),
        ({"s": torch.zeros(2, 5, 3, dtype=torch.long)}, "'s' has the wrong dtype"),
        ({"s": torch.zeros(2, 5, 3, dtype=torch.complex64)}, "'s' has the wrong dtype"),
        ({"s": torch.zeros(2, 0, 3)}, "'s' has the wrong shape"),
    ],
)
def test_errors_name_the_argument(change, message):
    given = {"s": torch.zeros(2, 5, 3), "v": torch.zeros(2, 5, 3, 4)}
    with pytest.raises(UserError, match=message):
        prefix_softmax(**given | change)
