"""From pixels to a grid of tokens, and where on the grid a token stands.

Letters: B batch, C channels, Y and X pixels, y and x tokens, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ConvStem", "PatchEmbedding", "PositionTable", "channel_norm", "from_grid", "to_grid"]


def to_grid(features: Tensor) -> Tensor:
    """(B, D, y, x) to (B, y, x, D); free of charge where the memory is channels-last already."""
    return features.permute(0, 2, 3, 1)


def from_grid(grid: Tensor) -> Tensor:
    """(B, y, x, D) to (B, D, y, x), channels-last in memory."""
    return grid.permute(0, 3, 1, 2)


def channel_norm(norm: nn.LayerNorm, features: Tensor) -> Tensor:
    """LayerNorm over the channels of (B, D, y, x)."""
    return from_grid(norm(to_grid(features)))


class PatchEmbedding(nn.Module):
    """One token per square of pixels, by one linear map (Dosovitskiy et al., ViT, 2021).

    Where the image is no multiple of the patch, zeros (the mean colour after standardising) fill it up at
    the right and at the bottom.

    Args:
        channels: C.
        d_model: D.
        patch: side of a square, in pixels.
    """

    def __init__(self, channels: int, d_model: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.map = nn.Conv2d(channels, d_model, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, Y, X) to (B, ceil(Y / patch), ceil(X / patch), D)."""
        below, right = -images.shape[2] % self.patch, -images.shape[3] % self.patch
        if below or right:
            images = F.pad(images, (0, right, 0, below))
        return to_grid(self.map(images))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The grid of an image."""
        return -(-height // self.patch), -(-width // self.patch)


class ConvStem(nn.Module):
    """ViG's stem: two overlapping convolutions, of stride patch / 2 and 2, each with a channel norm.

    Args:
        channels: C.
        d_model: D, even.
        patch: the stride of both together, even.
    """

    def __init__(self, channels: int, d_model: int, patch: int) -> None:
        super().__init__()
        self.stride = patch // 2
        self.first = nn.Conv2d(channels, d_model // 2, self.stride + 1, stride=self.stride, padding=1)
        self.first_norm = nn.LayerNorm(d_model // 2, eps=1e-6)
        self.second = nn.Conv2d(d_model // 2, d_model, 3, stride=2, padding=1)
        self.second_norm = nn.LayerNorm(d_model, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, Y, X) to (B, y, x, D)."""
        # no name holds the copy: without a gradient it is gone before the tokens come
        half = self.first(images.contiguous(memory_format=torch.channels_last))
        half = F.silu(channel_norm(self.first_norm, half))
        return self.second_norm(to_grid(self.second(half)))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The grid of an image."""
        return self._along(height), self._along(width)

    def _along(self, pixels: int) -> int:
        half = max(0, pixels + 2 - (self.stride + 1)) // self.stride + 1
        return (half - 1) // 2 + 1


class PositionTable(nn.Module):
    """A learned vector per token, resized to other grids with bicubic interpolation.

    The interpolation is computed in float32, with half-pixel centres (align_corners false) and without
    antialiasing, as the published weights of such models expect it.

    Args:
        grid: rows and columns that are learned.
        d_model: D.
    """

    no_decay = frozenset({"table"})

    def __init__(self, grid: tuple[int, int], d_model: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, *grid, d_model))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add the positions to tokens (B, y, x, D)."""
        size = (tokens.shape[1], tokens.shape[2])
        if size == tuple(self.table.shape[1:3]):
            return tokens + self.table
        table = from_grid(self.table).float()
        resized = F.interpolate(table, size=size, mode="bicubic", align_corners=False, antialias=False)
        return tokens + to_grid(resized).to(tokens.dtype)
