"""Rows divided by their norms, and the gradient, for CPUs: numba, one pass each.

With r = 1 / sqrt(|x|^2 + epsilon),    y = r x    and    dx = r (dy - <y, dy> y).
"""

from __future__ import annotations

import math

from torch import Tensor

from statewise.core.ops.buffers import empty_like
from statewise.core.ops.kernel import kernel
from statewise.core.ops.simd import LANES, fma, load_part, mul, store_part, total, zeros
from statewise.core.ops.threads import over

__all__ = ["unit", "unit_backward"]


@kernel(nogil=True)
def _divide(x, epsilon, y, factors, lo, hi):
    """Y = r x for the rows lo..hi of x, and r."""
    width = x.shape[1]
    for row in range(lo, hi):
        squares = zeros(x)
        for i in range(0, width, LANES):
            part = load_part(x, row * width + i, width - i)
            squares = fma(part, part, squares)
        factors[row] = 1 / math.sqrt(total(squares) + epsilon)
        for i in range(0, width, LANES):
            part = load_part(x, row * width + i, width - i)
            store_part(y, row * width + i, width - i, mul(factors[row], part))


@kernel(nogil=True)
def _divide_gradient(grad, y, factors, dx, lo, hi):
    """The gradient of x from that of y, for the rows lo..hi."""
    width = y.shape[1]
    for row in range(lo, hi):
        products = zeros(y)
        for i in range(0, width, LANES):
            at, live = row * width + i, width - i
            products = fma(load_part(grad, at, live), load_part(y, at, live), products)
        along = -total(products)
        for i in range(0, width, LANES):
            at, live = row * width + i, width - i
            across = fma(along, load_part(y, at, live), load_part(grad, at, live))
            store_part(dx, at, live, mul(factors[row], across))


def unit(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The rows (..., K) divided, and the factors r (...)."""
    x = x.contiguous()
    y, factors = empty_like(x), x.new_empty(x.shape[:-1])
    rows = (x.numpy(force=True).reshape(-1, x.shape[-1]), epsilon, y.numpy(), factors.numpy().reshape(-1))
    over(factors.numel(), x.numel(), _divide, *rows)
    return y, factors


def unit_backward(grad: Tensor, y: Tensor, factors: Tensor) -> Tensor:
    """The gradient of x."""
    dx, width = empty_like(y), y.shape[-1]
    rows = (grad.contiguous().numpy(force=True).reshape(-1, width), y.numpy(force=True).reshape(-1, width))
    over(factors.numel(), y.numel(), _divide_gradient, *rows, factors.numpy().reshape(-1), dx.numpy())
    return dx
