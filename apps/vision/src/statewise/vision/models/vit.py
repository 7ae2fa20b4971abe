"""ViT: the attention baseline, pre-norm blocks with the fused attention of PyTorch.

    x <- x + W_o attention(norm(x)),  x <- x + W_2 gelu(W_1 norm(x));  the mean over all tokens is pooled

Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, with the sizes of Touvron et al., "Training
data-efficient image transformers" (DeiT), 2021. Cost grows with the square of the number of tokens.

Differs from DeiT: no class token and no distillation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.vision.models.image_model import ImageConfig, ImageModel
from statewise.vision.models.patches import PatchEmbedding, PositionTable
from statewise.vision.models.residual import DropPath, depth_rates

__all__ = ["ViT", "ViTConfig", "presets"]


@dataclass(frozen=True, kw_only=True)
class ViTConfig(ImageConfig):
    """Settings of `ViT`."""

    patch: int = 16
    """Pixels per token and axis."""
    d_model: int = 192
    """D, features of a token."""
    depth: int = 12
    """Number of blocks."""
    heads: int = 3
    """H, heads, a divisor of D."""
    mlp_ratio: float = 4.0
    """Hidden units of the MLP per feature."""
    drop_path: float = 0.0
    """Largest probability of skipping a branch in training, reached in the last block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch", "d_model", "depth", "heads"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.d_model % self.heads == 0, "heads", self.heads, "a divisor of d_model")
        require(self.mlp_ratio * self.d_model >= 1, "mlp_ratio", self.mlp_ratio, "1 / d_model or more")
        require(0 <= self.drop_path < 1, "drop_path", self.drop_path, "from 0 to below 1")


presets: dict[str, dict[str, Any]] = {
    "nano": {"patch": 4, "d_model": 64, "depth": 4, "heads": 4},
    "micro": {"patch": 8, "d_model": 96, "depth": 6},
    "t": {},
    "s": {"d_model": 384, "heads": 6, "drop_path": 0.1},
    "b": {"d_model": 768, "heads": 12, "drop_path": 0.2},
}


class Attention(nn.Module):
    """Softmax attention between all tokens."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.maps = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.maps(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(_attended(q, k, v).to(q.dtype).transpose(1, 2).flatten(2))


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Fused attention, (B, H, N, K) each."""
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v)
    # on CPUs the backward pass of the fused kernel takes many times longer in bf16 than in fp32
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float())


class Block(nn.Module):
    """Attention and MLP, each behind a norm and around a residual."""

    def __init__(self, config: ViTConfig, drop_path: float) -> None:
        super().__init__()
        d, hidden = config.d_model, int(config.mlp_ratio * config.d_model)
        self.mixer_norm = nn.LayerNorm(d, eps=1e-6)
        self.mixer = Attention(d, config.heads)
        self.mlp_norm = nn.LayerNorm(d, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.mixer(self.mixer_norm(x)))
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class ViT(ImageModel):
    """Patches, learned positions, attention."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config, features=config.d_model)
        self.patches = PatchEmbedding(config.channels, config.d_model, config.patch)
        grid = self.patches.size(config.height, config.width)
        self.positions = PositionTable(grid, config.d_model)
        rates = depth_rates(config.drop_path, config.depth)
        self.blocks = nn.ModuleList(Block(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def grid(self, images: Tensor) -> Tensor:
        x = self.positions(self.patches(images))
        size, x = x.shape[1:3], x.flatten(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.norm(x).unflatten(1, size)
