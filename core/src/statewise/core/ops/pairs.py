"""Complex numbers in vectors: real and imaginary parts side by side, as torch and numpy store them.

For use inside `@njit` functions, on the real vectors of `simd`. A product takes two fused operations and
three shuffles, so that a kernel bound by memory runs at the speed of the real one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

from statewise.core.ops.simd import LANES, fma, mul

__all__ = ["fma_conj_pairs", "fma_pairs"]


def _shuffle(builder: Any, vector: Any, order: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


@intrinsic
def _real(typing_context, vector):
    """Each real part in both places of its pair."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _shuffle(builder, args[0], [lane & ~1 for lane in range(LANES)])

    return vector(vector), code


@intrinsic
def _imaginary(typing_context, vector):
    """Each imaginary part in both places of its pair, negated in the first."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        signs = ir.Constant(args[0].type, [-1.0, 1.0] * (LANES // 2))
        return builder.fmul(_shuffle(builder, args[0], [lane | 1 for lane in range(LANES)]), signs)

    return vector(vector), code


@intrinsic
def _swapped(typing_context, vector):
    """The parts of each pair exchanged."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _shuffle(builder, args[0], [lane ^ 1 for lane in range(LANES)])

    return vector(vector), code


@njit(nogil=True)
def fma_pairs(a, b, c):
    """`a * b + c` on vectors of pairs."""
    return fma(_real(a), b, fma(_imaginary(a), _swapped(b), c))


@njit(nogil=True)
def fma_conj_pairs(a, b, c):
    """`conj(a) * b + c` on vectors of pairs."""
    return fma(_real(a), b, fma(mul(_imaginary(a), -1.0), _swapped(b), c))
