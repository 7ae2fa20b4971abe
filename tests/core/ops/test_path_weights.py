"""`path_weights`: every backend and gradient against the double loop, and against sums over paths."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from statewise.core.errors import UserError
from statewise.core.ops import path_weights, use_backend
from tests.core.ops.grid_ops import equal_bits_on_two_threads, relative_error, value_and_gradients

GRIDS = [(2, 3, 5, 2), (1, 1, 1, 1), (2, 1, 4, 3), (3, 4, 1, 2), (1, 6, 7, 5)]


def gates(batch, rows, columns, heads, dtype=torch.float64):
    make = torch.Generator().manual_seed(3)

    def draw(count):
        drawn = torch.randn(batch, rows, columns, count, 4, heads, generator=make, dtype=torch.float64)
        return (drawn / 2).to(dtype).requires_grad_()

    return draw(4), draw(2), draw(2)


@pytest.mark.parametrize("backend", ["portable", "cpu"])
@pytest.mark.parametrize("grid", GRIDS)
def test_equals_the_double_loop(grid, backend):
    inputs = gates(*grid)
    exact = value_and_gradients(path_weights, inputs, "reference")
    for value, wanted in zip(value_and_gradients(path_weights, inputs, backend), exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "portable", "cpu"])
def test_gates_of_one_count_paths(backend):
    """With all gates 1 and x edges alone fed and read, a weight counts paths that start and end downwards."""
    rows, columns = 4, 5
    t = torch.ones(1, rows, columns, 4, 4, 1, dtype=torch.float64)
    only_x = torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None, None].expand(1, rows, columns, 2, 4, 1)
    with use_backend(backend):
        weights = path_weights(t, only_x, only_x)[0, 0].view(rows, columns, rows, columns)
    for (i, j), (k, n) in product(product(range(rows), range(columns)), repeat=2):
        down, right = abs(i - k), abs(j - n)
        between = math.comb(down - 2 + right, right) if down > 1 else int(down == 1 and right == 0)
        orientations = 2 if right == 0 else 1  # two agree where a node lies straight ahead
        assert weights[i, j, k, n] == orientations * between


def test_float32_is_as_exact_as_the_loop():
    inputs = gates(2, 9, 10, 2)
    single = tuple(tensor.detach().float().requires_grad_() for tensor in inputs)
    exact = value_and_gradients(path_weights, inputs, "reference")
    loop = value_and_gradients(path_weights, single, "reference")
    for value, rival, wanted in zip(
        value_and_gradients(path_weights, single, "cpu"), loop, exact, strict=True
    ):
        assert value.dtype == torch.float32
        assert relative_error(value, wanted) <= max(2e-6, 3 * relative_error(rival, wanted))


def test_gradcheck():
    assert torch.autograd.gradcheck(path_weights, gates(1, 3, 2, 2))


def test_same_bits_for_any_number_of_threads():
    assert equal_bits_on_two_threads(path_weights, gates(8, 8, 8, 4, torch.float32))


def test_compiled_graph_gives_the_eager_result():
    inputs = gates(1, 3, 4, 2)
    compiled = torch.compile(lambda *given: path_weights(*given).sin(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), path_weights(*inputs).sin())


def test_errors_name_the_argument():
    t, s, m = gates(1, 2, 3, 2)
    with pytest.raises(UserError, match="'transitions' has the wrong shape"):
        path_weights(s, s, m)
    with pytest.raises(UserError, match="'marks' has the wrong shape"):
        path_weights(t, s, m[:, :1])
    with pytest.raises(UserError, match="'transitions' has the wrong dtype"):
        path_weights(t.to(torch.complex128), s, m)
