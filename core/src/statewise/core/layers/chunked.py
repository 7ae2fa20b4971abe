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
    starts, last = _states(system, _product(kept, system.write), state, cut)
    free = _product(starts, system.read)
    if begun is None or reset is None:
        y = _in_time(free + _product(grid, _toeplitz(system.kernel)))[:, :length]
    else:
        y = _in_time(torch.where(begun == 0, free, 0.0))[:, :length] + _within(u, system.kernel, reset)
    if lengths is None and not spare:
        return y, _as_state(last.transpose(0, 1), state)
    if lengths is None:
        lengths = torch.full(u.shape[:1], length, device=u.device)
    return y, _end(system, u, starts, last, state, reset, lengths)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(D, B, S, I) times (D, I, J), per feature."""
    return torch.bmm(left.flatten(1, 2), right).unflatten(1, left.shape[1:3])


def _in_time(grid: Tensor) -> Tensor:
    """From features first (D, B, S, T) to (B, S T, D)."""
    # Through one flat axis, over which the gradient is made contiguous: products of permuted ones are slow.
    return grid.flatten().view(grid.shape).permute(1, 2, 3, 0).flatten(1, 2)


def _states(system: System, writes: Tensor, state: Tensor, cut: Tensor | None) -> tuple[Tensor, Tensor]:
    """The states before each chunk (D, B, S, M) and after the last (D, B, M).

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
        return torch.stack(states[:-1], 2), carry
    features, batch, chunks, _ = writes.shape
    values = _as_state(writes, state).flatten(0, 1)
    decay = over[:, None, None].expand(features, batch, 1, -1).flatten(0, 1)
    marks = None if cut is None else cut.expand(features, batch, chunks).flatten(0, 1)
    h, last = linear_scan(decay, values, state.transpose(0, 1).flatten(0, 1), reset=marks)
    h, last = (_as_real(part).unflatten(0, (features, batch)) for part in (h, last))
    return torch.cat([first[:, :, None], h[:, :, :-1]], 2), last


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


def _end(
    system: System,
    u: Tensor,
    starts: Tensor,
    last: Tensor,
    like: Tensor,
    reset: Tensor | None,
    lengths: Tensor,
) -> Tensor:
    """The state at each row's end: that before its last, begun chunk, and what that chunk adds.

    Args:
        system: the tables.
        u: (B, L, D).
        starts: the states before each chunk, (D, B, S, M).
        last: the state after the last chunk, (D, B, M).
        like: a state, for its form.
        reset: (B, L) or None.
        lengths: (B,).
    """
    size = system.kernel.shape[1]
    whole, rest = lengths // size, lengths % size
    features, _, chunks, width = starts.shape
    index = whole.clamp(max=chunks - 1).view(1, -1, 1, 1).expand(features, -1, 1, width)
    begun = torch.where((whole == chunks)[:, None], last, starts.gather(2, index)[:, :, 0])
    h, power = _as_state(begun.transpose(0, 1), like), rest.view(-1, 1, 1)
    for k, matrix in enumerate(system.powers[:-1]):
        h = torch.where((power >> k) % 2 == 1, _moved(matrix, h), h)
    # The last T inputs, of which `rest` belong to the chunk; those from before a reset are zero already.
    window = tail(u, u.new_zeros(u.shape[0], size, u.shape[2]), reset, lengths)
    inside = torch.arange(size, device=u.device) >= size - rest[:, None]
    window = torch.where(inside[..., None], window, 0.0)
    added = torch.bmm(window.permute(2, 0, 1), system.write).transpose(0, 1)
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
