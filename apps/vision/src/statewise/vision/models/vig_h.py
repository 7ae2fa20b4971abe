"""ViG-H: the hierarchical ViG, four stages at 1/4, 1/8, 1/16 and 1/32 of the resolution.

The mixer is that of `vig`. The stem and the steps between stages are 3x3 convolutions of stride 2 with a
channel norm; blocks have LayerNorm over the channels; there is no table of positions. Liao et al., "ViG:
Linear-complexity Visual Sequence Learning with Gated Linear Attention", 2024.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.vision.models.image_model import ImageConfig, ImageModel
from statewise.vision.models.patches import channel_norm, from_grid, to_grid
from statewise.vision.models.residual import DropPath, SwiGLU, depth_rates, swiglu_width
from statewise.vision.models.vig import ViGMixer, start

__all__ = ["ViGH", "ViGHConfig", "presets"]


@dataclass(frozen=True, kw_only=True)
class ViGHConfig(ImageConfig):
    """Settings of `ViGH`."""

    d_model: int = 96
    """Features of the first stage; each later stage doubles them."""
    depths: tuple[int, ...] = (2, 2, 5, 2)
    """Blocks per stage."""
    heads: tuple[int, ...] = (3, 6, 12, 24)
    """Heads per stage."""
    rank: int = 16
    """Rank of the map to the decays."""
    mlp_multiple: int = 32
    """The hidden units of a SwiGLU are the next multiple of this above 8 D / 3."""
    drop_path: float = 0.0
    """Largest probability of skipping a branch in training, reached in the last block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("d_model", "rank", "mlp_multiple"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(len(self.depths) >= 1, "depths", self.depths, "one number per stage")
        require(len(self.heads) == len(self.depths), "heads", self.heads, f"{len(self.depths)} numbers")
        fits = all(self.d_model * 2**i % (2 * h) == 0 for i, h in enumerate(self.heads))
        require(fits, "heads", self.heads, "divisors of half the features of their stages")
        require(self.d_model % 2 == 0, "d_model", self.d_model, "an even number")
        require(0 <= self.drop_path < 1, "drop_path", self.drop_path, "from 0 to below 1")


presets: dict[str, dict[str, Any]] = {
    "t": {"drop_path": 0.2},
    "s": {"depths": (2, 2, 17, 2), "drop_path": 0.3},
    "b": {"d_model": 128, "depths": (2, 2, 17, 2), "heads": (4, 8, 16, 32), "drop_path": 0.6},
}


class Halving(nn.Module):
    """A 3x3 convolution of stride 2 and a channel norm."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(before, width, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, Y, X) to (B, D, ceil(Y / 2), ceil(X / 2))."""
        return channel_norm(self.norm, self.map(features))


class Block(nn.Module):
    """Mixer and SwiGLU, each behind a norm and around a residual."""

    def __init__(self, config: ViGHConfig, d_model: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(d_model, eps=1e-6)
        self.mixer = ViGMixer(d_model, heads, config.rank, activate=False)
        self.mlp_norm = nn.LayerNorm(d_model, eps=1e-6)
        self.mlp = SwiGLU(d_model, swiglu_width(d_model, config.mlp_multiple))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.mixer(self.mixer_norm(x)))
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class ViGH(ImageModel):
    """Four stages of ViG's blocks."""

    def __init__(self, config: ViGHConfig) -> None:
        widths = [config.d_model * 2**i for i in range(len(config.depths))]
        super().__init__(config, features=widths[-1])
        self.first = Halving(config.channels, config.d_model // 2)
        self.second = Halving(config.d_model // 2, config.d_model)
        rates = iter(depth_rates(config.drop_path, sum(config.depths)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(config, width, heads, next(rates)) for _ in range(depth)))
            for width, heads, depth in zip(widths, config.heads, config.depths, strict=True)
        )
        steps = itertools.pairwise(widths)
        self.steps = nn.ModuleList(Halving(before, width) for before, width in steps)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        start(self)

    def grid(self, images: Tensor) -> Tensor:
        x = self.second(F.gelu(self.first(images)))
        for number, stage in enumerate(self.stages):
            if number:
                x = self.steps[number - 1](x)
            x = from_grid(stage(to_grid(x)))
        return self.norm(to_grid(x))
