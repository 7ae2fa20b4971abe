"""ViG: vision with linear complexity from gated linear attention read both ways in one pass.

    L = act(DWConv3x3(x))                                  locality: all below is made from L, not from x
    q, k, v = W L;   log a = logsigmoid(W_2 W_1 L + b) / 16     one a per direction, q, k, v shared
    S_t = Diag(a_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t / sqrt(K)        forwards, and backwards
    o = (o_forward + o_backward) / 2
    G = sigmoid(W_G L + b)
    y = W_o act(norm(o) G + norm(L) (1 - G))               per head, with two norms of their own

Around it: a convolutional stem, learned positions, RMSNorm before each of the two branches, a SwiGLU, and
the mean over all tokens. Liao et al., "ViG: Linear-complexity Visual Sequence Learning with Gated Linear
Attention", 2024.

Shapes: L (B, y, x, D), q, k and a (B, N, H, K) with N = y x tokens in raster order and K = D / (2 H), v and o
(B, N, H, V) with V = D / H. Both directions run over the same q, k and v: nothing is flipped or copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.ops import gated_linear_attention
from statewise.vision.models.image_model import ImageConfig, ImageModel
from statewise.vision.models.norms import RMSNorm
from statewise.vision.models.patches import ConvStem, PositionTable, from_grid, to_grid
from statewise.vision.models.residual import DropPath, SwiGLU, depth_rates, swiglu_width
from statewise.vision.models.slices import by_rows, split_linear

__all__ = ["ViG", "ViGConfig", "ViGMixer", "presets"]

TEMPERATURE = 16.0
"""Draws the decays towards 1: at the start a = 0.5^(1/16), about 0.958."""
_GAIN = 2**-2.5
"""Xavier gain of the mixer's maps."""


