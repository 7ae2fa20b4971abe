"""Explicit vectors for numba kernels: a register-sized row of numbers, loaded, combined and stored as one.

Numba leaves vectorising to LLVM, which does it for the innermost loop only and never keeps an array in
registers across an outer one. Recurrences need just that: four accumulators that live through a sweep over
the state. With a vector *type* the kernel says so itself, LLVM maps it to whatever the machine has (AVX-512,
AVX2, NEON), compile time falls (nothing is left to analyse) and the source fixes the order of every sum.

All functions here are for use inside `@njit` functions. Arrays are one-dimensional, contiguous, float32 or
float64 (`load`, `store` and `prefetch` also take the flat index of a contiguous array of any rank); indices
are not checked. `LANES` is the length of every vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model

__all__ = [
    "LANES",
    "Vector",
    "add",
    "exp2",
    "fma",
    "load",
    "load_part",
    "mul",
    "prefetch",
    "scratch",
    "splat",
    "splat_at",
    "store",
    "store_part",
    "stream",
    "total",
    "zeros",
]


def _host_lanes() -> int:
    """32 where there are thirty-two registers of 16 floats, else 8, on AVX2 1.4 times as fast as 16."""
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this platform
        return 8
    return 32 if features.get("avx512f") else 8


LANES = _host_lanes()
CACHE_LINE = 64


class Vector(types.Type):
    """The numba type of `LANES` numbers of one floating type."""

    def __init__(self, scalar: types.Float) -> None:
        self.scalar = scalar
        super().__init__(name=f"Vector({scalar})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        element = manager.lookup(kind.scalar).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, LANES))


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to `array[index]`, as a pointer to a vector."""
    if array_type.layout != "C":
        raise TypingError("vectors are read from and written to contiguous arrays only")
    data = context.make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(Vector(array_type.dtype))
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _spread(builder: Any, scalar: Any) -> Any:
    """A vector with `scalar` in every lane."""
    kind = ir.VectorType(scalar.type, LANES)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros_mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros_mask)


def _as_vectors(context: Any, builder: Any, signature: Any, values: Any) -> list[Any]:
    """Scalars among `values` take the element type of the result and fill a vector."""
    scalar = signature.return_type.scalar
    return [
        value if isinstance(kind, Vector) else _spread(builder, context.cast(builder, value, kind, scalar))
        for kind, value in zip(signature.args, values, strict=True)
    ]


def _vector_type(*kinds: Any) -> Vector:
    """The vector type among `kinds`; the others are scalars, converted to its elements."""
    return next(kind for kind in kinds if isinstance(kind, Vector))


def _suffix(kind: Any) -> str:
    """LLVM's name for a vector type in the name of an intrinsic."""
    return f"v{LANES}{'f32' if isinstance(kind.element, ir.FloatType) else 'f64'}"


def _constant(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * LANES)


@intrinsic
def load(typing_context, array, index):  # noqa: ANN001, ANN201 - the signature numba asks for
    """`array[index : index + LANES]` as a vector."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def store(typing_context, array, index, vector):  # noqa: ANN001, ANN201
    """Writes a vector to `array[index : index + LANES]`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic
