"""The elementwise linear recurrence: the state of S5, LRU, HGRN, RG-LRU, GateLoop, minGRU, minLSTM, ConvS5.

    h_t = a_t h_{t-1} + b_t,        t = 0, ..., L - 1,        h_{-1} = h0

Where an episode starts at t, the carry is cut before the step and the write is kept: h_t = b_t. A reversed
scan runs from t = L - 1 down to 0 with h_t = a_t h_{t+1} + b_t and is cut where an episode starts at t + 1,
so that both directions see the same episodes.

Gradient. With g_t the gradient of h_t, d_t all of the gradient that reaches h_t, and a_t := 0 where the carry
is cut,

    d_t = g_t + conj(a_{t+1}) d_{t+1},   db_t = d_t,   da_t = d_t conj(h_{t-1}),   dh0 = conj(a_0) d_0

where the gradient of the last state is added to d_{L-1}, da_t = 0 where the carry is cut, da is summed over
the axes along which a is shared, and its real part is taken if a is real. The reversed scan mirrors this in
t. Only a and h are stored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import (
    argument_error,
    as_dtype,
    check_device,
    check_mask,
    check_shape,
    state_dtype,
)
from statewise.core.ops.dispatch import Op
from statewise.core.ops.linear_scan import reference

__all__ = ["linear_scan"]

OP = Op("linear_scan", __name__)


def linear_scan(
    a: Tensor, b: Tensor, h0: Tensor | None = None, *, reset: Tensor | None = None, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Run h_t = a_t h_{t-1} + b_t over the second axis.

    Args:
        a: the transition, broadcastable to b: (B, L, *F); (*F) or (1, 1, *F) when it does not depend on time;
            (B, L, 1, ...) when features share it. Real or complex; a real a with a complex b stays real.
        b: the writes, (B, L, *F), real or complex.
        h0: the state before the first step, (B, *F); None is zero.
        reset: (B, L), true where an episode starts: the state before that step counts as zero.
        reverse: scan from the last step to the first; h0 then enters at the last step.

    Returns:
        h (B, L, *F), all states, and h_last (B, *F), the state after the last step taken (with `reverse` the
        one at t = 0). Both are differentiable, of the dtype that a, b and h0 promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    dtype = _check(a, b, h0, reset)
    if not a.dtype == b.dtype == dtype:
        real = dtype.to_real() if dtype.is_complex and not a.is_complex() else dtype
        a, b = as_dtype(a, real), as_dtype(b, dtype)
    h0 = as_dtype(h0, dtype)
    cut = reset if reset is None or not reverse else torch.nn.functional.pad(reset[:, 1:], (0, 1))
    backend = OP.choose(b)
    if backend == "reference":
        return reference.linear_scan(a, b, h0, cut, reverse)
    return _scan(a, b, h0, cut, reverse, backend)


def _check(a: Tensor, b: Tensor, h0: Tensor | None, reset: Tensor | None) -> torch.dtype:
    """Check the arguments and return the dtype of the state."""
    dtype = state_dtype("linear_scan", ("a", a), ("b", b), ("h0", h0))
    if b.ndim < 2:
        raise argument_error("linear_scan", "b", b, "(B, L, *F): at least two axes")
    if a.shape != b.shape and not _broadcasts(a.shape, b.shape):
        raise argument_error("linear_scan", "a", a, f"broadcastable to the shape of b, {tuple(b.shape)}")
    check_device("linear_scan", "a", a, b)
    if h0 is not None:
        check_shape("linear_scan", "h0", h0, (b.shape[0], *b.shape[2:]), "(B, *F)", b)
    if reset is not None:
        check_mask("linear_scan", reset, b)
    return dtype


def _broadcasts(shape: torch.Size, target: torch.Size) -> bool:
    if len(shape) > len(target):
        return False
    return all(size in (1, goal) for size, goal in zip(shape[::-1], target[::-1], strict=False))


def _forward(
    a: Tensor, b: Tensor, h0: Tensor | None, cut: Tensor | None, reverse: bool, backend: str
) -> tuple[Tensor, Tensor]:
    return OP.load(backend, b).forward(a, b, h0, cut, reverse)


def _forward_fake(
    a: Tensor, b: Tensor, h0: Tensor | None, cut: Tensor | None, reverse: bool, backend: str
) -> tuple[Tensor, Tensor]:
    return b.new_empty(b.shape), b.new_empty(b.shape[:1] + b.shape[2:])


def _backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    a: Tensor,
    h: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    reverse: bool,
    backend: str,
    wants_a: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return OP.load(backend, h).backward(grad, grad_last, a, h, h0, cut, reverse, wants_a)


def _backward_fake(
    grad: Tensor | None,
    grad_last: Tensor | None,
    a: Tensor,
    h: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    reverse: bool,
    backend: str,
    wants_a: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        a.new_empty(a.shape if wants_a else 0),
        h.new_empty(h.shape),
        h.new_empty(h.shape[:1] + h.shape[2:]),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, _, h0, cut, ctx.reverse, ctx.backend = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(a, output[0], h0, cut)


def _gradient(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    a, h, h0, cut = ctx.saved_tensors
    wants_a, _, wants_h0 = ctx.needs_input_grad[:3]
    da, db, dh0 = _scan_backward(grad, grad_last, a, h, h0, cut, ctx.reverse, ctx.backend, wants_a)
    return da if wants_a else None, db, dh0 if wants_h0 else None, None, None, None


_scan_backward = OP.node("linear_scan_backward", _backward, fake=_backward_fake)
_scan = OP.node("linear_scan", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
