"""The diagonal cells for all steps at once: Newton's method over the whole sequence.

The states s_1 .. s_L of a cell solve s_t - f(x_t, s_{t-1}) = 0. With J_t the Jacobian of f in the state, a
Newton step from a guess s is

    new_t = J_t new_{t-1} + f(x_t, s_{t-1}) - J_t s_{t-1}

a linear recurrence, elementwise for diag-gru and in 2 x 2 blocks for diag-lstm. The first guess is the cell
on zero states. Danieli et al., "ParaRNN: Unlocking Parallel Training of Nonlinear RNNs for Large Language
Models", 2025.

At the solution one more such step, with J held constant, has the gradient of the loop: differentiating it
gives ds_t = J_t ds_{t-1} + df(x_t, .), which is the chain rule over time.

An iteration evaluates every step and scans, so on a CPU the loop wins; this form is for machines with far
more parallel units than channels, and for study.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from statewise.core.errors import UserError
from statewise.core.ops.arguments import state_dtype
from statewise.core.ops.linear_scan import linear_scan
from statewise.core.ops.rnn_scan import CELLS, rnn_scan
from statewise.core.ops.rnn_scan.cells import Cell

__all__ = ["NewtonResult", "newton_scan"]

_log = logging.getLogger("statewise")


class NewtonResult(NamedTuple):
    """What `newton_scan` returns."""

    y: Tensor
    """The outputs (B, L, D)."""
    state: tuple[Tensor, ...]
    """The state at each row's end, (B, D) tensors."""
    iterations: int
    """Newton steps taken before the last, differentiable one."""
    residual: float
    """The largest |s_t - f(x_t, s_{t-1})| after them."""
    converged: bool
    """False if the loop computed the result."""


@dataclass(frozen=True)
class _Problem:
    """The equations of one call. States are (B, L, S, D); the marks `cut` and `dead` (B, L, 1, 1)."""

    kind: Cell
    x: Tensor
    weight: Tensor
    first: Tensor
    cut: Tensor | None
    dead: Tensor | None

    def entering(self, states: Tensor) -> Tensor:
        """The states that enter each step, from those that leave it."""
        before = torch.cat([self.first[:, None], states[:, :-1]], 1)
        return before if self.cut is None else torch.where(self.cut, 0.0, before)

    def leaving(self, before: Tensor) -> Tensor:
        """The cell at every step, frozen in the padding."""
        parts = self.kind.step(self.x.flatten(0, 1), self.weight, before.flatten(0, 1).unbind(1))
        after = torch.stack(parts, 1).unflatten(0, before.shape[:2])
        return after if self.dead is None else torch.where(self.dead, before, after)

    def jacobian(self, before: Tensor) -> Tensor:
        """The gradient of each state that leaves in each that enters, (B, L, S, S, D), zero at resets."""
        with torch.enable_grad():
            leaf = before.detach().requires_grad_()
            after = self.leaving(leaf)
            # No unit sees another, so one pass for all units gives the gradient of each in itself.
            rows = [torch.autograd.grad(part.sum(), leaf, retain_graph=True)[0] for part in after.unbind(2)]
        jacobian = torch.stack(rows, 2)
        return jacobian if self.cut is None else torch.where(self.cut[..., None], 0.0, jacobian)


