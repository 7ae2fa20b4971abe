"""The convolution kernel of a diagonal state space model, S4D's: a Vandermonde product.

    K_l = sum_n w_n a_n^l,      l = 0, ..., L - 1,      w_n = C_n factor_n

with a and the factor of `discretise`. A complex A holds one of each pair of conjugates and the real part of
the sum counts twice; a real A stands for itself. C is the product of the model's C and B: the kernel depends
on nothing else.

Discretisation and powers are taken in float64: a phase that turns 10^4 times over a sequence has no digits
to spare in float32. Products and sums are taken in the dtype of the result.

Gradient, with the conjugates dropped and the factor 2 gone for a real A:

    dw_n = 2 conj(sum_l dK_l a_n^l)                da_n = 2 conj(w_n) conj(sum_l dK_l l a_n^{l-1})

Gu, Gupta, Goel and Ré, "On the Parameterization and Initialization of Diagonal State Space Models", 2022.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, check_device, state_dtype
from statewise.core.ops.discretise import Discretisation, discretise
from statewise.core.ops.dispatch import Op
from statewise.core.ops.s4d_kernel import reference

__all__ = ["s4d_kernel"]

OP = Op("s4d_kernel", __name__, ("reference", "portable"))


def s4d_kernel(
    dt: Tensor, A: Tensor, C: Tensor, length: int, *, discretisation: Discretisation = "zoh"
) -> Tensor:
    """The kernel for `long_conv`.

    Args:
        dt: steps, (D,), positive.
        A: the diagonal of the state matrix, (D, N) or (N,), real or complex, not zero.
        C: what reads the state, times what writes it, (D, N); complex if A is.
        length: L, at least 1.
        discretisation: `zoh` or `bilinear`.

    Returns:
        K (D, L), real, of the precision that the arguments promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    double = _check(dt, A, C, length)
    wide = torch.complex128 if A.is_complex() else torch.float64
    a, factor = discretise(A.to(wide), dt.to(torch.float64)[:, None], discretisation)
    a, w = a.expand(C.shape), C.to(wide) * factor
    backend = OP.choose(C)
    if backend == "reference":
        return reference.powers(a, w, length, double)
    return _powers(a, w, length, double, backend)


def _check(dt: Tensor, A: Tensor, C: Tensor, length: int) -> bool:
    """Check the arguments; whether the result is of float64."""
    op = "s4d_kernel"
    dtype = state_dtype(op, ("dt", dt), ("A", A), ("C", C))
    if C.ndim != 2:
        raise argument_error(op, "C", C, "(D, N): two axes")
    if A.shape not in (C.shape, C.shape[1:]):
        raise argument_error(op, "A", A, f"(D, N) or (N,), with the shape of C {tuple(C.shape)}")
    if dt.shape != C.shape[:1] or dt.is_complex():
        raise argument_error(op, "dt", dt, f"({C.shape[0]},) and real")
    if A.is_complex() != C.is_complex():
        raise argument_error(op, "C", C, "complex if A is, real if A is", "does not fit A")
    for name, tensor in (("A", A), ("dt", dt)):
        check_device(op, name, tensor, C)
    if length < 1:
        raise argument_error(op, "length", length, "at least 1", "is too small")
    return dtype in (torch.float64, torch.complex128)


def _forward(a: Tensor, w: Tensor, length: int, double: bool, backend: str) -> Tensor:
    return OP.load(backend, w).forward(a, w, length, double)


def _forward_fake(a: Tensor, w: Tensor, length: int, double: bool, backend: str) -> Tensor:
    return w.new_empty((w.shape[0], length), dtype=torch.float64 if double else torch.float32)


def _backward(grad: Tensor, a: Tensor, w: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    return OP.load(backend, w).backward(grad, a, w)


def _backward_fake(grad: Tensor, a: Tensor, w: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), w.new_empty(w.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, w, _, _, ctx.backend = inputs
    ctx.save_for_backward(a, w)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_powers_backward(grad, *ctx.saved_tensors, ctx.backend), None, None, None


_powers_backward = OP.node("s4d_kernel_backward", _backward, fake=_backward_fake)
_powers = OP.node("s4d_kernel", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
