"""pLSTM-Vis: matrix states that run along the edges of the grid of tokens, from all four corners.

Blocks alternate the two modes of `statewise.core.layers.plstm2d`: P spreads along a direction, D carries
along lines that turn once. Each block is x + pLSTM(norm(x)), then x + MLP(norm(x)) with a GELU and four times
the features. The features of the four corner tokens, which have seen the whole image, make the image's
vector. Pöppel, Freinschlag, Schmied, Lin and Hochreiter, "pLSTM: parallelizable Linear Source Transition Mark
networks", 2025.

Shapes: tokens (B, y, x, D); the pooled vector has 4 D features, of the corners in the order (first row, first
column), (last row, first column), (first row, last column), (last row, last column).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.plstm2d import PLSTM2D, PLSTM2DConfig
from statewise.vision.models.image_model import ImageConfig, ImageModel
from statewise.vision.models.norms import RMSNorm
from statewise.vision.models.patches import PatchEmbedding, PositionTable
from statewise.vision.models.residual import DropPath, depth_rates

__all__ = ["PLSTMVis", "PLSTMVisConfig", "presets"]

EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class PLSTMVisConfig(ImageConfig):
    """Settings of `PLSTMVis`."""

    patch: int = 16
    """Pixels per token and axis."""
    d_model: int = 192
    """D, features of a token."""
    depth: int = 12
    """Number of blocks; of alternating modes they come in pairs."""
    heads: int = 3
    """H, heads; 4 H divides D."""
    modes: Literal["both", "P", "D"] = "both"
    """P and D in turn, or one of them throughout."""
    parametrisation: Literal["paper", "official"] = "paper"
    """Of mode P: as printed, or as in the published code."""
    positions: bool = True
    """Add learned positions to the tokens."""
    drop_path: float = 0.0
    """Largest probability of skipping a branch in training, reached in the last block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch", "d_model", "depth", "heads"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.d_model % (4 * self.heads) == 0, "heads", self.heads, "a divisor of d_model / 4")
        require(0 <= self.drop_path < 1, "drop_path", self.drop_path, "from 0 to below 1")


presets: dict[str, dict[str, Any]] = {
    "nano": {"patch": 4, "d_model": 64, "depth": 4, "heads": 4},
    "micro": {"patch": 8, "d_model": 96, "depth": 6, "heads": 3},
    "t": {},
    "s": {"d_model": 384, "heads": 6, "drop_path": 0.05},
    "b": {"d_model": 768, "heads": 12, "drop_path": 0.1},
}


class Block(nn.Module):
    """Mixer and MLP, each behind a norm and around a residual."""

    def __init__(self, config: PLSTMVisConfig, mode: Literal["P", "D"], drop_path: float) -> None:
        super().__init__()
        d = config.d_model
        self.mixer_norm = RMSNorm(d, eps=EPSILON)
        self.mixer = PLSTM2D(
            PLSTM2DConfig(d_model=d, heads=config.heads, mode=mode, parametrisation=config.parametrisation)
        )
        self.mlp_norm = RMSNorm(d, eps=EPSILON)
        first, second = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        for linear in (first, second):
            nn.init.normal_(linear.weight, std=math.sqrt(2 / (5 * linear.in_features)))
            nn.init.zeros_(linear.bias)
        self.mlp = nn.Sequential(first, nn.GELU(), second)
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.mixer(self.mixer_norm(x))[0])
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class PLSTMVis(ImageModel):
    """Blocks of modes P and D in turn, read at the corners."""

    def __init__(self, config: PLSTMVisConfig) -> None:
        super().__init__(config, features=4 * config.d_model)
        self.patches = PatchEmbedding(config.channels, config.d_model, config.patch)
        grid = self.patches.size(config.height, config.width)
        self.positions = PositionTable(grid, config.d_model) if config.positions else nn.Identity()
        rates = depth_rates(config.drop_path, config.depth)
        self.blocks = nn.ModuleList(
            Block(config, _mode(config.modes, i), rate) for i, rate in enumerate(rates)
        )
        self.norm = RMSNorm(config.d_model, eps=EPSILON)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    def grid(self, images: Tensor) -> Tensor:
        x = self.positions(self.patches(images))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def pool(self, grid: Tensor) -> Tensor:
        corners = [grid[:, i, j] for j in (0, -1) for i in (0, -1)]
        return torch.cat(corners, -1)


def _mode(modes: Literal["both", "P", "D"], block: int) -> Literal["P", "D"]:
    return ("P", "D")[block % 2] if modes == "both" else modes
