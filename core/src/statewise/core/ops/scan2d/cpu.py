"""`scan2d` for CPUs: numba, one pass over the grid, the row above still in cache."""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.ops.buffers import empty_like
from statewise.core.ops.kernel import kernel
from statewise.core.ops.threads import over

__all__ = ["backward", "forward", "warmup"]

OPTIONS = {"nogil": True, "fastmath": {"contract", "reassoc", "arcp"}}


@kernel(**OPTIONS)
def _forward(down, right, x, row, column, h, lo, hi):
    """States of the batch rows lo..hi: down, right, x, h (B, I, J, F); row (B, J, F); column (B, I, F)."""
    _, rows, columns, width = x.shape
    for b in range(lo, hi):
        for i in range(rows):
            for j in range(columns):
                here, d, r = x[b, i, j], down[b, i, j], right[b, i, j]
                above = row[b, j] if i == 0 else h[b, i - 1, j]
                left = column[b, i] if j == 0 else h[b, i, j - 1]
                out = h[b, i, j]
                for f in range(width):
                    out[f] = here[f] + d[f] * above[f] + r[f] * left[f]


@kernel(**OPTIONS)
def _backward(down, right, h, row, column, grad, d_down, d_right, dx, d_row, d_column, lo, hi):
    """Gradients of the batch rows lo..hi, from the far corner; dx doubles as the running total."""
    _, rows, columns, width = h.shape
    for b in range(lo, hi):
        for i in range(rows - 1, -1, -1):
            for j in range(columns - 1, -1, -1):
                out, g = dx[b, i, j], grad[b, i, j]
                for f in range(width):
                    out[f] = g[f]
                if i < rows - 1:
                    d, below = down[b, i + 1, j], dx[b, i + 1, j]
                    for f in range(width):
                        out[f] += d[f] * below[f]
                if j < columns - 1:
                    r, beside = right[b, i, j + 1], dx[b, i, j + 1]
                    for f in range(width):
                        out[f] += r[f] * beside[f]
                above = row[b, j] if i == 0 else h[b, i - 1, j]
                left = column[b, i] if j == 0 else h[b, i, j - 1]
                dd, dr = d_down[b, i, j], d_right[b, i, j]
                for f in range(width):
                    dd[f] = out[f] * above[f]
                    dr[f] = out[f] * left[f]
            d, dc = right[b, i, 0], d_column[b, i]
            for f in range(width):
                dc[f] = d[f] * dx[b, i, 0, f]
        for j in range(columns):
            for f in range(width):
                d_row[b, j, f] = down[b, 0, j, f] * dx[b, 0, j, f]


def forward(down: Tensor, right: Tensor, x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """The states (B, I, J, F)."""
    h = empty_like(x)
    arrays = [tensor.numpy() for tensor in (down, right, x, row, column, h)]
    over(len(x), x.numel(), lambda lo, hi: _forward(*arrays, lo, hi))
    return h


def backward(
    grad: Tensor, down: Tensor, right: Tensor, h: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of down, right, x, row and column."""
    outputs = tuple(empty_like(tensor) for tensor in (h, h, h, row, column))
    arrays = [tensor.numpy() for tensor in (down, right, h, row, column, grad, *outputs)]
    over(len(h), h.numel(), lambda lo, hi: _backward(*arrays, lo, hi))
    return outputs


def warmup() -> None:
    """Compile the kernels for both floating types, on a grid of one node."""
    for dtype in (torch.float32, torch.float64):
        x, line = torch.zeros(1, 1, 1, 1, dtype=dtype), torch.zeros(1, 1, 1, dtype=dtype)
        backward(x, x, x, forward(x, x, x, line, line), line, line)