def newton_scan(
    cell: str,
    x: Tensor,
    weight: Tensor,
    state: tuple[Tensor, ...] | None = None,
    *,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
    iterations: int = 20,
    tolerance: float | None = None,
) -> NewtonResult:
    """`rnn_scan` of a diagonal cell by Newton's method, by the loop where that does not converge.

    Args:
        cell: diag-gru or diag-lstm.
        x: as in `rnn_scan`, (B, L, 3*D).
        weight: a, (3, D).
        state: as in `rnn_scan`; None is zeros.
        reset: (B, L) bool.
        lengths: (B,) int.
        iterations: how many Newton steps to try.
        tolerance: the residual at which to stop; by default 64 roundings of a number of size one.

    Returns:
        The outputs and the final state, differentiable as those of `rnn_scan`, and how they were found.

    Raises:
        UserError: the cell is not diagonal, or an argument does not fit.
    """
    if cell not in CELLS or not CELLS[cell].diagonal:
        names = ", ".join(name for name, kind in CELLS.items() if kind.diagonal)
        raise UserError("Newton's method needs a diagonal cell", where="cell", seen=cell, expected=names)
    problem = _problem(CELLS[cell], x, weight, state, reset, lengths)
    if tolerance is None:
        tolerance = 64 * torch.finfo(problem.x.dtype).eps
    guess, residual, steps = _iterate(problem, iterations, tolerance)
    if not residual <= tolerance:  # also when it is NaN
        _log.warning("newton_scan: residual %.1e after %d iterations; the loop takes over", residual, steps)
        y, last = rnn_scan(cell, x, weight, state, reset=reset, lengths=lengths)
        return NewtonResult(y, last, steps, residual, converged=False)
    states = _newton_step(problem, guess)
    y = states[:, :, 0]
    if problem.dead is not None:
        y = torch.where(problem.dead[:, :, 0], 0.0, y)
    return NewtonResult(y, states[:, -1].unbind(1), steps, residual, converged=True)


def _problem(
    kind: Cell,
    x: Tensor,
    weight: Tensor,
    state: tuple[Tensor, ...] | None,
    reset: Tensor | None,
    lengths: Tensor | None,
) -> _Problem:
    dtype = state_dtype("newton_scan", ("x", x), ("weight", weight), *(("state", s) for s in state or ()))
    gates = x.to(dtype).unflatten(2, (kind.gates, -1))
    batch, length, _, channels = gates.shape
    first = (
        gates.new_zeros(batch, kind.states, channels) if state is None else torch.stack(state, 1).to(dtype)
    )
    dead = None
    if lengths is not None:
        dead = (torch.arange(length, device=x.device) >= lengths[:, None])[:, :, None, None]
    cut = None if reset is None else reset[:, :, None, None]
    if cut is not None and dead is not None:
        cut = cut & ~dead
    return _Problem(kind, gates, weight.to(dtype), first, cut, dead)


@torch.no_grad()
def _iterate(problem: _Problem, iterations: int, tolerance: float) -> tuple[Tensor, float, int]:
    """The states, the residual that is left, and the Newton steps taken."""
    batch, length = problem.x.shape[:2]
    zeros = problem.first.new_zeros(batch, length, *problem.first.shape[1:])
    guess, steps = problem.leaving(zeros), 0
    while True:
        residual = float((guess - problem.leaving(problem.entering(guess))).abs().max())
        if residual <= tolerance or steps == iterations or not residual < float("inf"):
            return guess, residual, steps
        guess, steps = _newton_step(problem, guess), steps + 1


def _newton_step(problem: _Problem, guess: Tensor) -> Tensor:
    """The next guess; its gradient holds the Jacobian and the guess constant."""
    before = problem.entering(guess.detach()).detach()
    jacobian = problem.jacobian(before)
    known = problem.leaving(before) - torch.einsum("blijd,bljd->blid", jacobian, before)
    if problem.first.shape[1] == 1:
        states, _ = linear_scan(jacobian[:, :, 0, 0], known[:, :, 0], problem.first[:, 0])
        return states[:, :, None]
    return _block_scan(jacobian, known, problem.first)


def _block_scan(blocks: Tensor, writes: Tensor, first: Tensor) -> Tensor:
    """s_t = blocks_t s_{t-1} + writes_t by doubling: blocks (B, L, S, S, D), writes (B, L, S, D)."""
    start = torch.einsum("bijd,bjd->bid", blocks[:, 0], first)
    states = torch.cat([writes[:, :1] + start[:, None], writes[:, 1:]], 1)
    span = 1
    while span < states.shape[1]:
        late = blocks[:, span:]
        carried = torch.einsum("blijd,bljd->blid", late, states[:, :-span])
        states = torch.cat([states[:, :span], states[:, span:] + carried], 1)
        joined = torch.einsum("blijd,bljkd->blikd", late, blocks[:, :-span])
        # The first steps reach back to the beginning: nothing is left to carry into them.
        blocks = torch.cat([torch.zeros_like(blocks[:, :span]), joined], 1)
        span *= 2
    return states
