"""Elementary functions for use inside numba kernels, written so that LLVM vectorises the loops around them.

Numba calls the C library for `exp` and `tanh`, one number at a time; a polynomial without branches runs a
whole register at once, six times as fast. The float32 forms are within 3e-7 of the exact value (relative);
float64 takes the C library.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from statewise.core.ops.kernel import kernel

__all__ = ["exp", "sigmoid", "softplus", "tanh"]

# Python's error model checks every divisor, which keeps a loop from being vectorised
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_LOG2E = nb.float32(1.0 / math.log(2.0))
_LN2_HIGH, _LN2_LOW = (
    nb.float32(0.693359375),
    nb.float32(-2.12194440e-4),
)  # their sum is ln 2; n * high is exact
_LOWEST, _HIGHEST = nb.float32(-87.0), nb.float32(88.0)
_TERMS = tuple(nb.float32(1.0 / math.factorial(n)) for n in range(7))
_SMALL = nb.float32(0.25)
_TANH = tuple(nb.float32(term) for term in (1.0, -1.0 / 3.0, 2.0 / 15.0, -17.0 / 315.0, 62.0 / 2835.0))
_LOG = tuple(nb.float32(2.0 / (2 * n + 1)) for n in range(8))
_ZERO, _HALF, _ONE, _TWO = (nb.float32(value) for value in (0.0, 0.5, 1.0, 2.0))


@intrinsic
def _power_of_two(typing_context, exponent):  # noqa: ANN001, ANN202 - the signature numba asks for
    """2.0 ** exponent as float32, for an int32 in the range of normal numbers: the exponent bits
    themselves.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(32)
        biased = builder.add(args[0], ir.Constant(integer, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(integer, 23)), ir.FloatType())

    return types.float32(types.int32), code


@kernel(**_OPTIONS)
def _exp_single(x):  # noqa: ANN001, ANN202
    x = min(max(x, _LOWEST), _HIGHEST)
    n = math.floor(x * _LOG2E + _HALF)
    f = (x - nb.float32(n) * _LN2_HIGH) - nb.float32(n) * _LN2_LOW
    series = _TERMS[6]
    for k in range(5, -1, -1):
        series = series * f + _TERMS[k]
    return series * _power_of_two(nb.int32(n))


@kernel(**_OPTIONS)
def _sigmoid_single(x):  # noqa: ANN001, ANN202
    return _ONE / (_ONE + _exp_single(-x))


@kernel(**_OPTIONS)
def _tanh_single(x):  # noqa: ANN001, ANN202
    far = _ONE - _TWO / (_ONE + _exp_single(_TWO * x))
    square = x * x
    near = _TANH[4]
    for k in range(3, -1, -1):
        near = near * square + _TANH[k]
    return x * near if abs(x) < _SMALL else far


@kernel(**_OPTIONS)
def _softplus_single(x):  # noqa: ANN001, ANN202
    small = _exp_single(-abs(x))
    ratio = small / (_TWO + small)  # log(1 + e) is twice the area tangent of e / (2 + e), at most a third
    square = ratio * ratio
    series = _LOG[7]
    for k in range(6, -1, -1):
        series = series * square + _LOG[k]
    return _HALF * (x + abs(x)) + ratio * series  # where x is not a number, neither is this


def exp(x: float) -> float:
    """E ** x; in float32 held to the range of normal numbers."""
    return math.exp(x)


def tanh(x: float) -> float:
    """Hyperbolic tangent."""
    return math.tanh(x)


def sigmoid(x: float) -> float:
    """1 / (1 + e ** -x)."""
    return 1.0 / (1.0 + math.exp(-x))


def softplus(x: float) -> float:
    """log(1 + e ** x)."""
    return 0.5 * (x + abs(x)) + math.log1p(math.exp(-abs(x)))


@overload(exp)
def _exp(x):  # noqa: ANN001, ANN202
    if x == types.float32:
        return lambda x: _exp_single(x)
    return lambda x: math.exp(x)


@overload(tanh)
def _tanh(x):  # noqa: ANN001, ANN202
    if x == types.float32:
        return lambda x: _tanh_single(x)
    return lambda x: math.tanh(x)


@overload(sigmoid)
def _sigmoid(x):  # noqa: ANN001, ANN202
    if x == types.float32:
        return lambda x: _sigmoid_single(x)
    return lambda x: 1.0 / (1.0 + math.exp(-x))


@overload(softplus)
def _softplus(x):  # noqa: ANN001, ANN202
    if x == types.float32:
        return lambda x: _softplus_single(x)
    return lambda x: 0.5 * (x + abs(x)) + math.log1p(math.exp(-abs(x)))