@dataclass(frozen=True, kw_only=True)
class ViGConfig(ImageConfig):
    """Settings of `ViG`."""

    patch: int = 16
    """Pixels per token and axis, even."""
    d_model: int = 192
    """D, features of a token."""
    depth: int = 12
    """Number of blocks."""
    heads: int = 3
    """H, heads; 2 H divides D."""
    rank: int = 16
    """Rank of the map to the decays."""
    mlp_multiple: int = 256
    """The hidden units of a SwiGLU are the next multiple of this above 8 D / 3."""
    activate: bool = True
    """SiLU behind the locality convolution and before the output map."""
    drop_path: float = 0.0
    """Largest probability of skipping a branch in training, reached in the last block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.patch >= 2 and self.patch % 2 == 0, "patch", self.patch, "an even number")
        for name in ("d_model", "depth", "heads", "rank", "mlp_multiple"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.d_model % (2 * self.heads) == 0, "heads", self.heads, "a divisor of d_model / 2")
        require(0 <= self.drop_path < 1, "drop_path", self.drop_path, "from 0 to below 1")


presets: dict[str, dict[str, Any]] = {
    "nano": {"patch": 4, "d_model": 64, "depth": 4, "heads": 2, "mlp_multiple": 32},
    "micro": {"patch": 8, "d_model": 96, "depth": 6, "heads": 3, "mlp_multiple": 32},
    "t": {},
    "s": {"d_model": 384, "heads": 6, "activate": False, "drop_path": 0.2},
    "b": {"d_model": 768, "heads": 12, "activate": False, "drop_path": 0.5},
}


class ViGMixer(nn.Module):
    """Bidirectional gated linear attention with a 2D locality gate.

    Args:
        d_model: D.
        heads: H.
        rank: rank of the map to the decays.
        activate: SiLU behind the convolution and before the output map.
    """

    def __init__(self, d_model: int, heads: int, rank: int, *, activate: bool) -> None:
        super().__init__()
        self.heads, self.activate = heads, activate
        keys, values = d_model // 2, d_model
        self.sizes = (keys, keys, values)
        self.local = nn.Conv2d(d_model, d_model, 3, padding=1, groups=d_model, bias=False)
        self.maps = nn.Linear(d_model, sum(self.sizes), bias=False)
        self.decay_in = nn.Linear(d_model, rank, bias=False)
        self.decay_out = nn.Linear(rank, 2 * keys)
        self.gate = nn.Linear(d_model, values)
        self.read_norm = RMSNorm(d_model // heads, eps=1e-6)
        self.local_norm = RMSNorm(d_model // heads, eps=1e-6)
        self.out = nn.Linear(values, d_model, bias=False)

    def start(self) -> None:
        """Initialise the maps: Xavier-uniform with gain 2^-2.5; the decays' bias is zero."""
        for linear in (self.maps, self.decay_in, self.decay_out, self.gate, self.out, self.local):
            nn.init.xavier_uniform_(linear.weight, gain=_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """(B, y, x, D) to (B, y, x, D)."""
        local = to_grid(self.local(from_grid(x)))
        if self.activate:
            local = F.silu(local)
        tokens = local.flatten(1, 2)
        return by_rows(self._written, tokens, self.attend(tokens)).unflatten(1, x.shape[1:3])

    def attend(self, tokens: Tensor) -> Tensor:
        """What each token reads of those before and after it: (B, N, D) to (B, N, D), float32 at least."""
        q, k, v = (self._heads(part) for part in split_linear(self.maps, self.sizes, tokens))
        ahead, back = (self._heads(part) for part in self.decays(tokens).chunk(2, -1))
        scale = 0.5 * q.shape[-1] ** -0.5  # the half of the mean over both directions
        forwards, _ = gated_linear_attention(q, k, v, ahead, scale=scale)
        backwards, _ = gated_linear_attention(q, k, v, back, scale=scale, reverse=True)
        return forwards.add_(backwards).flatten(-2)

    def decays(self, tokens: Tensor) -> Tensor:
        """The log decays of both directions, (B, N, D) to (B, N, 2 D / 2)."""
        # -softplus(-z) is logsigmoid(z), whose own kernel is several times slower on a CPU
        return F.softplus(-self.decay_out(self.decay_in(tokens)).float()).div_(-TEMPERATURE)

    def _written(self, tokens: Tensor, read: Tensor) -> Tensor:
        """W_o act(norm(o) G + norm(L) (1 - G)), (..., D) each."""
        gate = torch.sigmoid(self.gate(tokens))
        read, local, share = (self._heads(part) for part in (read.to(gate.dtype), tokens, gate))
        mixed = torch.lerp(
            self.local_norm(local).to(gate.dtype), self.read_norm(read).to(gate.dtype), share
        ).flatten(-2)
        return self.out(F.silu(mixed) if self.activate else mixed)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))


class Block(nn.Module):
    """Mixer and SwiGLU, each behind a norm and around a residual."""

    def __init__(self, config: ViGConfig, drop_path: float) -> None:
        super().__init__()
        d = config.d_model
        self.mixer_norm = RMSNorm(d, eps=1e-6)
        self.mixer = ViGMixer(d, config.heads, config.rank, activate=config.activate)
        self.mlp_norm = RMSNorm(d, eps=1e-6)
        self.mlp = SwiGLU(d, swiglu_width(d, config.mlp_multiple))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.mixer(self.mixer_norm(x)))
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class ViG(ImageModel):
    """The plain model: one resolution throughout."""

    def __init__(self, config: ViGConfig) -> None:
        super().__init__(config, features=config.d_model)
        self.stem = ConvStem(config.channels, config.d_model, config.patch)
        self.positions = PositionTable(self.stem.size(config.height, config.width), config.d_model)
        rates = depth_rates(config.drop_path, config.depth)
        self.blocks = nn.ModuleList(Block(config, rate) for rate in rates)
        self.norm = RMSNorm(config.d_model, eps=1e-6)
        start(self)

    def grid(self, images: Tensor) -> Tensor:
        x = self.positions(self.stem(images))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def start(model: nn.Module) -> None:
    """Initialise as published: every linear map N(0, 0.02) without bias, then the mixers' own maps."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, ViGMixer):
            module.start()
