"""Hydra and HGRN as image models: a layer over the tokens in raster order, read both ways.

Hydra (Hwang et al., 2024) is bidirectional by itself. HGRN (Qin, Yang and Zhong, 2023) runs once each way,
with maps of its own per direction, and learns with one table the lower bounds of its forget gates: those of
block i are the shares of the blocks below it, which are zero in the first and rise with depth, so that upper
blocks remember longer.

Shapes: tokens (B, y, x, D) read as (B, N, D), N = y x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.hgrn import lower_bounds
from statewise.core.layers.hydra import Hydra, HydraConfig
from statewise.core.ops import linear_scan
from statewise.vision.models.image_model import ImageConfig, ImageModel
from statewise.vision.models.norms import RMSNorm
from statewise.vision.models.patches import PatchEmbedding, PositionTable
from statewise.vision.models.residual import DropPath, SwiGLU, depth_rates

__all__ = ["HGRNVis", "HGRNVisConfig", "HydraVis", "HydraVisConfig"]


@dataclass(frozen=True, kw_only=True)
class ScannedConfig(ImageConfig):
    """What the settings of both hold."""

    patch: int = 16
    """Pixels per token and axis."""
    d_model: int = 192
    """D, features of a token."""
    depth: int = 12
    """Number of blocks."""
    mlp_ratio: float = 2.0
    """Hidden units of the SwiGLU per feature."""
    drop_path: float = 0.0
    """Largest probability of skipping a branch in training, reached in the last block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch", "d_model", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.mlp_ratio * self.d_model >= 1, "mlp_ratio", self.mlp_ratio, "1 / d_model or more")
        require(0 <= self.drop_path < 1, "drop_path", self.drop_path, "from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class HydraVisConfig(ScannedConfig):
    """Settings of `HydraVis`."""

    d_state: int = 64
    """N, features of Hydra's B and C."""


@dataclass(frozen=True, kw_only=True)
class HGRNVisConfig(ScannedConfig):
    """Settings of `HGRNVis`."""

    patch: int = 14
    """Pixels per token and axis."""


class Block(nn.Module):
    """Mixer and SwiGLU, each behind a norm and around a residual."""

    def __init__(self, config: ScannedConfig, mixer: nn.Module, drop_path: float) -> None:
        super().__init__()
        d = config.d_model
        self.mixer_norm = RMSNorm(d, eps=1e-6)
        self.mixer = mixer
        self.mlp_norm = RMSNorm(d, eps=1e-6)
        self.mlp = SwiGLU(d, int(config.mlp_ratio * d))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor, *bound: Tensor) -> Tensor:
        mixed = self.mixer(self.mixer_norm(x), *bound)
        x = x + self.drop(mixed[0] if isinstance(mixed, tuple) else mixed)
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class HydraVis(ImageModel):
    """Blocks of Hydra over learned positions."""

    def __init__(self, config: HydraVisConfig) -> None:
        super().__init__(config, features=config.d_model)
        self.patches = PatchEmbedding(config.channels, config.d_model, config.patch)
        grid = self.patches.size(config.height, config.width)
        self.positions = PositionTable(grid, config.d_model)
        rates = depth_rates(config.drop_path, config.depth)
        settings = HydraConfig(d_model=config.d_model, d_state=config.d_state)
        self.blocks = nn.ModuleList(Block(config, Hydra(settings), rate) for rate in rates)
        self.norm = RMSNorm(config.d_model, eps=1e-6)

    def grid(self, images: Tensor) -> Tensor:
        x = self.positions(self.patches(images))
        size, x = x.shape[1:3], x.flatten(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.norm(x).unflatten(1, size)


class BothWays(nn.Module):
    """HGRN forwards plus HGRN backwards, each with its own maps; complex states that turn by theta.

        f = b + (1 - b) sigmoid(W_f x),   h <- f exp(i theta) h + (1 - f) c,   c = silu(W_r x) + i silu(W_i x)
        y = W_o (sigmoid(W_g x) * norm([Re h, Im h]))          h the sum over both directions

    Args:
        d_model: D.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.maps = nn.Linear(d_model, 2 * 3 * d_model)
        self.gate = nn.Linear(d_model, 2 * d_model)
        self.norm = RMSNorm(2 * d_model, eps=1e-6)
        self.out = nn.Linear(2 * d_model, d_model)
        self.theta = nn.Parameter(torch.exp(torch.linspace(0, -math.log(1e4), d_model)))

    def forward(self, x: Tensor, bound: Tensor) -> Tensor:
        """(B, N, D) with the bound (D,) to (B, N, D)."""
        angle = self.theta.float()
        turn = torch.complex(torch.cos(angle), torch.sin(angle))
        total: Tensor | None = None
        for reverse, part in enumerate(self.maps(x).float().chunk(2, -1)):
            logits, real, imaginary = part.chunk(3, -1)
            share = (1 - bound) * torch.sigmoid(-logits)
            write = torch.complex(share * F.silu(real), share * F.silu(imaginary))
            h, _ = linear_scan((1 - share) * turn, write, reverse=bool(reverse))
            total = h if total is None else total + h
        assert total is not None  # two directions
        parts = torch.cat([total.real, total.imag], -1).to(x.dtype)
        return self.out(torch.sigmoid(self.gate(x)) * self.norm(parts))


class HGRNVis(ImageModel):
    """Blocks of HGRN both ways; the scans know the order, so there are no positions."""

    def __init__(self, config: HGRNVisConfig) -> None:
        super().__init__(config, features=config.d_model)
        self.patches = PatchEmbedding(config.channels, config.d_model, config.patch)
        rates = depth_rates(config.drop_path, config.depth)
        self.blocks = nn.ModuleList(Block(config, BothWays(config.d_model), rate) for rate in rates)
        self.bounds = nn.Parameter(torch.zeros(config.depth, config.d_model))
        self.norm = RMSNorm(config.d_model, eps=1e-6)

    def grid(self, images: Tensor) -> Tensor:
        x = self.patches(images)
        size, x = x.shape[1:3], x.flatten(1, 2)
        for block, bound in zip(self.blocks, lower_bounds(self.bounds.float()), strict=True):
            x = block(x, bound)
        return self.norm(x).unflatten(1, size)


presets: dict[str, dict[str, Any]] = {
    "nano": {"patch": 4, "d_model": 64, "depth": 4},
    "micro": {"patch": 8, "d_model": 96, "depth": 6},
    "t": {},
    "s": {"d_model": 384},
}
