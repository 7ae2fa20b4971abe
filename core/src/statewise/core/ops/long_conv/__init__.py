"""The convolution of each channel with a kernel as long as the sequence, through the FFT.

    y_t = sum_{j >= 0} k_j x_{t-j} + sum_{j >= 0} r_j x_{t+1+j}

The second sum is there for a bidirectional layer only; r_0 weighs the step after the present one, so that the
present is counted once. Sequences begin and end with zeros. It is how S4, S4D and LSSL are trained: L log L
operations per channel where the recurrence would take N L. There are no resets here; a kernel reaches across
them.

Gradients are correlations, taken by the same transforms, with dy_t = 0 and x_t = 0 outside the sequence:

    dx_s = sum_j k_j dy_{s+j} + sum_j r_j dy_{s-1-j}
    dk_j = sum_{b,t} dy_t x_{t-j}                        dr_j = sum_{b,t} dy_t x_{t+1+j}

The error of a transform is relative to the largest output of its channel, not to each output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, as_dtype, check_device, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.long_conv import reference

__all__ = ["long_conv"]

OP = Op("long_conv", __name__, ("reference", "portable"))


def long_conv(x: Tensor, kernel: Tensor, anticausal: Tensor | None = None) -> Tensor:
    """Convolve each channel with its own kernel.

    Args:
        x: the input, (B, L, D), real.
        kernel: the causal kernel, (D, K); kernel[:, 0] weighs the present step. Taps past L see zeros only.
        anticausal: (D, K') or None; anticausal[:, 0] weighs the step after the present one.

    Returns:
        y (B, L, D), of the dtype that the arguments promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    dtype = _check(x, kernel, anticausal)
    length = x.shape[1]
    x, kernel = as_dtype(x, dtype), as_dtype(kernel[:, :length], dtype)
    # A layer that reads one way pays nothing: an empty kernel takes no part in the transforms.
    after = kernel[:, :0] if anticausal is None else as_dtype(anticausal[:, : length - 1], dtype)
    backend = OP.choose(x)
    if backend == "reference":
        return reference.long_conv(x, kernel, after)
    return _conv(x, kernel, after, backend)


def _check(x: Tensor, kernel: Tensor, anticausal: Tensor | None) -> torch.dtype:
    """Check the arguments and return the dtype of the result."""
    dtype = state_dtype("long_conv", ("x", x), ("kernel", kernel), ("anticausal", anticausal))
    if x.ndim != 3 or x.shape[1] < 1:
        raise argument_error("long_conv", "x", x, "(B, L, D) with L at least 1")
    for name, taps in (("kernel", kernel), ("anticausal", anticausal)):
        if taps is None:
            continue
        if taps.ndim != 2 or taps.shape[0] != x.shape[2] or taps.shape[1] < 1:
            raise argument_error("long_conv", name, taps, f"(D, K) with D = {x.shape[2]}, K at least 1")
        check_device("long_conv", name, taps, x)
    if dtype.is_complex:
        raise argument_error("long_conv", "x", x, "real arguments", "or a kernel is complex")
    return dtype


def _forward(x: Tensor, kernel: Tensor, after: Tensor, backend: str) -> Tensor:
    return OP.load(backend, x).forward(x, kernel, after)


def _forward_fake(x: Tensor, kernel: Tensor, after: Tensor, backend: str) -> Tensor:
    return x.new_empty(x.shape)


def _backward(
    grad: Tensor, x: Tensor, kernel: Tensor, after: Tensor, backend: str, wants_x: bool, wants_kernel: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return OP.load(backend, x).backward(grad, x, kernel, after, wants_x, wants_kernel)


def _backward_fake(
    grad: Tensor, x: Tensor, kernel: Tensor, after: Tensor, backend: str, wants_x: bool, wants_kernel: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dkernel, dafter = (kernel.new_empty(taps.shape if wants_kernel else (0,)) for taps in (kernel, after))
    return x.new_empty(x.shape if wants_x else 0), dkernel, dafter


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, kernel, after, ctx.backend = inputs
    ctx.save_for_backward(x, kernel, after)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wants_x, wants_kernel, wants_after, _ = ctx.needs_input_grad
    wanted = wants_kernel or wants_after
    dx, dkernel, dafter = _conv_backward(grad, *ctx.saved_tensors, ctx.backend, wants_x, wanted)
    return dx if wants_x else None, dkernel if wants_kernel else None, dafter if wants_after else None, None


_conv_backward = OP.node("long_conv_backward", _backward, fake=_backward_fake)
_conv = OP.node("long_conv", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
