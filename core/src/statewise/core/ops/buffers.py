"""Memory for large results of CPU kernels, used again once the tensor that held it is gone.

The C library returns large blocks to the operating system, which hands them out again page by page: measured,
two thirds of the time of a scan over 17 MB arrays between other work. A block is lent to one tensor. When the
last view of that tensor's storage is freed, its block waits here for the next tensor of about its size. At
most KEEP bytes wait; what comes on top clears the store, so that it follows a change of shapes by itself.

Such a tensor behaves like any other, except that its storage cannot be resized in place.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["KEEP", "LEAST", "blank", "empty", "empty_like"]

LEAST = 1 << 20
"""Bytes of the smallest block: below, the allocator of torch is as fast."""
KEEP = 1 << 28
"""Bytes that may wait for use."""
CACHE_LINE = 64

# Lists and the dictionary are only appended to, popped from, cleared and copied, each of which is atomic:
# blocks come back on any thread, at any moment, even in the middle of `empty_like`.
_waiting: dict[int, list[np.ndarray]] = {}


def empty_like(tensor: Tensor) -> Tensor:
    """An uninitialised contiguous CPU tensor of the shape and dtype of `tensor`, aligned to cache lines."""
    if tensor.nbytes < LEAST:
        return torch.empty_like(tensor, memory_format=torch.contiguous_format)
    return empty(tensor.shape, tensor.dtype)


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The same for a shape."""
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return torch.empty(shape, dtype=dtype)
    room = _rounded(size)
    try:
        block = _waiting[room].pop()
    except (KeyError, IndexError):
        block = np.empty(room + CACHE_LINE, np.uint8)
    start = -block.ctypes.data % CACHE_LINE
    lent = block[start : start + size]
    weakref.finalize(lent, _give_back, room, block).atexit = False
    return torch.from_numpy(lent).view(dtype).view(shape)


def blank(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A CPU tensor of zeros for a kernel to read.

    A fill by torch may wake its second thread, which then spins for milliseconds on the core that the kernel
    wants; the operating system has zeros ready.
    """
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(*shape)


def _give_back(room: int, block: np.ndarray) -> None:
    if sum(size * len(blocks) for size, blocks in list(_waiting.items())) + room > KEEP:
        _waiting.clear()
    if room <= KEEP:
        _waiting.setdefault(room, []).append(block)


def _rounded(size: int) -> int:
    """`size` rounded up by at most an eighth, so that nearly equal sizes share blocks."""
    unit = 1 << max(size.bit_length() - 4, 0)
    return -(-size // unit) * unit
