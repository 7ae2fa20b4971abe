"""Tensors as flat rows of reals, and the runs of vectors that kernels read and write in them.

Complex numbers are pairs of reals. A work item of such a kernel is one batch row and one tile of at most TILE
reals of it, whatever the number of threads, so that the result does not depend on that number.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from statewise.core.ops.simd import LANES, load, load_part, store, store_part, stream

__all__ = ["OPTIONS", "TILE", "far", "flat", "items", "marks", "read", "reals", "write"]

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "fastmath": {"contract", "reassoc", "arcp"},
    "_nrt": False,  # else every call of an inner function counts references to each array it is handed
}
TILE = 512
"""Reals of a row that one work item takes."""
CACHE_LINE = 64
FAR = 1 << 21
"""Bytes of an output from which it is written past the caches: about what the nearest large cache holds."""

_NONE = {
    kind: np.empty(0, np.float64 if kind in (torch.float64, torch.complex128) else np.float32)
    for kind in (torch.float32, torch.float64, torch.complex64, torch.complex128)
}
_UNMARKED = np.empty(0, np.bool_)


@nb.njit(**OPTIONS)
def read(array, place, count):
    """The next `count` numbers of an array, at most a vector of them."""
    return load(array, place) if count == LANES else load_part(array, place, count)


@nb.njit(**OPTIONS)
def write(array, place, vector, count, past):
    """Write the first `count` numbers of a vector, past the caches if asked for."""
    if count < LANES:
        store_part(array, place, count, vector)
    elif past:
        stream(array, place, vector)
    else:
        store(array, place, vector)


def flat(tensor: Tensor | None, like: Tensor | None = None) -> np.ndarray:
    """All reals of a tensor in order, uncopied if it is contiguous; of no tensor none, typed as `like`."""
    if tensor is None:
        return _NONE[like.dtype]  # type: ignore[union-attr]
    array = tensor.numpy(force=True).ravel()
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array


def marks(mask: Tensor | None) -> np.ndarray:
    """A boolean mask in order; of no mask nothing."""
    return _UNMARKED if mask is None else mask.numpy().ravel()


def reals(tensor: Tensor) -> int:
    """Reals in one step (the axes from the third on) of a tensor (B, L, ...)."""
    return tensor.shape[2:].numel() * (2 if tensor.is_complex() else 1)


def items(tensor: Tensor) -> int:
    """Work items of a tensor (B, L, ...)."""
    return tensor.shape[0] * -(-reals(tensor) // TILE)


def far(tensor: Tensor) -> bool:
    """Whether to write an output (B, L, ...) past the caches: large, and its rows fill cache lines."""
    row = tensor.shape[2:].numel() * tensor.element_size()
    return tensor.nbytes >= FAR and row % CACHE_LINE == 0 and tensor.data_ptr() % CACHE_LINE == 0
