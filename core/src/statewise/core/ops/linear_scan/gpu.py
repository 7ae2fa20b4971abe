"""`linear_scan` for GPUs: Triton, one program per batch row and block of channels, the carry in registers.

The loop over time reads a and b once and writes h once, which is all that a memory-bound recurrence can do
where there are enough rows and channels to fill the device. Complex numbers are pairs of reals.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["backward", "forward"]

BLOCK = 64
"""Channels of a program."""


@triton.jit
def _load(pointer, place, mask, PAIRS: tl.constexpr):
    """Real and imaginary parts at the elements `place`."""
    if PAIRS:
        real = tl.load(pointer + 2 * place, mask=mask, other=0.0)
        imaginary = tl.load(pointer + 2 * place + 1, mask=mask, other=0.0)
    else:
        real = tl.load(pointer + place, mask=mask, other=0.0)
        imaginary = tl.zeros_like(real)
    return real, imaginary


@triton.jit
def _store(pointer, place, real, imaginary, mask, PAIRS: tl.constexpr):
    if PAIRS:
        tl.store(pointer + 2 * place, real, mask=mask)
        tl.store(pointer + 2 * place + 1, imaginary, mask=mask)
    else:
        tl.store(pointer + place, real, mask=mask)


@triton.jit
def _forward(
    a,
    b,
    h0,
    cut,
    h,
    last,
    length,
    width,
    a_batch,
    a_time,
    REVERSE: tl.constexpr,
    PAIRS: tl.constexpr,
    HAS_H0: tl.constexpr,
    HAS_CUT: tl.constexpr,
    SIZE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    mask = channel < width
    if HAS_H0:
        carry, carry_i = _load(h0, row * width + channel, mask, PAIRS)
    else:
        carry = tl.zeros((SIZE,), b.dtype.element_ty)
        carry_i = carry
    for step in range(length):
        t = length - 1 - step if REVERSE else step
        decay, decay_i = _load(a, row * a_batch + t * a_time + channel, mask, PAIRS)
        write, write_i = _load(b, (row * length + t) * width + channel, mask, PAIRS)
        kept, kept_i = decay * carry - decay_i * carry_i, decay * carry_i + decay_i * carry
        if HAS_CUT:
            begins = tl.load(cut + row * length + t) != 0
            kept, kept_i = tl.where(begins, 0.0, kept), tl.where(begins, 0.0, kept_i)
        carry, carry_i = kept + write, kept_i + write_i
        _store(h, (row * length + t) * width + channel, carry, carry_i, mask, PAIRS)
    _store(last, row * width + channel, carry, carry_i, mask, PAIRS)


@triton.jit
def _backward(
    grad,
    grad_last,
    a,
    h,
    h0,
    cut,
    da,
    db,
    dh0,
    length,
    width,
    a_batch,
    a_time,
    REVERSE: tl.constexpr,
    PAIRS: tl.constexpr,
    HAS_H0: tl.constexpr,
    HAS_CUT: tl.constexpr,
    WANTS_A: tl.constexpr,
    SIZE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    mask = channel < width
    carry, carry_i = _load(grad_last, row * width + channel, mask, PAIRS)
    for step in range(length):
        t = step if REVERSE else length - 1 - step
        here = (row * length + t) * width + channel
        total, total_i = _load(grad, here, mask, PAIRS)
        total, total_i = total + carry, total_i + carry_i
        _store(db, here, total, total_i, mask, PAIRS)
        decay, decay_i = _load(a, row * a_batch + t * a_time + channel, mask, PAIRS)
        carry, carry_i = decay * total + decay_i * total_i, decay * total_i - decay_i * total
        begins = False
        if HAS_CUT:
            begins = tl.load(cut + row * length + t) != 0
            carry, carry_i = tl.where(begins, 0.0, carry), tl.where(begins, 0.0, carry_i)
        if WANTS_A:
            if step < length - 1:
                before = here + width if REVERSE else here - width
                x, x_i = _load(h, before, mask, PAIRS)
            elif HAS_H0:
                x, x_i = _load(h0, row * width + channel, mask, PAIRS)
            else:
                x, x_i = tl.zeros_like(total), tl.zeros_like(total)
            g, g_i = x * total + x_i * total_i, x * total_i - x_i * total
            if HAS_CUT:
                g, g_i = tl.where(begins, 0.0, g), tl.where(begins, 0.0, g_i)
            _store(da, here, g, g_i, mask, PAIRS)
    _store(dh0, row * width + channel, carry, carry_i, mask, PAIRS)


def forward(
    a: Tensor, b: Tensor, h0: Tensor | None, cut: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """All states (B, L, *F) and the last one (B, *F)."""
    b = _plain(b)
    h, last = torch.empty_like(b), b.new_empty((b.shape[0], *b.shape[2:]))
    rows, length, width = _sizes(b)
    a, a_batch, a_time = _transition(a, b)
    start = b if h0 is None else _plain(h0)
    with torch.cuda.device_of(b):
        _forward[(rows, triton.cdiv(width, BLOCK))](
            _reals(a),
            _reals(b),
            _reals(start),
            _marks(cut, b),
            _reals(h),
            _reals(last),
            length,
            width,
            a_batch,
            a_time,
            REVERSE=reverse,
            PAIRS=b.is_complex(),
            HAS_H0=h0 is not None,
            HAS_CUT=cut is not None,
            SIZE=BLOCK,
        )
    return h, last


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    a: Tensor,
    h: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    reverse: bool,
    wants_a: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a (empty unless wanted), b and h0."""
    rows, length, width = _sizes(h)
    shape, real = a.shape, not a.is_complex()
    a, a_batch, a_time = _transition(a, h)
    h, dh0 = _plain(h), h.new_empty((rows, *h.shape[2:]))
    grad = torch.zeros_like(h) if grad is None else _plain(grad)
    edge = torch.zeros_like(dh0) if grad_last is None else _plain(grad_last)
    db, da = torch.empty_like(h), torch.empty_like(h) if wants_a else h.new_empty(0)
    start = h if h0 is None else _plain(h0)
    with torch.cuda.device_of(h):
        _backward[(rows, triton.cdiv(width, BLOCK))](
            _reals(grad),
            _reals(edge),
            _reals(a),
            _reals(h),
            _reals(start),
            _marks(cut, h),
            _reals(da),
            _reals(db),
            _reals(dh0),
            length,
            width,
            a_batch,
            a_time,
            REVERSE=reverse,
            PAIRS=h.is_complex(),
            HAS_H0=h0 is not None,
            HAS_CUT=cut is not None,
            WANTS_A=wants_a,
            SIZE=BLOCK,
        )
    if wants_a:
        da = (da.real.contiguous() if real and da.is_complex() else da).sum_to_size(shape)
    return da, db, dh0


def _sizes(h: Tensor) -> tuple[int, int, int]:
    return h.shape[0], h.shape[1], h.shape[2:].numel()


def _transition(a: Tensor, h: Tensor) -> tuple[Tensor, int, int]:
    """The transition as h reads it, and how far it moves per batch row and per step: 0 where shared."""
    width = h.shape[2:].numel()
    whole = _plain(a.to(h.dtype)).reshape([1] * (h.ndim - a.ndim) + list(a.shape))
    if whole.shape[1] == 1 and h.shape[1] > 1:
        return (
            whole.expand(whole.shape[0], 1, *h.shape[2:]).contiguous(),
            width if whole.shape[0] > 1 else 0,
            0,
        )
    return whole.expand(h.shape).contiguous(), h.shape[1] * width, width


def _plain(tensor: Tensor) -> Tensor:
    """The tensor with its numbers in memory as they are and in order."""
    return tensor.resolve_conj().resolve_neg().contiguous()


def _reals(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _marks(cut: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0, dtype=torch.int8) if cut is None else cut.contiguous().to(torch.int8)
