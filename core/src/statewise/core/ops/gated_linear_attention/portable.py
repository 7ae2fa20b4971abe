"""`gated_linear_attention` in plain torch: matrix products over blocks of tokens, the gradient written out.

With S the state before a block, and since, until and the scores of its decays (see `portable_decays`),

    o_i = scale (since_i q_i)^T S + scale sum_j score_ij v_j        S <- since_C S + sum_j (until_j k_j) v_j^T

Works on any device and dtype. A stretch of blocks is taken at once, so that memory stays linear in the
length and only the states of blocks are computed one after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from statewise.core.ops.gated_linear_attention.portable_decays import Decays, KeyDecays, SharedDecays

__all__ = ["backward", "forward"]

STRETCH = 256
"""Tokens taken at once."""
KEY_BLOCK = 8
"""Longest block with decays per key, whose scores cost C (C + 1) / 2 products of rows each."""


class _Problem(NamedTuple):
    """The arguments in one form: forwards in time, heads before time, whole blocks, nothing past the end."""

    q: Tensor  # (B, H, L, K)
    k: Tensor
    v: Tensor
    g: Tensor  # (B, H, L, K or 1)
    s0: Tensor
    cut: Tensor | None  # (B, 1, L, 1)
    block: int

    @property
    def stretches(self) -> list[slice]:
        step = max(1, STRETCH // self.block) * self.block
        return [slice(start, start + step) for start in range(0, self.q.shape[2], step)]


class _Stretch(NamedTuple):
    """N blocks: (B, H, N, C, ...)."""

    q: Tensor
    k: Tensor
    v: Tensor
    decays: Decays
    opened: Tensor | None  # (B, 1, N, C, 1), true while the first state is carried; None if always


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Outputs (B, L, H, V) and the last state (B, H, K, V)."""
    problem = _problem(q, k, v, g, s0, cut, lengths, reverse, chunk)
    o, state = torch.empty_like(problem.v, memory_format=torch.contiguous_format), problem.s0
    for here in problem.stretches:
        part = _stretch(problem, here)
        states, state = _states(part, state)
        carried = _carried(part.opened, (part.decays.since * part.q) @ states)
        scores = part.decays.scores(part.q, part.k)
        o[:, :, here] = (scale * (scores @ part.v + carried)).flatten(2, 3)
    return _restored(o, v.shape, lengths, reverse), state.clone()


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, g (empty without g) and s0."""
    problem = _problem(q, k, v, g, s0, cut, lengths, reverse, chunk)
    grad = torch.zeros_like(v) if grad is None else grad
    grad = _arranged(grad, problem.block, lengths, reverse)
    adjoint = torch.zeros_like(problem.s0) if grad_last is None else grad_last
    outputs = tuple(torch.empty_like(x) for x in (problem.q, problem.k, problem.v, problem.g))
    checkpoints = [problem.s0]
    for here in problem.stretches[:-1]:
        checkpoints.append(_states(_stretch(problem, here), checkpoints[-1])[1])
    for here, state in zip(reversed(problem.stretches), reversed(checkpoints), strict=False):
        part = _stretch(problem, here)
        results, adjoint = _gradients(part, state, _blocks(grad, here, problem.block), adjoint, scale)
        for output, result in zip(outputs, results, strict=True):
            output[:, :, here] = result.flatten(2, 3)
    shapes = (q.shape, k.shape, v.shape, (*q.shape[:3], problem.g.shape[-1]))
    dq, dk, dv, dg = (_restored(x, s, lengths, reverse) for x, s in zip(outputs, shapes, strict=True))
    if g is None:
        dg = q.new_empty(0)
    elif g.ndim < 4:
        dg = dg.squeeze(-1).sum_to_size(g.shape)
    return dq, dk, dv, dg, adjoint.clone()


def _problem(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    chunk: int,
) -> _Problem:
    """Bring the arguments into one form; padding writes and decays nothing, a reversed run is flipped."""
    batch, _, heads, keys = q.shape
    s0 = q.new_zeros(batch, heads, keys, v.shape[-1]) if s0 is None else s0
    g = q.new_zeros(()) if g is None else g
    g = g if g.ndim == 4 else g.unsqueeze(-1)
    g = g.expand(*q.shape[:3], g.shape[-1])
    block = max(1, min(chunk, q.shape[1], KEY_BLOCK if g.shape[-1] > 1 else chunk))
    q, k, v, g = (_arranged(x, block, lengths, reverse) for x in (q, k, v, g))
    if cut is not None:
        cut = _arranged(cut.unsqueeze(-1).unsqueeze(-1), block, None, reverse)
    return _Problem(q, k, v, g, s0, cut, block)


def _arranged(x: Tensor, block: int, lengths: Tensor | None, reverse: bool) -> Tensor:
    """(B, L, H, ...) as (B, H, L', ...): zero past the end, flipped if reversed, filled to whole blocks."""
    x = _blanked(x, lengths)
    x = (x.flip(1) if reverse else x).transpose(1, 2)
    missing = -x.shape[2] % block
    return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing else x


def _restored(x: Tensor, shape: tuple[int, ...], lengths: Tensor | None, reverse: bool) -> Tensor:
    """What `_arranged` did, undone, as a fresh tensor."""
    x = x[:, :, : shape[1]].transpose(1, 2)
    return _blanked(x.flip(1) if reverse else x, lengths).contiguous().view(shape)


def _blanked(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero past the end of each row."""
    if lengths is None:
        return x
    ended = torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)
    return x.masked_fill(ended.view(*ended.shape, *[1] * (x.ndim - 2)), 0)


def _blocks(x: Tensor, here: slice, block: int) -> Tensor:
    return x[:, :, here].unflatten(2, (-1, block))


def _stretch(problem: _Problem, here: slice) -> _Stretch:
    """The blocks of a stretch with their decays."""
    q, k, v, g = (_blocks(x, here, problem.block) for x in problem[:4])
    cut = None if problem.cut is None else _blocks(problem.cut, here, problem.block)
    decays = KeyDecays(g, cut) if g.shape[-1] > 1 else SharedDecays(g, cut)
    return _Stretch(q, k, v, decays, None if cut is None else cut.cumsum(-2) == 0)


def _carried(opened: Tensor | None, x: Tensor) -> Tensor:
    """Zero behind a cut; selected, not multiplied, so that a state that overflowed does not pass."""
    return x if opened is None else x.masked_fill(~opened, 0)


def _run(part: _Stretch, state: Tensor, writes: Tensor, order: range) -> tuple[Tensor, Tensor]:
    """S <- since_C S + write over the blocks in the order given: S before each, and after the last."""
    states = torch.empty_like(writes)
    spans = part.decays.since[..., -1, :].unsqueeze(-1)
    for n in order:
        states[:, :, n] = state
        opened = None if part.opened is None else part.opened[:, :, n, -1:]
        state = _carried(opened, spans[:, :, n] * state) + writes[:, :, n]
    return states, state


def _states(part: _Stretch, state: Tensor) -> tuple[Tensor, Tensor]:
    """The state before each block (B, H, N, K, V), and the one after the stretch."""
    writes = (part.decays.until * part.k).mT @ part.v
    return _run(part, state, writes, range(writes.shape[2]))


def _gradients(
    part: _Stretch, state: Tensor, grad: Tensor, adjoint: Tensor, scale: float
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Gradients of q, k, v, g and the first state of a stretch, from those of its outputs and last state."""
    decays = part.decays
    writes = scale * (decays.since * part.q).mT @ grad
    states, _ = _states(part, state)
    adjoints, before = _run(part, adjoint, writes, range(writes.shape[2] - 1, -1, -1))
    arriving = scale * _carried(part.opened, decays.since * (grad @ states.mT))
    leaving = decays.until * (part.v @ adjoints.mT)
    dq, dk, crossing = decays.gradients(part.q, part.k, scale * (grad @ part.v.mT))
    dv = scale * decays.scores(part.q, part.k).mT @ grad + (decays.until * part.k) @ adjoints
    last = None if part.opened is None else part.opened[..., -1:, :]
    through = _carried(last, decays.since[..., -1:, :] * (states * adjoints).sum(-1).unsqueeze(-2))
    edges = _edges(part.q * arriving, part.k * leaving, through)
    if crossing.shape[-1] == 1:
        edges = edges.sum(-1, keepdim=True)
    return (arriving + dq, leaving + dk, dv, crossing + edges), before


def _edges(arriving: Tensor, leaving: Tensor, through: Tensor) -> Tensor:
    """Per step the sum of the paths across it that come from before the block, leave it, or both."""
    left = torch.nn.functional.pad(leaving[..., :-1, :].cumsum(-2), (0, 0, 1, 0))
    return arriving.flip(-2).cumsum(-2).flip(-2) + left + through
