"""`scan2d` and `scan2d_edges`: every backend and gradient against the double loop."""

from __future__ import annotations

import pytest
import torch

from statewise.core.errors import UserError
from statewise.core.ops.dispatch import use_backend
from statewise.core.ops.scan2d import scan2d
from statewise.core.ops.scan2d_edges import scan2d_edges

GRIDS = [(2, 3, 5, 4), (1, 1, 1, 1), (2, 1, 4, 3), (3, 4, 1, 2), (1, 7, 6, 33)]


def node_inputs(batch, rows, columns, width, dtype=torch.float64):
    make = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=make, dtype=torch.float64).to(dtype).requires_grad_()

    grid = (batch, rows, columns, width)
    return draw(*grid), draw(*grid), draw(*grid), draw(batch, columns, width), draw(batch, rows, width)


def edge_inputs(batch, rows, columns, gates, inner, dtype=torch.float64):
    make = torch.Generator().manual_seed(2)

    def draw(*shape):
        return (torch.randn(*shape, generator=make, dtype=torch.float64) / 2).to(dtype).requires_grad_()

    return (
        draw(batch, rows, columns, 4, gates),
        draw(batch, rows, columns, 2, gates, *inner),
        draw(batch, columns, gates, *inner),
        draw(batch, rows, gates, *inner),
    )


def values_and_gradients(op, inputs, backend, **settings):
    """Outputs and gradients under a fixed cotangent for every output."""
    with use_backend(backend):
        outputs = op(*inputs, **settings)
        cotangents = [
            torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape) for out in outputs
        ]
        gradients = torch.autograd.grad(outputs, inputs, cotangents)
    return [*outputs, *gradients]


def relative_error(value, exact):
    return float(
        (value.detach().double() - exact.detach().double()).norm() / exact.detach().norm().clamp_min(1e-30)
    )


@pytest.mark.parametrize("backend", ["portable", "cpu"])
@pytest.mark.parametrize("grid", GRIDS)
def test_scan2d_equals_the_double_loop(grid, backend):
    inputs = node_inputs(*grid)
    exact = values_and_gradients(scan2d, inputs, "reference")
    for value, wanted in zip(values_and_gradients(scan2d, inputs, backend), exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["portable", "cpu"])
@pytest.mark.parametrize("inner", [(), (3, 2)], ids=["elementwise", "matrix"])
@pytest.mark.parametrize("grid", GRIDS)
def test_scan2d_edges_equals_the_double_loop(grid, inner, backend):
    inputs = edge_inputs(*grid, inner)
    exact = values_and_gradients(scan2d_edges, inputs, "reference")
    for value, wanted in zip(values_and_gradients(scan2d_edges, inputs, backend), exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["portable", "cpu"])
def test_float32_is_as_exact_as_the_loop(backend):
    down, right, x, row, column = node_inputs(2, 24, 20, 16)
    inputs = ((down.detach() / 4).requires_grad_(), (right.detach() / 4).requires_grad_(), x, row, column)
    exact = values_and_gradients(scan2d, inputs, "reference")
    single = tuple(tensor.detach().float().requires_grad_() for tensor in inputs)
    loop = values_and_gradients(scan2d, single, "reference")
    for value, rival, wanted in zip(values_and_gradients(scan2d, single, backend), loop, exact, strict=True):
        assert value.dtype == torch.float32
        assert relative_error(value, wanted) <= max(2e-6, 3 * relative_error(rival, wanted))


def test_gradcheck():
    assert torch.autograd.gradcheck(scan2d, node_inputs(1, 3, 2, 2))
    assert torch.autograd.gradcheck(scan2d_edges, edge_inputs(1, 2, 3, 2, (2,)))


