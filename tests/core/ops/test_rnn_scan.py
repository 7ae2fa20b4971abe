"""`rnn_scan`: every cell on every backend against its equations, and against torch's own LSTM and GRU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from statewise.core.errors import UserError
from statewise.core.ops import threads
from statewise.core.ops.dispatch import use_backend
from statewise.core.ops.rnn_scan import CELLS, rnn_scan

DENSE = [name for name, cell in CELLS.items() if not cell.diagonal]


def inputs_of(cell, batch, length, heads, width, dtype=torch.float64):
    make = torch.Generator().manual_seed(3)
    kind = CELLS[cell]
    channels = heads * width

    def draw(*shape, scale=1.0):
        value = torch.randn(*shape, generator=make, dtype=torch.float64) * scale
        return value.to(dtype).requires_grad_()

    shape = (kind.gates, channels) if kind.diagonal else (heads, kind.gates * width, width)
    state = [draw(batch, channels) for _ in range(kind.states)]
    if (
        cell == "slstm"
    ):  # a state that the cell can reach: a positive normaliser, a stabiliser without gradient
        state[2] = (state[2].detach().abs() + 1).requires_grad_()
        state[3] = state[3].detach()
    bias = None if kind.diagonal else draw(kind.gates * channels)
    return draw(batch, length, kind.gates * channels), draw(*shape, scale=width**-0.5), tuple(state), bias


def values_and_gradients(cell, inputs, backend, **settings):
    x, weight, state, bias = inputs
    with use_backend(backend):
        y, final = rnn_scan(cell, x, weight, state, bias=bias, **settings)
    leaves = [tensor for tensor in (x, weight, bias, *state) if tensor is not None and tensor.requires_grad]
    outputs = [tensor for tensor in (y, *final) if tensor.requires_grad]
    cotangents = [torch.cos(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape) for out in outputs]
    return [y, *final, *torch.autograd.grad(outputs, leaves, cotangents)]


def relative_error(value, exact):
    difference = value.detach().double() - exact.detach().double()
    return float(difference.norm() / exact.detach().norm().clamp_min(1e-30))


@pytest.mark.parametrize("backend", ["portable", "cpu"])
@pytest.mark.parametrize("shape", [(2, 7, 1, 5), (3, 5, 2, 4), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_equals_the_loop(cell, shape, backend):
    inputs = inputs_of(cell, *shape)
    batch, length = shape[:2]
    reset = torch.zeros(batch, length, dtype=torch.bool)
    reset[0, 0] = reset[-1, length // 2] = True
    lengths = torch.arange(batch, 0, -1).clamp(max=length)
    for settings in ({}, {"reset": reset}, {"reset": reset, "lengths": lengths}):
        exact = values_and_gradients(cell, inputs, "reference", **settings)
        for value, wanted in zip(values_and_gradients(cell, inputs, backend, **settings), exact, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_float32_is_as_exact_as_the_loop(cell):
    inputs = inputs_of(cell, 2, 33, 1, 20)
    exact = values_and_gradients(cell, inputs, "reference")
    x, weight, state, bias = inputs

    def single(tensor):
        return None if tensor is None else tensor.detach().float().requires_grad_(tensor.requires_grad)

    inputs = single(x), single(weight), tuple(single(part) for part in state), single(bias)
    loop = values_and_gradients(cell, inputs, "reference")
    fast = values_and_gradients(cell, inputs, "cpu")
    for value, rival, wanted in zip(fast, loop, exact, strict=True):
        assert value.dtype == torch.float32
        assert relative_error(value, wanted) <= max(2e-6, 3 * relative_error(rival, wanted))


@pytest.mark.parametrize("backend", ["reference", "portable", "cpu"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_equals_torch(cell, backend):
    theirs = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](6, 5, batch_first=True).double()
    u = torch.randn(3, 11, 6, dtype=torch.float64)
    expected, _ = theirs(u)
    x = u @ theirs.weight_ih_l0.T + theirs.bias_ih_l0
    with use_backend(backend):
        y, _ = rnn_scan(cell, x, theirs.weight_hh_l0[None], bias=theirs.bias_hh_l0)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_and_resets(cell):
    x, weight, _, bias = inputs_of(cell, 2, 9, 1, 4)
    whole, final = rnn_scan(cell, x, weight, bias=bias)
    first, state = rnn_scan(cell, x[:, :4], weight, bias=bias)
    second, state = rnn_scan(cell, x[:, 4:], weight, state, bias=bias)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    for part, wanted in zip(state, final, strict=True):
        torch.testing.assert_close(part, wanted)
    reset = torch.zeros(2, 9, dtype=torch.bool)
    reset[:, 4] = True
    cut, _ = rnn_scan(cell, x, weight, bias=bias, reset=reset)
    fresh, _ = rnn_scan(cell, x[:, 4:], weight, bias=bias)
    torch.testing.assert_close(cut, torch.cat([first, fresh], 1))


def test_slstm_survives_gates_that_overflow_an_exponential():
    x = torch.zeros(1, 6, 4, 3)
    x[:, :, 0] = torch.tensor([-300.0, 200.0, 90.0])
    x[:, :, 1] = torch.tensor([300.0, -300.0, 0.0])
    x[:, :, 2] = 0.7
    x = x.flatten(2).requires_grad_()
    weight = torch.zeros(1, 12, 3)
    y, _ = rnn_scan("slstm", x, weight)
    exact, _ = rnn_scan("slstm", x.double(), weight.double())
    torch.testing.assert_close(y.double(), exact, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck(cell):
    x, weight, state, bias = inputs_of(cell, 1, 3, 1, 2)
    leaves = [x, weight, *(part for part in state if part.requires_grad)]

    def run(x, weight, *parts):
        given = iter(parts)
        full = tuple(next(given) if part.requires_grad else part for part in state)
        y, _ = rnn_scan(cell, x, weight, full, bias=bias)
        return y

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("backend", ["portable", "cpu"])
def test_compiled_graph_gives_the_eager_result(backend):
    x, weight, state, bias = inputs_of("lstm", 2, 5, 1, 3)

    def run(x):
        return rnn_scan("lstm", x, weight, state, bias=bias)[0]

    torch.compiler.reset()
    with use_backend(backend):
        compiled, eager = torch.compile(run, backend="aot_eager", fullgraph=True)(x), run(x)
        torch.testing.assert_close(compiled, eager)
        slopes = [torch.autograd.grad(y.sin().sum(), (x, weight)) for y in (compiled, eager)]
    torch.testing.assert_close(*slopes)


def test_errors_name_the_argument():
    x, weight, state, bias = inputs_of("lstm", 2, 5, 1, 3)
    with pytest.raises(UserError, match="did you mean 'lstm'"):
        rnn_scan("lsmt", x, weight)
    with pytest.raises(UserError, match="'x' has the wrong shape"):
        rnn_scan("lstm", x[..., :-1], weight)
    with pytest.raises(UserError, match="'weight' has the wrong shape"):
        rnn_scan("lstm", x, weight[:, :-1])
    with pytest.raises(UserError, match="2 tensors"):
        rnn_scan("lstm", x, weight, state[:1], bias=bias)


@pytest.mark.parametrize("cell", ["lstm", "gru", "diag-lstm"])
def test_same_bits_for_any_number_of_threads_and_any_company(cell, monkeypatch):
    """Rows are taken eight, four or one at a time: their results do not tell."""
    monkeypatch.setattr(threads, "GRAIN", 1)
    x, weight, state, bias = inputs_of(cell, 13, 9, 1 if CELLS[cell].diagonal else 2, 20, torch.float32)
    reset = torch.rand(13, 9, generator=torch.Generator().manual_seed(5)) < 0.2
    outcomes = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            outcomes.append(values_and_gradients(cell, (x, weight, state, bias), "cpu", reset=reset))
    finally:
        torch.set_num_threads(1)
    for outcome in outcomes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcomes[0], outcome, strict=True))
    few = (x[:2], weight, tuple(part[:2] for part in state), bias)
    y, *_ = values_and_gradients(cell, few, "cpu", reset=reset[:2])
    assert torch.equal(y, outcomes[0][0][:2])


def test_gradient_of_a_small_matrix_over_many_steps_writes_nothing_else():
    """Three gates of four units over 300 rows: the room of a strip is full, and its last row is a part."""
    pytest.importorskip("numba")
    from statewise.core.ops.rnn_scan import cpu, cpu_product

    batch, units, gates, margin = 300, 4, 12, 4096

    def guarded(tensor: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        whole = np.full(tensor.numel() + 2 * margin, 7.0, np.float32)
        inner = whole[margin : margin + tensor.numel()].reshape(tuple(tensor.shape))
        inner[...] = tensor.numpy()
        return whole, inner

    generator = torch.Generator().manual_seed(0)
    dz = torch.randn(batch, 1, 1, 3, units, generator=generator)
    hidden = torch.randn(1, batch, units, generator=generator)
    tensors = (dz, cpu_product.packed(hidden), torch.zeros(1, gates, units), torch.zeros(1, cpu_product.ROOM))
    pairs = [guarded(tensor) for tensor in tensors]
    cpu._weight_gradient(*(inner for _, inner in pairs), 0, 1)
    for whole, _ in pairs:
        assert (whole[:margin] == 7.0).all()
        assert (whole[-margin:] == 7.0).all()
    expected = torch.einsum("blhgw,hbv->gwv", dz, hidden).reshape(1, gates, units)
    np.testing.assert_allclose(pairs[2][1], expected.numpy(), atol=1e-4)
