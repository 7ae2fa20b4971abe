"""Tensors as flat rows of reals, and the runs of vectors that kernels read and write in them.

Complex numbers are pairs of reals. A work item of such a kernel is one batch row and one tile of at most TILE
reals of it, whatever the number of threads, so that the result does not depend on that number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from torch import Tensor

from statewise.core.ops.kernel import kernel
from statewise.core.ops.simd import LANES, load, load_part, store, store_part, stream

__all__ = [
    "CACHE_LINE",
    "FAR",
    "KINDS",
    "MARK",
    "OPTIONS",
    "TILE",
    "address",
    "array_at",
    "far",
    "items",
    "plain",
    "read",
    "reals",
    "write",
]

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"contract", "reassoc", "arcp"},
    "_nrt": False,  # else every call of an inner function counts references to each array it is handed
}
TILE = 512
"""Reals of a row that one work item takes."""
CACHE_LINE = 64
FAR = 1 << 21
"""Bytes of an output from which it is written past the caches: about what the nearest large cache holds."""

KINDS = {
    torch.float32: np.empty(0, np.float32),
    torch.float64: np.empty(0, np.float64),
    torch.complex64: np.empty(0, np.float32),
    torch.complex128: np.empty(0, np.float64),
}
"""For every dtype an array of its reals, to be the `like` of `array_at`."""
MARK = np.empty(0, np.uint8)
"""The `like` of a boolean mask."""


@intrinsic
def array_at(typing_context, address, like):
    """The memory from `address` on as an array of the element type of `like`; its length is not known.

    A kernel takes addresses because making an array of a tensor costs more than a microsecond, each.
    """
    kind = types.Array(like.dtype, 1, "C")

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(kind)(context, builder)
        item = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
        populate_array(
            array,
            data=builder.inttoptr(args[0], array.data.type),
            shape=cgutils.pack_array(builder, [context.get_constant(types.intp, 0)]),
            strides=cgutils.pack_array(builder, [item]),
            itemsize=item,
            meminfo=None,
        )
        return array._getvalue()

    return kind(types.intp, like), code


@kernel(**OPTIONS)
def read(array, place, count):
    """The next `count` numbers of an array, at most a vector of them."""
    return load(array, place) if count == LANES else load_part(array, place, count)


@kernel(**OPTIONS)
def write(array, place, vector, count, past):
    """Write the first `count` numbers of a vector, past the caches if asked for."""
    if count < LANES:
        store_part(array, place, count, vector)
    elif past:
        stream(array, place, vector)
    else:
        store(array, place, vector)


def plain(tensor: Tensor) -> Tensor:
    """The tensor with its numbers in memory as they are and in order: itself, where that is so already."""
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor.contiguous()


def address(tensor: Tensor | None) -> int:
    """Where a plain tensor begins in memory, 0 for none. The caller keeps the tensor alive."""
    return 0 if tensor is None else tensor.data_ptr()


def reals(tensor: Tensor) -> int:
    """Reals in one step (the axes from the third on) of a tensor (B, L, ...)."""
    return math.prod(tensor.shape[2:]) * (2 if tensor.is_complex() else 1)


def items(tensor: Tensor, width: int) -> int:
    """Work items of a tensor (B, L, ...) with `width` reals per step."""
    return tensor.shape[0] * -(-width // TILE)


def far(tensor: Tensor, width: int) -> bool:
    """Whether to write an output (B, L, ...) past the caches: large, and its rows fill cache lines."""
    if tensor.nbytes < FAR:
        return False
    row = width * KINDS[tensor.dtype].itemsize
    return row % CACHE_LINE == 0 and tensor.data_ptr() % CACHE_LINE == 0
