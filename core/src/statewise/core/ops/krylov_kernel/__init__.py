"""The convolution kernel of a discrete state space model with a dense state matrix: LSSL's, and under S4's.

    K_l = C A^l B,      l = 0, ..., L - 1

Gu et al., "Combining Recurrent, Convolutional, and Continuous-time Models with Linear State-Space Layers",
2021. Plain torch differentiates it; squares of A are taken in the dtype of A, so pass float64 where a long
kernel has to keep its digits.
"""

from __future__ import annotations

from torch import Tensor

from statewise.core.ops.arguments import argument_error, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.krylov_kernel import portable, reference

__all__ = ["krylov_kernel"]

OP = Op("krylov_kernel", __name__, ("reference", "portable"))


def krylov_kernel(A: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """The kernel for `long_conv`.

    Args:
        A: the discrete state matrix, (D, N, N), real.
        B: what the input writes, (D, N).
        C: what the output reads, (D, N).
        length: L, at least 1.

    Returns:
        K (D, L), of the dtype that the arguments promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    op = "krylov_kernel"
    dtype = state_dtype(op, ("A", A), ("B", B), ("C", C))
    if A.ndim != 3 or A.shape[1] != A.shape[2] or dtype.is_complex:
        raise argument_error(op, "A", A, "(D, N, N), all arguments real")
    for name, vector in (("B", B), ("C", C)):
        check_shape(op, name, vector, A.shape[:2], "(D, N)", A)
    if length < 1:
        raise argument_error(op, "length", length, "at least 1", "is too small")
    A, B, C = A.to(dtype), B.to(dtype), C.to(dtype)
    looped = OP.choose(A) == "reference"
    return reference.krylov_kernel(A, B, C, length) if looped else portable.krylov_kernel(A, B, C, length)
