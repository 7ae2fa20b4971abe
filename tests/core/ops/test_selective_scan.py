"""`selective_scan`: every backend and gradient against the loop, hard decays, episodes and ends."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from statewise.core.errors import UserError
from statewise.core.ops import threads
from statewise.core.ops.dispatch import use_backend
from statewise.core.ops.selective_scan import selective_scan

FAST = ["portable", "cpu"]
every_backend = pytest.mark.parametrize("backend", FAST)


def arguments(batch, length, channels=6, states=3, *, groups=None, dtype=torch.float64, step=0.5, seed=0):
    """u, dt, A, B, C and h0, all taking gradients; dt is meant without softplus."""
    make = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=make, dtype=torch.float64)

    maps = (batch, length, states) if groups is None else (batch, length, groups, states)
    tensors = [draw(batch, length, channels), step * draw(batch, length, channels).abs()]
    tensors += [-draw(channels, states).exp(), draw(*maps), draw(*maps), draw(batch, channels, states)]
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def run(inputs, backend="reference", dt_softplus=False, **options):
    *five, h0 = inputs
    with use_backend(backend):
        return selective_scan(*five, h0=h0, dt_softplus=dt_softplus, **options)


def results(inputs, backend="reference", **options) -> list[Tensor]:
    """Outputs, last state and all gradients under a fixed cotangent."""
    outputs = run(inputs, backend, **options)
    cotangents = [torch.sin(torch.arange(x.numel(), dtype=x.dtype)).view(x.shape) for x in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, cotangents)]


def cast(inputs, dtype):
    return [x.detach().to(dtype).requires_grad_() for x in inputs]


def relative_rmse(value, exact):
    value, exact = value.detach().double(), exact.detach()
    return float((value - exact).norm() / exact.norm().clamp_min(1e-300))


def assert_as_exact_as_the_loop(inputs, backend, **options):
    exact, single = results(inputs, **options), cast(inputs, torch.float32)
    values, loops = results(single, backend, **options), results(single, **options)
    for value, loop, wanted in zip(values, loops, exact, strict=True):
        assert torch.isfinite(value).all()
        assert relative_rmse(value, wanted) <= max(2e-6, 3 * relative_rmse(loop, wanted))


def assert_same(values, exact, tolerance=1e-11):
    for value, wanted in zip(values, exact, strict=True):
        scale = float(wanted.detach().abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(value, wanted, rtol=0, atol=tolerance * max(scale, 1e-300))


def resets(batch, length, rate=0.3):
    return torch.rand(batch, length, generator=torch.Generator().manual_seed(3)) < rate


@every_backend
@pytest.mark.parametrize("groups", [None, 1, 2])
@pytest.mark.parametrize("length", [1, 2, 31, 67])
def test_equals_the_loop(length, groups, backend):
    inputs = arguments(2, length, groups=groups)
    for options in (
        {},
        {"reset": resets(2, length)},
        {"reset": resets(2, length), "lengths": torch.tensor([length // 2, length])},
        {"reset": resets(2, length, 2.0), "lengths": torch.tensor([0, max(1, length - 1)])},
    ):
        assert_same(results(inputs, backend, **options), results(inputs, **options))


@every_backend
@pytest.mark.parametrize(("channels", "states", "groups"), [(1, 1, 1), (33, 16, 1), (80, 5, 2), (12, 4, 12)])
def test_any_width(channels, states, groups, backend):
    inputs = arguments(1, 21, channels, states, groups=groups)
    assert_same(results(inputs, backend), results(inputs))


@pytest.mark.parametrize("batch", [1, 20])
def test_the_gradients_of_shared_maps_are_summed_over_all_work_items(batch):
    inputs = arguments(batch, 5, 200, 2, groups=2)
    assert_same(results(inputs, "cpu"), results(inputs))


@every_backend
@pytest.mark.parametrize("segment", [1, 7, 64])
def test_the_segment_changes_nothing(segment, backend, monkeypatch):
    package = import_module("statewise.core.ops.selective_scan")  # the name in ops is the function
    monkeypatch.setattr(package, "SEGMENT", segment)
    inputs, options = arguments(2, 20), {"reset": resets(2, 20, 0.1)}
    assert_same(results(inputs, backend, **options), results(inputs, **options))


@every_backend
def test_bias_softplus_skip_and_gate(backend):
    u, dt, A, B, C, h0 = arguments(2, 9)
    D, bias = (torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    z = torch.randn(2, 9, 6, dtype=torch.float64, requires_grad=True)
    inner, last = run((u, F.softplus(dt + bias), A, B, C, h0))
    options = {"D": D, "z": z, "dt_bias": bias, "dt_softplus": True}
    outputs = run((u, dt, A, B, C, h0), backend, **options)
    assert_same(outputs, ((inner + D * u) * z * torch.sigmoid(z), last))
    wrt = (u, dt, D, bias, z)
    wanted = torch.autograd.grad((inner + D * u) * z * torch.sigmoid(z), wrt, torch.ones_like(u))
    assert_same(torch.autograd.grad(outputs[0], wrt, torch.ones_like(u)), wanted)


@every_backend
def test_float32_is_as_exact_as_the_loop(backend):
    inputs = cast(cast(arguments(2, 300, 40, 16, step=0.1), torch.float32), torch.float64)
    assert_as_exact_as_the_loop(inputs, backend)


@every_backend
@pytest.mark.parametrize("rates", [(0.0,), (-1e-4,), (-5.0,), (-50.0,), (0.0, -1e-4, -5.0, -50.0)])
def test_hard_decays(rates, backend):
    inputs = arguments(1, 150, 5, 4)
    pick = torch.randint(len(rates), (5, 4), generator=torch.Generator().manual_seed(4))
    inputs[2] = torch.tensor(rates, dtype=torch.float64)[pick].requires_grad_()
    inputs[1] = torch.ones_like(inputs[1]).requires_grad_()
    assert_as_exact_as_the_loop(inputs, backend)
    assert_as_exact_as_the_loop(inputs, backend, reset=resets(1, 150, 2.0))


@every_backend
def test_twenty_thousand_steps(backend):
    inputs = arguments(1, 20_000, 3, 4, step=0.1)
    with torch.no_grad():
        inputs[2][:] = torch.tensor([-1e-4, -1.0, -50.0, -500.0])
        exact, single = run(inputs), cast(inputs, torch.float32)
        for value, loop, wanted in zip(run(single, backend), run(single), exact, strict=True):
            assert relative_rmse(value, wanted) <= max(2e-6, 3 * relative_rmse(loop, wanted))
    gradients = torch.autograd.grad(run(single, backend)[0].sum(), single)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@every_backend
def test_a_state_that_overflowed_does_not_pass_a_reset(backend):
    u, dt, A, B, C, h0 = (tensor.detach() for tensor in arguments(1, 12))
    reset = torch.zeros(1, 12, dtype=torch.bool)
    reset[0, 5] = True
    y, last = run((u, dt, A, B, C, torch.full_like(h0, torch.inf)), backend, reset=reset)
    assert not torch.isfinite(y[:, :5]).any()
    wanted = run((u[:, 5:], dt[:, 5:], A, B[:, 5:], C[:, 5:], None))
    assert_same((y[:, 5:], last), wanted)


@every_backend
@pytest.mark.parametrize("groups", [None, 2])
def test_gradcheck(groups, backend):
    inputs = arguments(2, 7, 4, 2, groups=groups)
    options = {"reset": resets(2, 7), "lengths": torch.tensor([7, 4])}
    assert torch.autograd.gradcheck(lambda *tensors: run(tensors, backend, **options), inputs)


@given(length=st.integers(2, 70), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_stream_in_two_chunks(length, data):
    split, backend = data.draw(st.integers(1, length - 1)), data.draw(st.sampled_from(FAST))
    u, dt, A, B, C, h0 = (x.detach() for x in arguments(2, length))
    reset = resets(2, length, 0.1)
    whole = run((u, dt, A, B, C, h0), backend, reset=reset)
    early, late = slice(None, split), slice(split, None)
    first, state = run(
        (u[:, early], dt[:, early], A, B[:, early], C[:, early], h0), backend, reset=reset[:, early]
    )
    second, last = run(
        (u[:, late], dt[:, late], A, B[:, late], C[:, late], state), backend, reset=reset[:, late]
    )
    assert_same((torch.cat([first, second], 1), last), whole)


@every_backend
def test_mambapy_agrees(backend):
    pscan = pytest.importorskip("mambapy.pscan").pscan
    u, dt, A, B, C, _ = (x.detach() for x in arguments(2, 64, 8, 4, dtype=torch.float32))
    states = pscan(torch.exp(dt.unsqueeze(-1) * A), (dt * u).unsqueeze(-1) * B.unsqueeze(2))
    theirs = (states @ C.unsqueeze(-1)).squeeze(-1)
    assert_same(run((u, dt, A, B, C, None), backend), (theirs, states[:, -1]), 2e-6)


def test_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(threads, "GRAIN", 1)
    inputs, options = arguments(3, 70, 150, 4, dtype=torch.float32), {"reset": resets(3, 70, 0.05)}
    runs = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        try:
            runs.append(results(inputs, "cpu", **options))
        finally:
            torch.set_num_threads(1)
    for other in runs[1:]:
        assert all(torch.equal(one, two) for one, two in zip(runs[0], other, strict=True))


def test_nothing_of_the_size_of_all_states_is_kept():
    inputs = arguments(1, 320, 8, 4, dtype=torch.float32)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        run(inputs, "cpu")
    assert max(sizes) <= 320 * 8


def test_compiled_graph_gives_the_eager_result():
    inputs, reset = arguments(1, 6), resets(1, 6)

    def loss(u, dt, A, B, C, h0):
        y, last = selective_scan(u, dt, A, B, C, h0=h0, reset=reset)
        return y.sin().sum() + last.sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), loss(*inputs))
    eager = torch.autograd.grad(loss(*inputs), inputs)
    assert_same(torch.autograd.grad(compiled(*inputs), inputs), eager)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs), loss(*inputs))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@every_backend
@pytest.mark.parametrize("softplus", [False, True])
def test_the_registered_node_is_sound(softplus, backend):
    u, dt, A, B, C, h0 = arguments(2, 5, groups=2, dtype=torch.float32)
    node, cut = torch.ops.statewise.selective_scan.default, resets(2, 5)
    torch.library.opcheck(node, (u, dt, A, B, C, h0, cut, 2, True, softplus, backend))
    torch.library.opcheck(node, (u, dt, A, B, C, None, None, 8, True, softplus, backend))
    inputs = [x.detach() for x in (u, dt, A, B, C)]
    torch.library.opcheck(node, (*inputs, None, None, 8, False, softplus, backend))


@every_backend
def test_arguments_in_any_memory_layout(backend):
    inputs = arguments(2, 9)
    strided = [x.detach().transpose(0, 1).contiguous().transpose(0, 1) for x in inputs]
    assert_same(run(strided, backend), run(inputs))


@every_backend
def test_one_output_alone_can_be_differentiated(backend):
    inputs = arguments(1, 9)
    for index in (0, 1):
        wanted = torch.autograd.grad(
            run(inputs)[index].sum(), inputs, allow_unused=True, materialize_grads=True
        )
        assert_same(torch.autograd.grad(run(inputs, backend)[index].sum(), inputs), wanted)


def test_half_precision_is_computed_in_single():
    inputs = [tensor.detach().bfloat16() for tensor in arguments(1, 5)]
    y, last = run(inputs, "cpu")
    assert y.dtype == last.dtype == torch.float32
    assert_same((y, last), run([tensor.float() for tensor in inputs], "cpu"), 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt": torch.zeros(2, 5, 3)}, "'dt' has the wrong shape"),
        ({"A": torch.zeros(3, 4)}, "'A' has the wrong shape"),
        ({"B": torch.zeros(2, 5, 3)}, "'B' has the wrong shape"),
        ({"B": torch.zeros(2, 5, 4, 3), "C": torch.zeros(2, 5, 4, 3)}, "'B' has the wrong shape"),
        ({"C": torch.zeros(2, 5, 2, 3)}, "'C' has the wrong shape"),
        ({"D": torch.zeros(5)}, "'D' has the wrong shape"),
        ({"z": torch.zeros(2, 5)}, "'z' has the wrong shape"),
        ({"dt_bias": torch.zeros(1)}, "'dt_bias' has the wrong shape"),
        ({"h0": torch.zeros(2, 4, 6)}, "'h0' has the wrong shape"),
        ({"reset": torch.zeros(2, 5)}, "'reset' has the wrong dtype"),
        ({"lengths": torch.zeros(3, dtype=torch.long)}, "'lengths' has the wrong shape"),
        ({"u": torch.zeros(2, 5, 6, dtype=torch.long)}, "'u' has the wrong dtype"),
        ({"A": torch.zeros(6, 4, dtype=torch.complex64)}, "'A' has the wrong dtype"),
        ({"u": torch.zeros(2, 5)}, "'u' has the wrong shape"),
    ],
)
def test_errors_name_the_argument(change, message):
    u, maps = torch.zeros(2, 5, 6), torch.zeros(2, 5, 4)
    given = {"u": u, "dt": u, "A": torch.zeros(6, 4), "B": maps, "C": maps}
    with pytest.raises(UserError, match=message):
        selective_scan(**given | change)
