"""The causal convolution of each channel with its own taps, and the tail of inputs that continues it.

    y_t = bias + sum_{j=0}^{K-1} w_{K-1-j} x_{t-j},        t = 0, ..., L - 1

so that the last tap weighs the present step. Inputs before the first step come from the tail (zero by
default), which is what one call hands to the next. A tap that would reach back over the start of an episode
counts as zero. It carries the short convolutions of Mamba and Griffin, the memory of FSMN and the window of
PGN.

With lengths, row b ends after lengths[b] steps: later outputs are zero and the returned tail is the one at
that end. The tail holds nothing from before the last reset. With v_{t,j} = 1 where tap j of step t counts and
dy_t = 0 past the end of a row,

    dx_s = sum_j w_{K-1-j} v_{s+j,j} dy_{s+j}
    dw_{K-1-j} = sum_{b,t} v_{t,j} dy_t x_{t-j}
    dbias = sum_{b,t} dy_t

with conjugates of w and x if they are complex, the tail being the x of negative index, plus the gradient of
the returned tail in the inputs that it repeats.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, as_dtype, check_mask, check_shape, state_dtype
from statewise.core.ops.depthwise_conv import reference
from statewise.core.ops.dispatch import Op

__all__ = ["depthwise_conv"]

OP = Op("depthwise_conv", __name__)


def depthwise_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    tail: Tensor | None = None,
    *,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Convolve each channel causally with its own K taps.

    Args:
        x: the input, (B, L, D), real or complex.
        weight: the taps, (K, D); weight[-1] weighs the present step.
        bias: (D,) or None.
        tail: the K - 1 inputs before the first step, (B, K - 1, D), oldest first; None is zeros.
        reset: (B, L), true where an episode starts: taps do not reach over it.
        lengths: (B,), integers in 0, ..., L: the true lengths of right-padded rows.

    Returns:
        y (B, L, D), zero past each row's end, and the tail (B, K - 1, D) after each row's last true step.
        Both are differentiable, of the dtype that the arguments promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    dtype = _check(x, weight, bias, tail, reset, lengths)
    x, weight, bias = as_dtype(x, dtype), as_dtype(weight, dtype), as_dtype(bias, dtype)
    if tail is None:
        tail = x.new_zeros((x.shape[0], weight.shape[0] - 1, x.shape[2]))
    tail = as_dtype(tail, dtype)
    if reset is not None and lengths is not None:
        reset = reset & (torch.arange(x.shape[1], device=x.device) < lengths[:, None])
    backend = OP.choose(x)
    if backend == "reference":
        return reference.depthwise_conv(x, weight, bias, tail, reset, lengths)
    return _conv(x, weight, bias, tail, reset, lengths, backend)


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tail: Tensor | None,
    reset: Tensor | None,
    lengths: Tensor | None,
) -> torch.dtype:
    """Check the arguments and return the dtype of the result."""
    op = "depthwise_conv"
    dtype = state_dtype(op, ("x", x), ("weight", weight), ("bias", bias), ("tail", tail))
    if x.ndim != 3:
        raise argument_error(op, "x", x, "(B, L, D): three axes")
    batch, _, width = x.shape
    if weight.ndim != 2 or weight.shape[0] < 1:
        raise argument_error(op, "weight", weight, "(K, D) with K at least 1")
    taps = weight.shape[0]
    check_shape(op, "weight", weight, (taps, width), "(K, D)", x)
    if bias is not None:
        check_shape(op, "bias", bias, (width,), "(D,)", x)
    if tail is not None:
        check_shape(op, "tail", tail, (batch, taps - 1, width), "(B, K - 1, D)", x)
    if reset is not None:
        check_mask(op, reset, x)
    if lengths is not None:
        check_shape(op, "lengths", lengths, (batch,), "(B,)", x)
        if lengths.dtype not in (torch.int64, torch.int32):
            raise argument_error(op, "lengths", lengths, "torch.int64", "has the wrong dtype")
    return dtype


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tail: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    return OP.load(backend, x).forward(x, weight, bias, tail, reset, lengths)


def _forward_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tail: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), tail.new_empty(tail.shape)


def _backward(
    grad: Tensor | None,
    grad_tail: Tensor | None,
    x: Tensor,
    weight: Tensor,
    tail: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return OP.load(backend, x).backward(grad, grad_tail, x, weight, tail, reset, lengths)


def _backward_fake(
    grad: Tensor | None,
    grad_tail: Tensor | None,
    x: Tensor,
    weight: Tensor,
    tail: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    bias = weight.new_empty(weight.shape[1])
    return x.new_empty(x.shape), weight.new_empty(weight.shape), bias, tail.new_empty(tail.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, tail, reset, lengths, ctx.backend = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weight, tail, reset, lengths)


def _gradient(ctx: Any, grad: Tensor | None, grad_tail: Tensor | None) -> tuple[Tensor | None, ...]:
    gradients = _conv_backward(grad, grad_tail, *ctx.saved_tensors, ctx.backend)
    wanted = (
        gradient if wants else None for gradient, wants in zip(gradients, ctx.needs_input_grad, strict=False)
    )
    return *wanted, None, None, None


_conv_backward = OP.node("depthwise_conv_backward", _backward, fake=_backward_fake)
_conv = OP.node("depthwise_conv", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
