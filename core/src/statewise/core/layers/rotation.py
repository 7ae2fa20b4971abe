"""Positions within sequences, and the rotation of pairs of features by angles."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["positions", "rotate"]


def positions(
    first: Tensor, length: int, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The steps since the start of each sequence.

    Args:
        first: (B,) integers, the position of the first step.
        length: L.
        reset: (B, L) bool, at which positions start at zero again, or None.
        lengths: (B,), the end of each row, or None.

    Returns:
        (B, L) integers, and (B,), the position after the end of each row.
    """
    time = torch.arange(length, device=first.device)
    places = first[:, None] + time
    if reset is not None:
        starts = torch.where(reset, time, -1).cummax(1).values
        places = torch.where(starts >= 0, time - starts, places)
    if lengths is None:
        return places, places[:, -1] + 1
    last = places.gather(1, (lengths.long() - 1).clamp(min=0)[:, None])[:, 0] + 1
    return places, torch.where(lengths > 0, last, first)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i+S}), i < S, by S angles; features from 2 S on stay.

    Args:
        x: (..., K).
        angles: (..., S) in radians, S at most K / 2.
    """
    count = angles.shape[-1]
    a, b, rest = x.split((count, count, x.shape[-1] - 2 * count), -1)
    cos, sin = torch.cos(angles), torch.sin(angles)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], -1)
