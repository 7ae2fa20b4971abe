"""`gated_delta_rule` in plain torch: chunks of steps solved at once, with their gradient written out.

In a chunk of C steps let c_i be the decay from its start to step i, d_ij the decay from step j to step
i >= j, both zero across a reset, and S the state before it. The errors of a chunk depend on each other
triangularly (the WY form):

    M e = V - diag(c) K S,      M = I + N diag(beta),      N_ij = d_ij <k_i, k_j> for j < i
    o   = diag(c) Q S + R u,    u = diag(beta) e,          R_ij = d_ij <q_i, k_j> for j <= i
    S  <- c_C S + K^T diag(d_C) u

With Z the gradient of the state after the chunk and do that of o, y = diag(beta) du solves

    M^T y = diag(beta) (diag(d_C) K Z + R^T do),           Z <- c_C Z + Q^T diag(c) do - K^T diag(c) y

so that both directions solve for all chunks at once and then pass the state on in products. The gradient of
a decay collects the paths that cross it. Decays are differences of sums of logarithms, in float64 and at most
zero: nothing overflows, and a reset is a mask, never a large negative number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["backward", "forward"]


class Chunks(NamedTuple):
    """The arguments in chunks (N, M, C, width) of M = B H heads, with the products that both passes need."""

    q: Tensor  # scale q
    k: Tensor
    v: Tensor
    beta: Tensor  # (N, M, C, 1)
    within: Tensor  # d_ij (N, M, C, C)
    entering: Tensor  # c_i (N, M, C, 1)
    leaving: Tensor  # d_Cj (N, M, C, 1)
    through: Tensor  # c_C (N, M, 1, 1)
    scores: Tensor  # R
    overlaps: Tensor  # N
    system: Tensor  # M


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Outputs (B, L, H, V) and the last state (B, H, K, V)."""
    parts = _chunks(q, k, v, beta, g, cut, scale, chunk)
    errors, states = _run(parts, _state(s0, q, v))
    o = parts.entering * (parts.q @ states[:-1]) + parts.scores @ (parts.beta * errors)
    return _joined(o, v.shape), states[-1].unflatten(0, (q.shape[0], q.shape[2])).clone()


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, beta, g (empty without g) and s0 (empty without s0)."""
    parts = _chunks(q, k, v, beta, g, cut, scale, chunk)
    errors, states = _run(parts, _state(s0, q, v))
    do = _split(torch.zeros_like(v) if grad is None else grad, chunk)
    y, z = _run_back(parts, do, _state(grad_last, q, v))
    dq, dk, dbeta, dg = _gradients(parts, do, errors, states[:-1], y, z[1:])
    ds0 = q.new_empty(0) if s0 is None else z[0].view(s0.shape).clone()
    return (
        _joined(scale * dq, q.shape),
        _joined(dk, k.shape),
        _joined(y, v.shape),
        _joined(dbeta, beta.shape),
        q.new_empty(0) if g is None else _joined(dg, g.shape),
        ds0,
    )


def _split(x: Tensor, chunk: int) -> Tensor:
    """(B, L, H, W) to (N, B H, C, W), or (B, L, H) to width 1; the last chunk is filled with zeros."""
    x = x.unsqueeze(-1) if x.ndim == 3 else x
    x = F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % chunk)).unflatten(1, (-1, chunk))
    return x.permute(1, 0, 3, 2, 4).flatten(1, 2)


def _joined(x: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `_split` for a tensor of this shape."""
    batch, length, heads = shape[:3]
    whole = x.unflatten(1, (batch, heads)).permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :length]
    return whole.reshape(shape).clone(memory_format=torch.contiguous_format)


def _state(state: Tensor | None, q: Tensor, v: Tensor) -> Tensor:
    """A state (B, H, K, V) as (B H, K, V), zeros if there is none."""
    shape = (q.shape[0] * q.shape[2], q.shape[3], v.shape[3])
    return q.new_zeros(shape) if state is None else state.reshape(shape)


def _chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
) -> Chunks:
    within, entering, leaving, through = _decays(q, g, cut, chunk)
    q, k, v, beta = (_split(tensor, chunk) for tensor in (scale * q, k, v, beta))
    scores = (q @ k.mT) * within
    overlaps = ((k @ k.mT) * within).tril(-1)
    system = overlaps * beta.mT
    return Chunks(q, k, v, beta, within, entering, leaving, through, scores, overlaps, system)