def stream(typing_context, array, index, vector):  # noqa: ANN001, ANN201
    """`store` past the caches, for large outputs that are not read again soon.

    The line is not fetched before it is overwritten, which saves a third of the traffic of a copy. The
    address must be a multiple of a cache line, or of the vector where that is shorter.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        size = LANES * array.dtype.bitwidth // 8
        written = builder.store(args[2], address, align=min(size, CACHE_LINE))
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic
def load_part(typing_context, array, index, count):  # noqa: ANN001, ANN201
    """`load` of the first `count` lanes, the others are zero; a count below 1 reads nothing."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        kind, mask = address.type.pointee, _first_lanes(context, builder, signature.args[2], args[2])
        number = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(kind, [address.type, number, mask.type, kind]),
            f"llvm.masked.load.{_suffix(kind)}.p0",
        )
        return builder.call(
            function, [address, number(array.dtype.bitwidth // 8), mask, _constant(kind, 0.0)]
        )

    return Vector(array.dtype)(array, types.intp, count), code


@intrinsic
def store_part(typing_context, array, index, count, vector):  # noqa: ANN001, ANN201
    """`store` of the first `count` lanes; a count below 1 writes nothing."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        mask, number = _first_lanes(context, builder, signature.args[2], args[2]), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [args[3].type, address.type, number, mask.type]),
            f"llvm.masked.store.{_suffix(args[3].type)}.p0",
        )
        builder.call(function, [args[3], address, number(array.dtype.bitwidth // 8), mask])
        return context.get_dummy_value()

    return types.void(array, types.intp, count, vector), code


def _first_lanes(context: Any, builder: Any, kind: Any, count: Any) -> Any:
    """A mask that is true in the lanes below `count`."""
    number = builder.trunc(context.cast(builder, count, kind, types.int64), ir.IntType(32))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, _spread(builder, number))


@intrinsic
def prefetch(typing_context, array, index):  # noqa: ANN001, ANN201
    """Ask for the cache line of the element `index`; outside of the array nothing happens."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), code


@intrinsic
def splat(typing_context, scalar):  # noqa: ANN001, ANN201
    """The scalar in every lane."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, args[0])

    return Vector(scalar)(scalar), code


@intrinsic
def splat_at(typing_context, array, index):  # noqa: ANN001, ANN201
    """`array[index]` in every lane, without the arithmetic that wraps a negative index around."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _spread(builder, builder.load(builder.gep(data, [args[1]])))

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def zeros(typing_context, array):  # noqa: ANN001, ANN201
    """A vector of zeros of the array's element type."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _constant(context.get_value_type(signature.return_type), 0.0)

    return Vector(array.dtype)(array), code


@intrinsic
def fma(typing_context, a, b, c):  # noqa: ANN001, ANN201
    """`a * b + c` in one rounding where the machine can; each operand a vector or a scalar."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fused(builder, *_as_vectors(context, builder, signature, args))

    return _vector_type(a, b, c)(a, b, c), code


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    signature = ir.FunctionType(c.type, [c.type] * 3)
    name = f"llvm.fmuladd.{_suffix(c.type)}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [a, b, c])


def _pairwise(instruction: str) -> Callable[..., Any]:
    """Code generator of a two-operand instruction."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*_as_vectors(context, builder, signature, args))

    return code


@intrinsic
def mul(typing_context, a, b):  # noqa: ANN001, ANN201
    """`a * b`; one of them may be a scalar."""
    return _vector_type(a, b)(a, b), _pairwise("fmul")


@intrinsic
def add(typing_context, a, b):  # noqa: ANN001, ANN201
    """`a + b`; one of them may be a scalar."""
    return _vector_type(a, b)(a, b), _pairwise("fadd")


@intrinsic
def total(typing_context, vector):  # noqa: ANN001, ANN201
    """Sum over the lanes, as a tree."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = args[0].type.element
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(element, [element, args[0].type]),
            f"llvm.vector.reduce.fadd.{_suffix(args[0].type)}",
        )
        return builder.call(function, [ir.Constant(element, 0.0), args[0]], fastmath=("reassoc",))

    return vector.scalar(vector), code


@intrinsic
def exp2(typing_context, vector):  # noqa: ANN001, ANN201
    """`2 ** x` to one unit in the last place; 0 below the smallest normal number; infinity and NaN as usual.

    `x = n + f` with integer n and |f| <= 1/2; the Taylor series of `2 ** f`, then n is added to the exponent
    bits.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _exp2_code(builder, args[0], single=vector.scalar == types.float32)

    return vector(vector), code


def _exp2_code(builder: Any, x: Any, *, single: bool) -> Any:
    bits, mantissa, degree, lowest = (32, 23, 7, -126.0) if single else (64, 52, 13, -1022.0)
    integers = ir.VectorType(ir.IntType(bits), LANES)
    floor, ceiling = _constant(x.type, lowest), _constant(x.type, 2.0 - lowest)
    underflows = builder.fcmp_ordered("<", x, floor)
    x = builder.select(underflows, floor, x)
    x = builder.select(builder.fcmp_ordered(">", x, ceiling), ceiling, x)
    # adding 1.5 * 2^mantissa leaves the nearest integer in the low bits
    shifted = builder.fadd(x, _constant(x.type, 1.5 * 2.0**mantissa))
    fraction = builder.fsub(x, builder.fsub(shifted, _constant(x.type, 1.5 * 2.0**mantissa)))
    series = _constant(x.type, math.log(2.0) ** degree / math.factorial(degree))
    for power in range(degree - 1, -1, -1):
        coefficient = _constant(x.type, math.log(2.0) ** power / math.factorial(power))
        series = _fused(builder, series, fraction, coefficient)
    exponent = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, [mantissa] * LANES))
    result = builder.bitcast(builder.add(builder.bitcast(series, integers), exponent), x.type)
    return builder.select(underflows, _constant(x.type, 0.0), result)


@nb.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def scratch(size, like):  # noqa: ANN001, ANN201
    """`size` zeros of the element type of `like`, from a cache line on: crossing one doubles a load."""
    room = np.zeros(size + CACHE_LINE // like.itemsize, like.dtype)
    start = (-room.ctypes.data) % CACHE_LINE // like.itemsize
    return room[start : start + size]
