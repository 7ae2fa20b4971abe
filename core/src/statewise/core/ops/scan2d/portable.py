"""`scan2d` in plain torch: row by row, node by node along the row, vectorised over batch and features."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["backward", "forward"]


def forward(down: Tensor, right: Tensor, x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """The states (B, I, J, F)."""
    h = x.clone()
    above = row
    for i in range(h.shape[1]):
        line = h[:, i]
        line.addcmul_(down[:, i], above)
        left = column[:, i]
        for node, gate in zip(line.unbind(1), right[:, i].unbind(1), strict=True):
            left = node.addcmul_(gate, left)
        above = line
    return h


def backward(
    grad: Tensor, down: Tensor, right: Tensor, h: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of down, right, x, row and column."""
    dx = grad.clone()
    below = torch.zeros_like(row)
    for i in range(h.shape[1] - 1, -1, -1):
        dx[:, i] += below
        nodes, gates = dx[:, i].unbind(1), right[:, i].unbind(1)
        for j in range(len(nodes) - 2, -1, -1):
            nodes[j].addcmul_(gates[j + 1], nodes[j + 1])
        below = dx[:, i] * down[:, i]
    above = torch.cat([row[:, None], h[:, :-1]], 1)
    left = torch.cat([column[:, :, None], h[:, :, :-1]], 2)
    return dx * above, dx * left, dx, below, right[:, :, 0] * dx[:, :, 0]
