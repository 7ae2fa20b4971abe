"""Work on tokens in slices that stay in the cache, and maps whose outputs need no copy to be split.

Where no gradient is wanted nothing has to be kept, and what is made of one token alone can be made for a few
of them at a time: less memory, and faster on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ROWS", "by_rows", "split_linear", "worth_slicing"]

ROWS = 1024
"""Tokens of a slice."""


def worth_slicing(shape: torch.Size) -> bool:
    """Whether tokens of this shape, (B, N) or so, are to be worked on in slices."""
    traced = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    # in a trace a size may be a symbol, which counting would turn into a number
    return not traced and not torch.is_grad_enabled() and shape.numel() > ROWS


def by_rows(function: Callable[..., Tensor], first: Tensor, *others: Tensor) -> Tensor:
    """A function of each token alone, of tensors (..., D), (..., E), ... to (..., F), in slices if they pay.

    Args:
        function: of tensors (n, D), (n, E), ..., or of the whole ones.
        first: tokens.
        others: more of the same tokens.
    """
    shape = first.shape[:-1]
    if not worth_slicing(shape):
        return function(first, *others)
    flat = [tensor.flatten(0, -2) for tensor in (first, *others)]
    out: Tensor | None = None
    for begin in range(0, len(flat[0]), ROWS):
        found = function(*(tensor[begin : begin + ROWS] for tensor in flat))
        if out is None:
            out = found.new_empty(len(flat[0]), found.shape[-1])
        out[begin : begin + ROWS] = found
    assert out is not None  # there are more than ROWS tokens
    return out.unflatten(0, shape)


def split_linear(linear: nn.Linear, sizes: Sequence[int], x: Tensor) -> Iterator[Tensor]:
    """The output of a map without bias in contiguous parts of so many features, a product each."""
    return (F.linear(x, weight) for weight in linear.weight.split(list(sizes)))
