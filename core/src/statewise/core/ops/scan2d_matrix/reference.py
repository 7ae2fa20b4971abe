"""`scan2d_matrix` as the double loop over nodes, one orientation after the other."""

from __future__ import annotations

from torch import Tensor

from statewise.core.ops.path_weights.reference import FLIPS, border, entering
from statewise.core.ops.scan2d_edges import reference

__all__ = ["scan2d_matrix", "written"]


def scan2d_matrix(
    q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor, backend: str = "reference"
) -> Tensor:
    """What each node reads, (B, I, J, G, V)."""
    total = 0
    for orientation, flips in enumerate(FLIPS):
        query, key, value = (part.flip(flips) for part in (q, k, v))
        turn, source, mark = (part[:, :, :, :, orientation].flip(flips) for part in (t, s, m))
        sources = written(key, value, source).flatten(-2)
        along, across = entering(reference.scan2d_edges(turn, sources, *border(sources)))
        states = mark[:, :, :, 0, :, None] * along + mark[:, :, :, 1, :, None] * across
        states = states.unflatten(-1, (k.shape[-1], v.shape[-1]))
        total = total + (query[..., None, :] @ states).squeeze(-2).flip(flips)
    assert isinstance(total, Tensor)
    return total


def written(key: Tensor, value: Tensor, source: Tensor) -> Tensor:
    """What the nodes add to their two edges, (B, I, J, 2, G, K, V)."""
    return source[..., None, None] * (key[..., :, None] * value[..., None, :])[:, :, :, None]
