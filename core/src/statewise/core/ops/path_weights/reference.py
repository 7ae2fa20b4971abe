"""`path_weights` as the double loop over nodes, with a unit source at each node."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.ops.scan2d_edges import reference

__all__ = ["FLIPS", "border", "entering", "path_weights", "unit_sources", "weigh"]

FLIPS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))
"""The grid axes that each orientation runs along backwards."""


def path_weights(t: Tensor, s: Tensor, m: Tensor, backend: str = "reference") -> Tensor:
    """What each node reads of each node: (B, G, I J, I J)."""
    return weigh(t, s, m, reference.scan2d_edges)


def weigh(
    t: Tensor, s: Tensor, m: Tensor, scan: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """The same with a `scan` of edges, given transitions, sources and what enters along both axes."""
    rows, columns = s.shape[1:3]
    total = 0
    for orientation, flips in enumerate(FLIPS):
        turn, source, mark = (part[:, :, :, :, orientation].flip(flips) for part in (t, s, m))
        units = unit_sources(source)
        along, across = entering(scan(turn, units, *border(units)))
        read = mark[:, :, :, 0, :, None] * along + mark[:, :, :, 1, :, None] * across
        read = read.unflatten(-1, (rows, columns)).flip([*flips, *(flip + 3 for flip in flips)])
        total = total + read
    assert isinstance(total, Tensor)
    return total.flatten(-2).flatten(1, 2).transpose(1, 2)


def unit_sources(source: Tensor) -> Tensor:
    """Sources (B, I, J, 2, G) as those of I J recurrences, each of which has one: (B, I, J, 2, G, I J)."""
    rows, columns = source.shape[1:3]
    unit = torch.eye(rows * columns, dtype=source.dtype, device=source.device)
    return source[..., None] * unit.view(rows, columns, 1, 1, -1)


def border(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Nothing enters the grid."""
    return torch.zeros_like(edges[:, 0, :, 0]), torch.zeros_like(edges[:, :, 0, 0])


def entering(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Of the edges that leave (B, I, J, 2, G, M), those that enter along both axes; zeros at the border."""
    along, across = edges.unbind(3)
    rest = [0, 0] * (along.ndim - 3)
    return F.pad(along[:, :-1], [*rest, 0, 0, 1, 0]), F.pad(across[:, :, :-1], [*rest, 1, 0])
