"""What the tests of the operators over whole grids share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from statewise.core.ops import use_backend

__all__ = ["equal_bits_on_two_threads", "relative_error", "value_and_gradients"]


def value_and_gradients(op: Callable[..., Tensor], inputs: Sequence[Tensor], backend: str) -> list[Tensor]:
    """What an operator gives on a backend, and the gradients of all inputs for one fixed cotangent."""
    with use_backend(backend):
        value = op(*inputs)
        cotangent = torch.sin(torch.arange(value.numel(), dtype=value.dtype)).view(value.shape)
        return [value, *torch.autograd.grad(value, inputs, cotangent)]


def relative_error(value: Tensor, wanted: Tensor) -> float:
    difference = value.detach().double() - wanted.detach()
    return float(difference.norm() / wanted.detach().norm())


def equal_bits_on_two_threads(op: Callable[..., Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether one thread and two give the same value and gradients to the bit."""
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append(value_and_gradients(op, inputs, "cpu"))
        finally:
            torch.set_num_threads(1)
    return all(torch.equal(one, two) for one, two in zip(*results, strict=True))
