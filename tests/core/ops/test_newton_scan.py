"""`newton_scan` against the loop: values, gradients, resets, ends, and what does not converge."""

from __future__ import annotations

import logging

import pytest
import torch

from statewise.core.errors import UserError
from statewise.core.ops.dispatch import use_backend
from statewise.core.ops.rnn_scan import CELLS, rnn_scan
from statewise.core.ops.rnn_scan.newton import newton_scan

DIAGONAL = [name for name, cell in CELLS.items() if cell.diagonal]


def inputs_of(cell, batch, length, width, scale=1.0, dtype=torch.float64):
    make = torch.Generator().manual_seed(4)

    def draw(*shape):
        return (scale * torch.randn(*shape, generator=make, dtype=torch.float64)).to(dtype).requires_grad_()

    kind = CELLS[cell]
    state = tuple(draw(batch, width) for _ in range(kind.states))
    return draw(batch, length, kind.gates * width), draw(kind.gates, width), state


def gradients(y, final, leaves):
    outputs = [y, *final]
    cotangents = [torch.cos(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape) for out in outputs]
    return torch.autograd.grad(outputs, leaves, cotangents)


@pytest.mark.parametrize("shape", [(2, 33, 3), (3, 1, 2), (1, 8, 1)], ids=str)
@pytest.mark.parametrize("cell", DIAGONAL)
def test_equals_the_loop(cell, shape):
    x, weight, state = inputs_of(cell, *shape)
    batch, length = shape[:2]
    reset = torch.zeros(batch, length, dtype=torch.bool)
    reset[0, 0] = reset[-1, length // 2] = reset[-1, length - 1] = True
    lengths = torch.arange(batch) * length // batch
    for settings in ({}, {"reset": reset}, {"lengths": lengths}, {"reset": reset, "lengths": lengths}):
        with use_backend("portable"):
            result = newton_scan(cell, x, weight, state, **settings)
            y, final = rnn_scan(cell, x, weight, state, **settings)
            assert result.converged
            leaves = [x, weight, *state]
            found, wanted = gradients(result.y, result.state, leaves), gradients(y, final, leaves)
        torch.testing.assert_close((result.y, result.state), (y, final), rtol=0, atol=1e-12)
        for value, exact in zip(found, wanted, strict=True):
            torch.testing.assert_close(value, exact, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("cell", DIAGONAL)
def test_a_few_iterations_solve_hundreds_of_steps_in_float32(cell):
    x, weight, _ = inputs_of(cell, 2, 300, 4, dtype=torch.float32)
    with use_backend("portable"):
        result = newton_scan(cell, x, weight)
        y, _ = rnn_scan(cell, x, weight)
    assert result.converged
    assert 0 < result.iterations <= 12
    torch.testing.assert_close(result.y, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", DIAGONAL)
def test_the_loop_takes_over_where_newton_does_not_converge(cell, caplog):
    x, weight, state = inputs_of(cell, 2, 40, 3, scale=4.0)
    with use_backend("portable"), caplog.at_level(logging.WARNING, logger="statewise"):
        result = newton_scan(cell, x, weight, state, iterations=1)
        y, final = rnn_scan(cell, x, weight, state)
    assert not result.converged
    assert result.residual > 0
    assert "the loop takes over" in caplog.text
    torch.testing.assert_close((result.y, result.state), (y, final), rtol=0, atol=0)


def test_dense_cells_are_refused():
    with pytest.raises(UserError, match="diagonal cell"):
        newton_scan("lstm", torch.zeros(1, 2, 4), torch.zeros(1, 4, 1))
