"""`path_weights` in plain torch: `scan2d_edges` from unit sources at all nodes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.ops.path_weights.reference import FLIPS, border, entering, unit_sources, weigh
from statewise.core.ops.scan2d_edges import portable

__all__ = ["backward", "forward"]


def forward(t: Tensor, s: Tensor, m: Tensor) -> Tensor:
    """What each node reads of each node: (B, G, I J, I J)."""
    return weigh(t, s, m, portable.forward).contiguous()


def backward(grad: Tensor, t: Tensor, s: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of t, s and m; the edges are worked out anew."""
    rows, columns = s.shape[1:3]
    grid = grad.transpose(1, 2).unflatten(1, (rows, columns)).unflatten(-1, (rows, columns))
    found: list[list[Tensor]] = [[], [], []]
    for orientation, flips in enumerate(FLIPS):
        turn, source, mark = (part[:, :, :, :, orientation].flip(flips) for part in (t, s, m))
        g = grid.flip([*flips, *(flip + 3 for flip in flips)]).flatten(-2)
        units = unit_sources(source)
        edges = portable.forward(turn, units, *border(units))
        d_mark = torch.stack([(g * part).sum(-1) for part in entering(edges)], 3)
        rest = [0, 0, 0, 0]
        along = F.pad((mark[:, :, :, 0, :, None] * g)[:, 1:], [*rest, 0, 0, 0, 1])
        across = F.pad((mark[:, :, :, 1, :, None] * g)[:, :, 1:], [*rest, 0, 1])
        d_edges = torch.stack([along, across], 3)
        d_turn, d_sides, _, _ = portable.backward(d_edges, turn, edges, *border(edges))
        unit = unit_sources(torch.ones_like(source))
        for parts, part in zip(found, (d_turn, (d_sides * unit).sum(-1), d_mark), strict=True):
            parts.append(part.flip(flips))
    d_t, d_s, d_m = (torch.stack(parts, 4) for parts in found)
    return d_t, d_s, d_m
