"""`gated_delta_rule`: every backend and gradient against the loop, and the loop against other people's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from statewise.core.errors import UserError
from statewise.core.ops.dispatch import use_backend
from statewise.core.ops.gated_delta_rule import gated_delta_rule

BACKENDS = ["portable", "cpu"]
every_backend = pytest.mark.parametrize("backend", ["reference", *BACKENDS])
fast_backends = pytest.mark.parametrize("backend", BACKENDS)


def arguments(batch, length, heads, keys, values, n=1, dtype=torch.float64, seed=0):
    """q, k, v, beta in (0, 2), g and s0, as leaves that take gradients."""
    make = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=make, dtype=torch.float64)

    drawn = (
        draw(batch, length, heads, keys),
        draw(batch, length * n, heads, keys),
        draw(batch, length * n, heads, values),
        2 * torch.sigmoid(draw(batch, length * n, heads)),
        -draw(batch, length, heads).abs(),
        draw(batch, heads, keys, values),
    )
    return tuple(tensor.to(dtype).requires_grad_() for tensor in drawn)


def resets(batch, length, share=0.2):
    return torch.rand(batch, length, generator=torch.Generator().manual_seed(3)) < share


def results(inputs, backend, *, reset=None, **options):
    """Outputs, final state and all gradients under fixed cotangents for both."""
    *tensors, s0 = inputs
    with use_backend(backend):
        outputs = gated_delta_rule(*tensors, s0=s0, reset=reset, **options)
        cotangents = [
            torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape) for out in outputs
        ]
        return [*outputs, *torch.autograd.grad(outputs, inputs, cotangents)]


def assert_same(actual, expected, tolerance=1e-11):
    for value, wanted in zip(actual, expected, strict=True):
        bound = tolerance * max(1.0, float(wanted.detach().abs().max()))
        torch.testing.assert_close(value, wanted, rtol=0, atol=bound)


def relative_error(value, exact):
    exact = exact.detach()
    return float((value.detach().double() - exact).norm() / exact.norm().clamp_min(1e-30))


SIZES = [(2, 37, 3, 5, 7), (1, 1, 1, 1, 1), (2, 4, 1, 3, 2), (1, 70, 2, 40, 33), (3, 9, 2, 2, 66)]


@fast_backends
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("sizes", SIZES)
def test_values_and_gradients_equal_the_loop(sizes, n, backend):
    inputs = arguments(*sizes, n=n)
    for reset in (None, resets(*sizes[:2]), torch.ones(sizes[:2], dtype=torch.bool)):
        exact = results(inputs, "reference", reset=reset, householders=n)
        assert_same(results(inputs, backend, reset=reset, householders=n, chunk=8), exact)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*(st.integers(1, most) for most in (2, 21, 2, 9, 9))),
    n=st.integers(1, 3),
    chunk=st.integers(1, 24),
    share=st.sampled_from([0.0, 0.3, 0.9]),
    backend=st.sampled_from(BACKENDS),
)
def test_any_sizes_equal_the_loop(sizes, n, chunk, share, backend):
    inputs, reset = arguments(*sizes, n=n), resets(*sizes[:2], share)
    exact = results(inputs, "reference", reset=reset, householders=n)
    assert_same(results(inputs, backend, reset=reset, householders=n, chunk=chunk), exact)


@fast_backends
def test_without_decay_state_and_gradients_of_one_result(backend):
    q, k, v, beta, g, s0 = arguments(2, 13, 2, 4, 3)
    for pick in (0, 1):
        grads = []
        for name in ("reference", backend):
            with use_backend(name):
                out = gated_delta_rule(q, k, v, beta, scale=1.0)[pick]
                grads.append(torch.autograd.grad(out.square().sum(), (k, v, beta)))
        assert_same(*grads)
    with use_backend(backend):
        zero = torch.zeros_like(s0)
        plain = gated_delta_rule(q, k, v, beta)
        assert_same(plain, gated_delta_rule(q, k, v, beta, torch.zeros_like(g), s0=zero))


@fast_backends
def test_float32_is_as_exact_as_the_loop(backend):
    inputs, reset = arguments(2, 200, 2, 32, 24), resets(2, 200, 0.02)
    exact = results(inputs, "reference", reset=reset)
    single = tuple(tensor.detach().float().requires_grad_() for tensor in inputs)
    loop = results(single, "reference", reset=reset)
    for value, rival, wanted in zip(results(single, backend, reset=reset), loop, exact, strict=True):
        assert value.dtype == torch.float32
        assert relative_error(value, wanted) <= max(2e-6, 3 * relative_error(rival, wanted))


@fast_backends
@pytest.mark.parametrize("gates", [(0.0,), (-1e-4,), (-5.0,), (-50.0,), (0.0, -1e-4, -5.0, -50.0)])
def test_decays_of_any_strength(gates, backend):
    inputs = arguments(1, 130, 2, 8, 8)
    drawn = torch.tensor(gates, dtype=torch.float64)[
        torch.randint(len(gates), (1, 130, 2), generator=torch.Generator().manual_seed(5))
    ]
    inputs = (*inputs[:4], drawn.requires_grad_(), inputs[5])
    exact = results(inputs, "reference")
    assert_same(results(inputs, backend), exact)
    single = tuple(tensor.detach().float().requires_grad_() for tensor in inputs)
    loop = results(single, "reference")
    for value, rival, wanted in zip(results(single, backend), loop, exact, strict=True):
        assert relative_error(value, wanted) <= max(2e-6, 3 * relative_error(rival, wanted))


@fast_backends
def test_twenty_thousand_steps_stay_on_the_loop(backend):
    q, k, v, beta, _, s0 = (tensor.detach() for tensor in arguments(1, 20_000, 1, 4, 3))
    with use_backend("reference"):
        exact = gated_delta_rule(q, k, v, beta, s0=s0)
    with use_backend(backend):
        single = gated_delta_rule(*(tensor.float() for tensor in (q, k, v, beta)), s0=s0.float())
    for value, wanted in zip(single, exact, strict=True):
        assert relative_error(value, wanted) <= 5e-6


@fast_backends
def test_slow_decays_do_not_add_up_a_bias(backend):
    """Weak writes and decays of half-lives of thousands of steps."""
    q, k, v, beta, g, _ = (tensor.detach() for tensor in arguments(1, 20_000, 1, 4, 3))
    inputs = (q, k, v, 1e-4 * beta, 2e-4 * g)
    with torch.no_grad():
        with use_backend("reference"):
            exact = gated_delta_rule(*inputs)[1]
        with use_backend(backend):
            single = gated_delta_rule(*(tensor.float() for tensor in inputs))[1]
    assert relative_error(single, exact) <= 5e-6


@every_backend
@pytest.mark.parametrize("n", [1, 2])
def test_gradcheck(n, backend):
    inputs, reset = (
        arguments(1, 7, 2, 3, 2, n=n),
        torch.tensor([[False, False, True, False, False, True, False]]),
    )

    def run(*tensors):
        with use_backend(backend):
            return gated_delta_rule(*tensors[:5], s0=tensors[5], reset=reset, householders=n, chunk=3)

    assert torch.autograd.gradcheck(run, inputs)


@every_backend
@pytest.mark.parametrize("n", [1, 2])
def test_reset_equals_separate_sequences(n, backend):
    q, k, v, beta, g, s0 = (tensor.detach() for tensor in arguments(2, 11, 2, 4, 3, n=n))
    reset = torch.zeros(2, 11, dtype=torch.bool)
    reset[:, 6] = True
    with use_backend(backend):
        whole, last = gated_delta_rule(q, k, v, beta, g, s0=s0, reset=reset, householders=n)
        parts = (slice(0, 6), slice(6, None))
        runs = [
            gated_delta_rule(
                q[:, part],
                *(x.unflatten(1, (-1, n))[:, part].flatten(1, 2) for x in (k, v, beta)),
                g[:, part],
                s0=s0 if part.start == 0 else None,
                householders=n,
            )
            for part in parts
        ]
    assert_same([whole, last], [torch.cat([runs[0][0], runs[1][0]], 1), runs[1][1]])


@every_backend
def test_chunks_of_a_sequence_equal_the_whole(backend):
    q, k, v, beta, g, s0 = (tensor.detach() for tensor in arguments(2, 11, 2, 4, 3))
    with use_backend(backend):
        whole, last = gated_delta_rule(q, k, v, beta, g, s0=s0)
        first, state = gated_delta_rule(q[:, :5], k[:, :5], v[:, :5], beta[:, :5], g[:, :5], s0=s0)
        second, state = gated_delta_rule(q[:, 5:], k[:, 5:], v[:, 5:], beta[:, 5:], g[:, 5:], s0=state)
    assert_same([torch.cat([first, second], 1), state], [whole, last])


@every_backend
def test_no_strength_and_no_decay_freeze_the_state(backend):
    """What layers do after the end of a row."""
    q, k, v, beta, g, s0 = (tensor.detach() for tensor in arguments(2, 9, 2, 4, 3))
    live = (torch.arange(9) < torch.tensor([[4], [0]]))[..., None]
    beta, g = torch.where(live, beta, 0.0), torch.where(live, g, 0.0)
    with use_backend(backend):
        _, last = gated_delta_rule(q, k, v, beta, g, s0=s0)
        _, ended = gated_delta_rule(q[:1, :4], k[:1, :4], v[:1, :4], beta[:1, :4], g[:1, :4], s0=s0[:1])
    assert_same([last[:1]], [ended])
    assert torch.equal(last[1], s0[1])


@every_backend
def test_a_value_written_with_strength_one_is_recalled(backend):
    """After S k = v at beta = 1 the key, whatever was there, recalls the value exactly."""
    _, k, v, _, _, s0 = (tensor.detach() for tensor in arguments(2, 6, 2, 4, 3))
    k = F.normalize(k, dim=-1)
    with use_backend(backend):
        o, _ = gated_delta_rule(k, k, v, torch.ones(2, 6, 2), s0=s0, scale=1.0, normalise=False)
    torch.testing.assert_close(o, v, rtol=0, atol=1e-12)


@every_backend
def test_two_reflections_are_a_rotation(backend):
    """With beta = 2 and values of zero two steps turn the plane by twice the angle between the keys."""
    angle = torch.tensor(0.3, dtype=torch.float64)
    k = torch.stack([torch.tensor([1.0, 0.0], dtype=angle.dtype), torch.stack([angle.cos(), angle.sin()])])
    k, zeros = k.view(1, 2, 1, 2), torch.zeros(1, 2, 1, 2, dtype=angle.dtype)
    s0, q = torch.eye(2, dtype=angle.dtype).view(1, 1, 2, 2), zeros[:, :1]
    with use_backend(backend):
        _, turned = gated_delta_rule(
            q, k, zeros, torch.full((1, 2, 1), 2.0), s0=s0, householders=2, normalise=False
        )
    double = 2 * angle
    wanted = torch.stack([double.cos(), -double.sin(), double.sin(), double.cos()]).view(1, 1, 2, 2)
    torch.testing.assert_close(turned, wanted)


@every_backend
def test_fla_agrees(backend):
    pytest.importorskip("fla")
    naive = pytest.importorskip("fla.ops.gated_delta_rule.naive")
    product = pytest.importorskip("fla.ops.gated_delta_product.naive")
    plain = pytest.importorskip("fla.ops.delta_rule.naive")
    q, k, v, beta, g, s0 = (tensor.detach() for tensor in arguments(2, 12, 2, 8, 5, n=3, dtype=torch.float32))
    k = F.normalize(k, dim=-1)

    def ours(*inputs, **options):
        with use_backend(backend):
            return gated_delta_rule(*inputs, normalise=False, **options)

    wanted = product.naive_recurrent_gated_delta_product(
        q, k, v, g, beta, 8**-0.5, initial_state=s0, output_final_state=True, num_householder=3
    )
    assert_same(ours(q, k, v, beta, g, s0=s0, householders=3), wanted, 2e-6)
    k, v, beta = k[:, :12], v[:, :12], beta[:, :12]
    wanted = naive.naive_recurrent_gated_delta_rule(
        q, k, v, beta, g, initial_state=s0, output_final_state=True
    )
    assert_same(ours(q, k, v, beta, g, s0=s0), wanted, 2e-6)
    wanted = naive.naive_chunk_gated_delta_rule(
        q, k, v, g, beta, chunk_size=4, initial_state=s0, output_final_state=True
    )
    assert_same(ours(q, k, v, beta, g, s0=s0), wanted, 2e-6)
    heads_first = [tensor.transpose(1, 2) for tensor in (q, k, v, beta)]
    o, last = plain.delta_rule_recurrence(*heads_first, initial_state=s0)
    assert_same(ours(q, k, v, beta, s0=s0), (o.transpose(1, 2), last), 2e-6)


def test_same_bits_for_any_number_of_threads():
    inputs, reset = arguments(3, 300, 3, 32, 40, dtype=torch.float32), resets(3, 300, 0.01)
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            runs.append(results(inputs, "cpu", reset=reset))
        finally:
            torch.set_num_threads(1)
    for one, two in zip(*runs, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("n", [1, 2])
def test_compiled_graph_gives_the_eager_result(n):
    inputs, reset = arguments(1, 6, 2, 3, 2, n=n), resets(1, 6)

    def run(*tensors):
        o, last = gated_delta_rule(*tensors[:5], s0=tensors[5], reset=reset, householders=n)
        return o.sin().sum() + last.sum()

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), run(*inputs))
    eager = torch.autograd.grad(run(*inputs), inputs)
    assert_same(torch.autograd.grad(compiled(*inputs), inputs), eager)


def test_half_precision_is_computed_in_single():
    q, k, v, beta, *_ = (tensor.detach().bfloat16() for tensor in arguments(1, 5, 1, 4, 3))
    o, last = gated_delta_rule(q, k, v, beta)
    assert o.dtype == last.dtype == torch.float32
    assert_same([o], [gated_delta_rule(*(x.float() for x in (q, k, v, beta)))[0]], 0.0)


def test_growth_is_refused_with_the_norm():
    q, k, v, beta, *_ = (tensor.detach() for tensor in arguments(1, 5, 1, 4, 3))
    k = F.normalize(k, dim=-1)
    beta = torch.full_like(beta, 2.0)
    gated_delta_rule(q, k, v, beta, normalise=False)  # on the edge, to rounding
    k[0, 3] *= 3
    with pytest.raises(UserError, match=r"grow without bound[\s\S]*beta = 2 with a key of norm 3"):
        gated_delta_rule(q, k, v, beta, normalise=False)
    gated_delta_rule(q, k, v, beta)
    with pytest.raises(UserError, match=r"beta = 2.5"):
        gated_delta_rule(q, k, v, beta + 0.5)
    with pytest.raises(UserError, match=r"beta of -0.5"):
        gated_delta_rule(q, k, v, beta - 2.5)


def test_errors_name_the_argument():
    q, k, v, beta, g, s0 = (tensor.detach() for tensor in arguments(2, 5, 2, 4, 3))
    broken = [
        ("'q'", {"q": q[0]}),
        ("'k'", {"k": k[:, :4]}),
        ("'v'", {"v": v[..., 0]}),
        ("'beta'", {"beta": beta[..., None]}),
        ("'g'", {"g": g[:, :1]}),
        ("'s0'", {"s0": s0.mT}),
        ("'reset'", {"reset": torch.zeros(2, 4, dtype=torch.bool)}),
        ("'householders'", {"householders": 0}),
        ("'chunk'", {"chunk": 0}),
        ("'v'", {"v": v.long()}),
        ("'k'", {"k": k.to(torch.complex128)}),
    ]
    whole = {"q": q, "k": k, "v": v, "beta": beta}
    for name, change in broken:
        with pytest.raises(UserError, match=name):
            gated_delta_rule(**(whole | change))
