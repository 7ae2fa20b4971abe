"""`scan2d_edges` as the double loop that defines it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["scan2d_edges"]


def scan2d_edges(t: Tensor, s: Tensor, top: Tensor, left: Tensor, backend: str = "reference") -> Tensor:
    """The two edges that leave each node, node by node: (B, I, J, 2, G, M)."""
    rows, columns = s.shape[1], s.shape[2]
    xx, xy, yx, yy = t[..., None].unbind(3)
    x_in = list(top.unbind(1))
    grid = []
    for i in range(rows):
        y_in = left[:, i]
        line = []
        for j in range(columns):
            x_out = xx[:, i, j] * x_in[j] + yx[:, i, j] * y_in + s[:, i, j, 0]
            y_out = xy[:, i, j] * x_in[j] + yy[:, i, j] * y_in + s[:, i, j, 1]
            line.append(torch.stack([x_out, y_out], 1))
            x_in[j], y_in = x_out, y_out
        grid.append(torch.stack(line, 1))
    return torch.stack(grid, 1)
