"""`scan2d_matrix`: every backend and gradient against the double loop, and against all pairs."""

from __future__ import annotations

import pytest
import torch

from statewise.core.errors import UserError
from statewise.core.ops import path_weights, scan2d_matrix, use_backend
from tests.core.ops.grid_ops import equal_bits_on_two_threads, relative_error, value_and_gradients

GRIDS = [
    (2, 3, 5, 2, 3, 4),  # batch, rows, columns, heads, keys, values
    (1, 1, 1, 1, 1, 1),
    (2, 1, 4, 3, 5, 2),
    (3, 4, 1, 2, 2, 5),
    (1, 9, 7, 2, 40, 33),  # more than a vector of keys and of values, several strips
]


def draw(batch, rows, columns, heads, keys, values, dtype=torch.float64):
    make = torch.Generator().manual_seed(3)

    def one(*shape):
        drawn = torch.randn(batch, rows, columns, *shape, generator=make, dtype=torch.float64)
        return (drawn / 2).to(dtype).requires_grad_()

    states = one(heads, keys), one(heads, keys), one(heads, values)
    return *states, one(4, 4, heads), one(2, 4, heads), one(2, 4, heads)


@pytest.mark.parametrize("backend", ["portable", "cpu"])
@pytest.mark.parametrize("grid", GRIDS)
def test_equals_the_double_loop(grid, backend):
    inputs = draw(*grid)
    exact = value_and_gradients(scan2d_matrix, inputs, "reference")
    for value, wanted in zip(value_and_gradients(scan2d_matrix, inputs, backend), exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "portable", "cpu"])
def test_equals_the_weights_of_all_pairs(backend):
    q, k, v, *gates = draw(2, 4, 6, 2, 3, 5)
    with use_backend(backend):
        read = scan2d_matrix(q, k, v, *gates)
    queries, keys, values = (part.flatten(1, 2).transpose(1, 2) for part in (q, k, v))
    wanted = (queries @ keys.transpose(-1, -2) * path_weights(*gates)) @ values
    torch.testing.assert_close(read.flatten(1, 2).transpose(1, 2), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["portable", "cpu"])
def test_no_node_reads_itself_and_all_read_all_others(backend):
    q, k, v, *gates = draw(1, 3, 4, 1, 2, 2)
    with use_backend(backend):
        read = scan2d_matrix(q, k, v, *gates)
    for i, j in ((0, 0), (1, 2), (2, 3)):
        (reached,) = torch.autograd.grad(read[0, i, j].sum(), v, retain_graph=True)
        unread = reached[0, ..., 0, :].abs().sum(-1) == 0
        assert unread.nonzero().tolist() == [[i, j]]


@pytest.mark.parametrize("size", [1, 5, 16, 33])
def test_blocks_of_any_size_give_the_same(size, monkeypatch):
    from statewise.core.ops.scan2d_matrix import cpu

    monkeypatch.setattr(cpu, "CACHED", 1)
    monkeypatch.setattr(cpu, "LEAST_BLOCK", size)
    inputs = draw(1, 5, 3, 1, 33, 17)
    exact = value_and_gradients(scan2d_matrix, inputs, "reference")
    for value, wanted in zip(value_and_gradients(scan2d_matrix, inputs, "cpu"), exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)


def test_float32_is_as_exact_as_the_loop():
    inputs = draw(2, 9, 10, 2, 8, 9)
    single = tuple(tensor.detach().float().requires_grad_() for tensor in inputs)
    exact = value_and_gradients(scan2d_matrix, inputs, "reference")
    loop = value_and_gradients(scan2d_matrix, single, "reference")
    for value, rival, wanted in zip(
        value_and_gradients(scan2d_matrix, single, "cpu"), loop, exact, strict=True
    ):
        assert value.dtype == torch.float32
        assert relative_error(value, wanted) <= max(2e-6, 3 * relative_error(rival, wanted))


def test_gradcheck():
    assert torch.autograd.gradcheck(scan2d_matrix, draw(1, 3, 2, 1, 2, 2))


def test_same_bits_for_any_number_of_threads():
    assert equal_bits_on_two_threads(scan2d_matrix, draw(4, 6, 6, 2, 16, 40, torch.float32))


def test_compiled_graph_gives_the_eager_result():
    inputs = draw(1, 3, 4, 2, 3, 2)
    compiled = torch.compile(lambda *given: scan2d_matrix(*given).sin(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), scan2d_matrix(*inputs).sin())


def test_errors_name_the_argument():
    q, k, v, t, s, m = draw(1, 2, 3, 2, 4, 5)
    for given, piece in (
        ((q[0], k, v, t, s, m), "'queries' has the wrong shape"),
        ((q, v, v, t, s, m), "'keys' has the wrong shape"),
        ((q, k, v[:, :1], t, s, m), "'values' has the wrong shape"),
        ((q, k, v, s, s, m), "'transitions' has the wrong shape"),
        ((q, k, v, t, s, m[:, :1]), "'marks' has the wrong shape"),
        ((q.to(torch.complex128), k, v, t, s, m), "has the wrong dtype"),
    ):
        with pytest.raises(UserError, match=piece):
            scan2d_matrix(*given)
