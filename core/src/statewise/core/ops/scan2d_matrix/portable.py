"""`scan2d_matrix` in plain torch: `scan2d_edges` over all matrix states, one orientation after the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.ops.path_weights.reference import FLIPS, border, entering
from statewise.core.ops.scan2d_edges import portable
from statewise.core.ops.scan2d_matrix.reference import written

__all__ = ["backward", "forward"]


def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor) -> Tensor:
    """What each node reads, (B, I, J, G, V)."""
    total = torch.zeros_like(v)
    for orientation, flips in enumerate(FLIPS):
        query, key, value = (part.flip(flips) for part in (q, k, v))
        turn, source, mark = (part[:, :, :, :, orientation].flip(flips) for part in (t, s, m))
        sources = written(key, value, source).flatten(-2)
        read = _read(mark, portable.forward(turn, sources, *border(sources)))
        read = read.unflatten(-1, (k.shape[-1], v.shape[-1]))
        total = total + (query[..., None, :] @ read).squeeze(-2).flip(flips)
    return total


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of all six."""
    sums = [torch.zeros_like(part) for part in (q, k, v)]
    gates: list[list[Tensor]] = [[], [], []]
    shape = k.shape[-1], v.shape[-1]
    for orientation, flips in enumerate(FLIPS):
        g, query, key, value = (part.flip(flips) for part in (grad, q, k, v))
        turn, source, mark = (part[:, :, :, :, orientation].flip(flips) for part in (t, s, m))
        sources = written(key, value, source).flatten(-2)
        edges = portable.forward(turn, sources, *border(sources))
        d_query = (_read(mark, edges).unflatten(-1, shape) @ g[..., None]).squeeze(-1)
        outer = (query[..., :, None] * g[..., None, :]).flatten(-2)
        d_mark = torch.stack([(outer * part).sum(-1) for part in entering(edges)], 3)
        rest = [0, 0, 0, 0]
        along = F.pad((mark[:, :, :, 0, :, None] * outer)[:, 1:], [*rest, 0, 0, 0, 1])
        across = F.pad((mark[:, :, :, 1, :, None] * outer)[:, :, 1:], [*rest, 0, 1])
        d_turn, d_sources, _, _ = portable.backward(
            torch.stack([along, across], 3), turn, edges, *border(edges)
        )
        d_source = (d_sources * written(key, value, torch.ones_like(source)).flatten(-2)).sum(-1)
        d_outer = (source[..., None] * d_sources).sum(3).unflatten(-1, shape)
        d_key = (d_outer @ value[..., None]).squeeze(-1)
        d_value = (key[..., None, :] @ d_outer).squeeze(-2)
        for total, part in zip(sums, (d_query, d_key, d_value), strict=True):
            total += part.flip(flips)
        for parts, part in zip(gates, (d_turn, d_source, d_mark), strict=True):
            parts.append(part.flip(flips))
    d_q, d_k, d_v = sums
    d_t, d_s, d_m = (torch.stack(parts, 4) for parts in gates)
    return d_q, d_k, d_v, d_t, d_s, d_m


def _read(mark: Tensor, edges: Tensor) -> Tensor:
    """The marked states that enter the nodes, (B, I, J, G, K V)."""
    along, across = entering(edges)
    return mark[:, :, :, 0, :, None] * along + mark[:, :, :, 1, :, None] * across
