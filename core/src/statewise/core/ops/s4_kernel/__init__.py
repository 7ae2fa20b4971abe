"""The convolution kernel of S4: a state matrix that is diagonal plus rank one, discretised bilinearly.

    x'(t) = (Lambda - P P*) x(t) + B u(t),   y(t) = 2 Re(C x(t))    one of each pair of conjugates is kept
    K_l = C a^l b,    a = (2/dt - A)^{-1} (2/dt + A),    b = 2 (2/dt - A)^{-1} B

The inverse is a diagonal and, by Woodbury's identity, a rank-one correction: a state advances in O(N).

The paper evaluates the generating function of K at the roots of unity, a Cauchy product, for which C has to
be replaced by C (I - a^L). Where C itself is the parameter, as it must be for a model that streams and takes
any length, a^L has to be formed, by squaring. With the squares at hand two small tables and one real product
per channel give the kernel (`krylov_kernel`), so that is what runs here; the tests compare it with the Cauchy
form.

Gu, Goel and Ré, "Efficiently Modeling Long Sequences with Structured State Spaces", 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.s4_kernel import portable, reference

__all__ = ["s4_kernel"]

OP = Op("s4_kernel", __name__, ("reference", "portable"))


def s4_kernel(dt: Tensor, Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """The kernel for `long_conv`.

    Args:
        dt: steps, (D,), positive.
        Lambda: the diagonal, (D, N), complex.
        P: the rank-one part, (D, N), complex.
        B: what the input writes, (D, N), complex.
        C: what the output reads, (D, N), complex.
        length: L, at least 1.

    Returns:
        K (D, L), real, of the precision that the arguments promote to and at least float32; powers are taken
        in float64.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    op, given = "s4_kernel", {"Lambda": Lambda, "P": P, "B": B, "C": C}
    dtype = state_dtype(op, ("dt", dt), *given.items())
    if Lambda.ndim != 2:
        raise argument_error(op, "Lambda", Lambda, "(D, N): two axes")
    for name, tensor in given.items():
        check_shape(op, name, tensor, tuple(Lambda.shape), "(D, N)", Lambda)
        if not tensor.is_complex():
            raise argument_error(op, name, tensor, "complex", "is real")
    check_shape(op, "dt", dt, (Lambda.shape[0],), "(D,)", Lambda)
    if length < 1:
        raise argument_error(op, "length", length, "at least 1", "is too small")
    Lambda, P, B, C = (tensor.to(torch.complex128) for tensor in given.values())
    run = reference.s4_kernel if OP.choose(Lambda) == "reference" else portable.s4_kernel
    kernel = run(dt.to(torch.float64), Lambda, P, B, C, length)
    return kernel if dtype in (torch.float64, torch.complex128) else kernel.float()