@pytest.mark.parametrize("backend", ["reference", "portable", "cpu"])
def test_reset_equals_separate_grids(backend):
    down, right, x, row, column = node_inputs(2, 6, 3, 4)
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[:, 4] = True
    with use_backend(backend):
        whole, _, _ = scan2d(down, right, x, row, column, reset=reset)
        first, _, _ = scan2d(down[:, :4], right[:, :4], x[:, :4], row, column[:, :4])
        second, _, _ = scan2d(down[:, 4:], right[:, 4:], x[:, 4:], None, column[:, 4:])
    torch.testing.assert_close(whole, torch.cat([first, second], 1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["reference", "portable", "cpu"])
def test_reset_of_edges_equals_separate_grids(backend):
    t, s, top, left = edge_inputs(2, 5, 3, 2, (3,))
    reset = torch.zeros(2, 5, dtype=torch.bool)
    reset[:, 2] = True
    with use_backend(backend):
        whole, _, _ = scan2d_edges(t, s, top, left, reset=reset)
        first, _, _ = scan2d_edges(t[:, :2], s[:, :2], top, left[:, :2])
        second, _, _ = scan2d_edges(t[:, 2:], s[:, 2:], None, left[:, 2:])
    torch.testing.assert_close(whole, torch.cat([first, second], 1), rtol=0, atol=1e-14)


def test_rows_in_chunks_equal_the_whole_grid():
    down, right, x, row, column = node_inputs(2, 7, 3, 4)
    whole, last_row, last_column = scan2d(down, right, x, row, column)
    first, state, column_1 = scan2d(down[:, :3], right[:, :3], x[:, :3], row, column[:, :3])
    second, state, column_2 = scan2d(down[:, 3:], right[:, 3:], x[:, 3:], state, column[:, 3:])
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(state, last_row, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.cat([column_1, column_2], 1), last_column, rtol=0, atol=1e-14)


def test_one_dimensional_grids_equal_a_filter():
    signal = pytest.importorskip("scipy.signal")
    x = torch.randn(1, 50, 1, 1, dtype=torch.float64)
    h, _, _ = scan2d(torch.tensor(0.9, dtype=x.dtype), torch.tensor(0.5), x)
    expected = signal.lfilter([1.0], [1.0, -0.9], x.flatten().numpy())
    torch.testing.assert_close(h.flatten(), torch.from_numpy(expected))
    h, _, _ = scan2d(torch.tensor(0.5), torch.tensor(0.9, dtype=x.dtype), x.transpose(1, 2))
    torch.testing.assert_close(h.flatten(), torch.from_numpy(expected))


def test_chimera_as_edges_equals_its_node_recurrence():
    """h1[v,t] = A1 h1[v,t-1] + A2 h2[v,t-1] + u1;  h2[v,t] = A3 h1[v-1,t] + A4 h2[v-1,t] + u2."""
    times, variates, width = 5, 4, 3
    a = torch.rand(4, times + 1, variates + 1, width, dtype=torch.float64) / 2
    u = torch.randn(2, times, variates, width, dtype=torch.float64)
    h1 = torch.zeros(times + 1, variates + 1, width, dtype=torch.float64)
    h2 = torch.zeros_like(h1)  # index 0 is the boundary
    for i in range(1, times + 1):
        for j in range(1, variates + 1):
            h1[i, j] = u[0, i - 1, j - 1]
            h2[i, j] = u[1, i - 1, j - 1]
            if i > 1:
                h1[i, j] += a[0, i - 1, j - 1] * h1[i - 1, j] + a[1, i - 1, j - 1] * h2[i - 1, j]
            if j > 1:
                h2[i, j] += a[2, i - 1, j - 1] * h1[i, j - 1] + a[3, i - 1, j - 1] * h2[i, j - 1]
    ahead_in_time, ahead_in_variates = a[:, 1:, :-1], a[:, :-1, 1:]
    t = torch.stack([ahead_in_time[0], ahead_in_variates[2], ahead_in_time[1], ahead_in_variates[3]], 2)[None]
    s = torch.stack(
        [t[0, :, :, 0] * u[0] + t[0, :, :, 2] * u[1], t[0, :, :, 1] * u[0] + t[0, :, :, 3] * u[1]], 2
    )[None]
    edges, _, _ = scan2d_edges(t, s)
    entering = torch.cat([torch.zeros_like(edges[:, :1, :, 0]), edges[:, :-1, :, 0]], 1)[0]
    torch.testing.assert_close(entering + u[0], h1[1:, 1:])


@pytest.mark.parametrize("op", ["nodes", "edges"])
def test_same_bits_for_any_number_of_threads(op):
    inputs = (
        node_inputs(4, 16, 16, 96, torch.float32)
        if op == "nodes"
        else edge_inputs(4, 16, 16, 6, (16,), torch.float32)
    )
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append(values_and_gradients(scan2d if op == "nodes" else scan2d_edges, inputs, "cpu"))
        finally:
            torch.set_num_threads(1)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_compiled_graph_gives_the_eager_result():
    inputs = node_inputs(1, 3, 4, 2)
    compiled = torch.compile(lambda *tensors: scan2d(*tensors)[0].sin(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), scan2d(*inputs)[0].sin())


def test_errors_name_the_argument():
    down, right, x, row, column = node_inputs(2, 3, 4, 5)
    with pytest.raises(UserError, match="'row' has the wrong shape"):
        scan2d(down, right, x, column, column)
    with pytest.raises(UserError, match=r"'down'.*\n.*\n.*broadcastable"):
        scan2d(row, right, x)
    with pytest.raises(UserError, match="'reset' has the wrong dtype"):
        scan2d(down, right, x, reset=torch.zeros(2, 3))
    with pytest.raises(UserError, match="'transitions'"):
        scan2d_edges(down, x)
