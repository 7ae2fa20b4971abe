"""Runs a linear time-invariant system over sequences in chunks: outputs, resets, ends and the state at once.

    h_t = A h_{t-1} + B u_t,     y_t = C h_t             one input and one output per feature

Within a chunk of T steps the output is the convolution with the first T taps C A^j B of the system's kernel.
What came before enters through the state at the chunk's start: row j of `read`, C A^{j+1}, adds its part of
the output, and `write`, A^{T-1-j} B, collects the chunk into the state at its end. All are matrix products,
linear in L, where the convolution with the whole kernel costs L log L and gives no state. Resets mask the
inputs that the end of their chunk does not see and the outputs that its start does not reach.

The state is that of M real numbers per feature; a complex one counts as its parts. Shapes: u and y (B, L, D),
state (B, D, M) or (B, D, M/2) complex.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.layers.masking import tail
from statewise.core.ops import depthwise_conv, linear_scan
from statewise.core.ops.krylov_kernel.tables import columns, squares

__all__ = ["System", "chunk_length", "dense_system", "run"]

LONGEST = 32
"""T, steps of a chunk: a power of two, so that A^T and A^k for k < T come from the same squares."""


class System(NamedTuple):
    """A discrete system by its tables over the T steps of a chunk, in the precision of the state."""

    kernel: Tensor
    """C A^j B, (D, T)."""
    write: Tensor
    """A^{T-1-j} B by rows j, (D, T, M)."""
    read: Tensor
    """C A^{j+1} by columns j, (D, M, T)."""
    powers: tuple[Tensor, ...]
    """A, A^2, A^4, ..., A^T: (D, N) each for a diagonal system, (D, M, M) for a dense one."""


def chunk_length(length: int) -> int:
    """T for sequences of `length` steps."""
    return min(LONGEST, 1 << (length - 1).bit_length())


def dense_system(a: Tensor, b: Tensor, c: Tensor, size: int, dtype: torch.dtype) -> System:
    """The tables of a discrete system with a dense state matrix.

    Args:
        a: (D, M, M), in float64: powers of it are taken.
        b: what the input writes, (D, M).
        c: what the output reads, (D, M).
        size: T.
        dtype: that of the tables.
    """
    powers = squares(a, size.bit_length())
    write = columns(powers[:-1], b)
    first = (c[:, None] @ a)[:, 0]
    read = columns([power.transpose(1, 2) for power in powers[:-1]], first)
    return System(
        kernel=(c[:, None] @ write)[:, 0].to(dtype),
        write=write.transpose(1, 2).flip(1).to(dtype),
        read=read.to(dtype),
        powers=tuple(power.to(dtype) for power in powers),
    )


def run(
    system: System, u: Tensor, state: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The outputs and the state at each row's end.

    Args:
        system: made for `chunk_length(L)`.
        u: (B, L, D), zero after the end of each row.
        state: the state before the first step.
        reset: (B, L) bool, False after the end of each row, or None.
        lengths: (B,) or None.
    """
    size, length = system.kernel.shape[1], u.shape[1]
    chunks = -(-length // size)
    spare = chunks * size - length
    # Features first: one matrix product per feature, over all chunks of the batch.
    grid = F.pad(u, (0, 0, 0, spare)).unflatten(1, (chunks, size)).permute(3, 0, 1, 2).contiguous()
    begun = None if reset is None else F.pad(reset, (0, spare)).unflatten(1, (chunks, size)).cumsum(2)
    kept = grid if begun is None else torch.where(begun == begun[..., -1:], grid, 0.0)
    cut = None if begun is None else begun[..., -1] > 0
    states = _starts(system, _product(kept, system.write), state, cut)
    free = _product(states[:, :, :-1], system.read)
    free = free if begun is None else torch.where(begun == 0, free, 0.0)
    if reset is None:
        y = (free + _product(grid, _toeplitz(system.kernel))).permute(1, 2, 3, 0).flatten(1, 2)[:, :length]
    else:
        y = free.permute(1, 2, 3, 0).flatten(1, 2)[:, :length] + _within(u, system.kernel, reset)
    if lengths is None and not spare:
        return y, _as_state(states[:, :, -1].transpose(0, 1), state)
    if lengths is None:
        lengths = torch.full(u.shape[:1], length, device=u.device)
    return y, _end(system, u, _as_state(states.permute(1, 2, 0, 3), state), reset, lengths)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(D, B, S, I) times (D, I, J), per feature."""
    return torch.bmm(left.flatten(1, 2), right).unflatten(1, left.shape[1:3])


def _starts(system: System, writes: Tensor, state: Tensor, cut: Tensor | None) -> Tensor:
    """The states between the chunks (D, B, S + 1, M): before the first, ..., after the last.

    Args:
        system: the tables.
        writes: what each chunk adds, (D, B, S, M).
        state: the state before the first chunk.
        cut: (B, S) bool: nothing passes through the chunk; or None.
    """
    over, first = system.powers[-1], _as_real(state).transpose(0, 1)
    if over.ndim == 3:
        carry, states = first, [first]
        passes = None if cut is None else (~cut).unbind(1)
        for s, write in enumerate(writes.unbind(2)):
            moved = torch.bmm(carry, over.transpose(1, 2))
            carry = write + (moved if passes is None else torch.where(passes[s][:, None], moved, 0.0))
            states.append(carry)
        return torch.stack(states, 2)
    features, batch, chunks, _ = writes.shape
    values = _as_state(writes, state).flatten(0, 1)
    decay = over[:, None, None].expand(features, batch, 1, -1).flatten(0, 1)
    marks = None if cut is None else cut.expand(features, batch, chunks).flatten(0, 1)
    h, _ = linear_scan(decay, values, state.transpose(0, 1).flatten(0, 1), reset=marks)
    return torch.cat([first[:, :, None], _as_real(h).unflatten(0, (features, batch))], 2)


def _within(u: Tensor, kernel: Tensor, reset: Tensor) -> Tensor:
    """The convolution inside each chunk; chunks cut it as resets do."""
    size = kernel.shape[1]
    begins = torch.arange(u.shape[1], device=u.device) % size == 0
    return depthwise_conv(u, kernel.flip(1).T.contiguous(), reset=reset | begins)[0]


def _toeplitz(kernel: Tensor) -> Tensor:
    """The convolution with T taps as a matrix (D, T, T): row s, column t holds tap t - s."""
    size = kernel.shape[1]
    rows = F.pad(kernel, (size, 0)).unfold(1, size, 1)[:, 1:]
    return rows.flip(1)


def _end(system: System, u: Tensor, states: Tensor, reset: Tensor | None, lengths: Tensor) -> Tensor:
    """The state at each row's end: that before its last, begun chunk, and what that chunk adds.

    Args:
        system: the tables.
        u: (B, L, D).
        states: between the chunks, (B, S + 1, D, N).
        reset: (B, L) or None.
        lengths: (B,).
    """
    size = system.kernel.shape[1]
    whole, rest = lengths // size, lengths % size
    index = whole.view(-1, 1, 1, 1).expand(-1, 1, *states.shape[2:])
    h = states.gather(1, index)[:, 0]
    power = rest.view(-1, 1, 1)
    for k, matrix in enumerate(system.powers[:-1]):
        h = torch.where((power >> k) % 2 == 1, _moved(matrix, h), h)
    # The last T inputs, of which `rest` belong to the chunk; those from before a reset are zero already.
    last = tail(u, u.new_zeros(u.shape[0], size, u.shape[2]), reset, lengths)
    inside = torch.arange(size, device=u.device) >= size - rest[:, None]
    last = torch.where(inside[..., None], last, 0.0)
    added = torch.bmm(last.permute(2, 0, 1), system.write).transpose(0, 1)
    if reset is not None:
        seen = F.pad(reset.cumsum(1), (1, 0))
        since = seen.gather(1, lengths[:, None]) - seen.gather(1, (whole * size)[:, None])
        h = torch.where(since[..., None] == 0, h, 0.0)
    return h + _as_state(added, h)


def _moved(matrix: Tensor, h: Tensor) -> Tensor:
    """The state (B, D, N) after one application of a power of A."""
    if matrix.ndim == 2:
        return matrix * h
    moved = torch.bmm(_as_real(h).transpose(0, 1), matrix.transpose(1, 2)).transpose(0, 1)
    return _as_state(moved, h)


def _as_real(state: Tensor) -> Tensor:
    """Complex numbers as their parts side by side, (..., N) to (..., 2 N)."""
    return torch.view_as_real(state).flatten(-2) if state.is_complex() else state


def _as_state(real: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_as_real`, if `like` is complex."""
    return torch.view_as_complex(real.unflatten(-1, (-1, 2)).contiguous()) if like.is_complex() else real