def _decays(
    q: Tensor, g: Tensor | None, cut: Tensor | None, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """d_ij, c_i, d_Cj and c_C; zero across resets."""
    starts = q.new_zeros(q.shape[:2], dtype=torch.bool) if cut is None else cut
    starts = _split(starts.to(q.dtype)[..., None].expand(q.shape[:3]), chunk)
    segment = starts.cumsum(2)
    if g is None:
        total = torch.zeros_like(starts, dtype=torch.float64)
    else:
        # the decay of a step that is cut off counts for nothing, and must not spoil the sums
        total = _split(g.double(), chunk).masked_fill(starts > 0, 0.0).cumsum(2)
    same = (segment == segment.mT).tril()
    within = torch.where(same, total - total.mT, 0.0).exp().to(q.dtype).masked_fill(~same, 0.0)
    entering = total.exp().to(q.dtype).masked_fill(segment > 0, 0.0)
    return within, entering, within[:, :, -1:].mT, entering[:, :, -1:]


def _run(parts: Chunks, state: Tensor) -> tuple[Tensor, Tensor]:
    """The errors e (N, M, C, V), and the states (N + 1, M, K, V) before every chunk and after the last."""
    sides = torch.cat([parts.v, parts.entering * parts.k], -1)
    solved = torch.linalg.solve_triangular(parts.system, sides, upper=False, unitriangular=True)
    own, carried = solved.split([parts.v.shape[-1], parts.k.shape[-1]], -1)
    writers = (parts.leaving * parts.k).mT
    errors, states = [], [state]
    for i in range(len(own)):
        errors.append(torch.baddbmm(own[i], carried[i], state, alpha=-1))
        state = torch.baddbmm(parts.through[i] * state, writers[i], parts.beta[i] * errors[-1])
        states.append(state)
    return torch.stack(errors), torch.stack(states)


def _run_back(parts: Chunks, do: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient y (N, M, C, V) of v, and the gradients (N + 1, M, K, V) of the states of `_run`."""
    sides = parts.beta * torch.cat([parts.scores.mT @ do, parts.leaving * parts.k], -1)
    solved = torch.linalg.solve_triangular(parts.system.mT, sides, upper=True, unitriangular=True)
    own, carried = solved.split([parts.v.shape[-1], parts.k.shape[-1]], -1)
    readers, keys = (parts.entering * parts.q).mT, (parts.entering * parts.k).mT
    ys, zs = [], [z]
    for i in range(len(own) - 1, -1, -1):
        ys.append(torch.baddbmm(own[i], carried[i], z))
        z = torch.baddbmm(torch.baddbmm(parts.through[i] * z, readers[i], do[i]), keys[i], ys[-1], alpha=-1)
        zs.append(z)
    return torch.stack(ys[::-1]), torch.stack(zs[::-1])


def _gradients(
    parts: Chunks, do: Tensor, errors: Tensor, states: Tensor, y: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of scale q, k, beta and g, in chunks, from the states before and the gradients after each."""
    u = parts.beta * errors
    du = parts.leaving * (parts.k @ z) + parts.scores.mT @ do - parts.overlaps.mT @ y
    reads, recalls = parts.entering * (do @ states.mT), parts.entering * (y @ states.mT)
    writes = parts.leaving * (u @ z.mT)
    through_o, through_e = do @ u.mT, y @ u.mT
    paths_o, paths_e = parts.within * through_o, (parts.within * through_e).tril(-1)
    dq = reads + paths_o @ parts.k
    dk = writes - recalls + paths_o.mT @ parts.q - paths_e @ parts.k - paths_e.mT @ parts.k
    crossing = (parts.scores * through_o - parts.overlaps * through_e).tril(-1)
    dg = _crossing(crossing)
    dg += (
        ((reads * parts.q).sum(-1, keepdim=True) - (recalls * parts.k).sum(-1, keepdim=True))
        .flip(2)
        .cumsum(2)
        .flip(2)
    )
    dg[:, :, 1:] += (writes * parts.k).sum(-1, keepdim=True)[:, :, :-1].cumsum(2)
    dg += parts.through * (z * states).sum((-2, -1), keepdim=True)
    return dq, dk, (du * errors).sum(-1, keepdim=True), dg


def _crossing(paths: Tensor) -> Tensor:
    """For every step t the sum of paths_ij over j < t <= i: (N, M, C, C) to (N, M, C, 1)."""
    sums = paths.flip(2).cumsum(2).flip(2).cumsum(3)
    return F.pad(sums.diagonal(-1, 2, 3), (1, 0)).unsqueeze(-1)
