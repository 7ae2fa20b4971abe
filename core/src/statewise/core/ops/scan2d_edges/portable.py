"""`scan2d_edges` in plain torch: node by node, vectorised over batch, gates and the inside of each state."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["backward", "forward"]


def forward(t: Tensor, s: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """The edges that leave each node, (B, I, J, 2, G, M)."""
    edges = s.clone()
    x_in = list(top.unbind(1))
    for i in range(s.shape[1]):
        y_in = left[:, i]
        xx, xy, yx, yy = (gate.unbind(1) for gate in t[:, i, ..., None].unbind(2))
        x_line, y_line = (edge.unbind(1) for edge in edges[:, i].unbind(2))
        for j in range(s.shape[2]):
            x_line[j].addcmul_(xx[j], x_in[j]).addcmul_(yx[j], y_in)
            y_in = y_line[j].addcmul_(xy[j], x_in[j]).addcmul_(yy[j], y_in)
            x_in[j] = x_line[j]
    return edges


def backward(
    grad: Tensor, t: Tensor, edges: Tensor, top: Tensor, left: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of t, s, top and left."""
    ds = grad.clone()
    from_below = list(torch.zeros_like(top).unbind(1))
    d_left = torch.empty_like(left)
    for i in range(edges.shape[1] - 1, -1, -1):
        from_right = torch.zeros_like(left[:, i])
        xx, xy, yx, yy = (gate.unbind(1) for gate in t[:, i, ..., None].unbind(2))
        dx, dy = (d.unbind(1) for d in ds[:, i].unbind(2))
        for j in range(edges.shape[2] - 1, -1, -1):
            dx[j].add_(from_below[j])
            dy[j].add_(from_right)
            from_below[j] = xx[j] * dx[j] + xy[j] * dy[j]
            from_right = yx[j] * dx[j] + yy[j] * dy[j]
        d_left[:, i] = from_right
    x_in = torch.cat([top[:, None], edges[:, :-1, :, 0]], 1)
    y_in = torch.cat([left[:, :, None], edges[:, :, :-1, 1]], 2)
    pairs = ((0, x_in), (1, x_in), (0, y_in), (1, y_in))  # gates xx, xy, yx, yy
    dt = torch.stack([(ds[:, :, :, out] * entering).sum(-1) for out, entering in pairs], 3)
    return dt, ds, torch.stack(from_below, 1), d_left
