"""`scan2d` as the double loop that defines it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["scan2d"]


def scan2d(
    down: Tensor, right: Tensor, x: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """h[i, j] = x[i, j] + down[i, j] h[i-1, j] + right[i, j] h[i, j-1], node by node."""
    rows, columns = x.shape[1], x.shape[2]
    above = list(row.unbind(1))
    grid = []
    left = column[:, 0]
    for i in range(rows):
        left = column[:, i]
        line = []
        for j in range(columns):
            left = x[:, i, j] + down[:, i, j] * above[j] + right[:, i, j] * left
            line.append(left)
        above = line
        grid.append(torch.stack(line, 1))
    h = torch.stack(grid, 1)
    return h, h[:, -1], h[:, :, -1]
