"""LightNet for images: one pass that has no order at all.

    K' = softmax(K) over the tokens, per feature;   Q = silu(W_q x),  V = W_v x
    O = code(Q) (code(K')' V)                              cost N D K instead of N N D
    y = W_o (norm(O) * sigmoid(W_2 W_1 x))                 norm per head

Since the mixer is the same for any order of the tokens, all knowledge of places comes from the codes: MD-TPE
once behind the patches, MD-LRPE in every mixer. The switches `tpe` and `code` take each of them away, or put
2D rotary codes in their place, to show what they carry. Qin et al., "You Only Scan Once: Efficient
Multi-dimension Sequential Modeling with LightNet", 2024.

Shapes: x (B, y, x, D), Q and K (B, N, H, K), V and O (B, N, H, V) with K = V = D / H, W_1 (V, D).

Differs from the paper: written from the equations; the gate, the kernel of TPE and how each axis is read are
choices of ours. The gate is a sigmoid of rank V, the kernel of TPE decays exponentially
and reads each axis both ways, normalised. Sizes of the presets are ours.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.vision.models.image_model import ImageConfig, ImageModel
from statewise.vision.models.norms import RMSNorm
from statewise.vision.models.patches import PatchEmbedding
from statewise.vision.models.positions2d import AxialDecay, RelativeCode, coordinates
from statewise.vision.models.residual import DropPath, SwiGLU, depth_rates, swiglu_width
from statewise.vision.models.slices import ROWS, worth_slicing

__all__ = ["LightNetConfig", "LightNetMixer", "LightNetVis", "presets"]


@dataclass(frozen=True, kw_only=True)
class LightNetConfig(ImageConfig):
    """Settings of `LightNetVis`."""

    patch: int = 16
    """Pixels per token and axis."""
    d_model: int = 192
    """D, features of a token."""
    depth: int = 12
    """Number of blocks."""
    heads: int = 3
    """H, heads; D / H is a multiple of 4."""
    mlp_multiple: int = 64
    """The hidden units of a SwiGLU are the next multiple of this above 8 D / 3."""
    tpe: bool = True
    """Mix the tokens along both axes once, behind the patches (MD-TPE)."""
    code: Literal["cosine", "rotary", "none"] = "cosine"
    """Code of places in the mixers: MD-LRPE of cosine type, 2D rotary, or none."""
    drop_path: float = 0.0
    """Largest probability of skipping a branch in training, reached in the last block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch", "d_model", "depth", "heads", "mlp_multiple"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.d_model % (4 * self.heads) == 0, "heads", self.heads, "a divisor of d_model / 4")
        require(0 <= self.drop_path < 1, "drop_path", self.drop_path, "from 0 to below 1")


presets: dict[str, dict[str, Any]] = {
    "nano": {"patch": 4, "d_model": 64, "depth": 4, "heads": 2, "mlp_multiple": 32},
    "nano-no-tpe": {"patch": 4, "d_model": 64, "depth": 4, "heads": 2, "mlp_multiple": 32, "tpe": False},
    "nano-no-lrpe": {"patch": 4, "d_model": 64, "depth": 4, "heads": 2, "mlp_multiple": 32, "code": "none"},
    "nano-rotary": {"patch": 4, "d_model": 64, "depth": 4, "heads": 2, "mlp_multiple": 32, "code": "rotary"},
    "micro": {"patch": 8, "d_model": 96, "depth": 6, "heads": 3, "mlp_multiple": 32},
    "t": {},
    "s": {"d_model": 384, "heads": 6, "drop_path": 0.1},
    "b": {"d_model": 768, "heads": 12, "drop_path": 0.3},
}


class LightNetMixer(nn.Module):
    """Linear attention whose keys are shares over all tokens.

    Args:
        d_model: D.
        heads: H.
        code: `cosine`, `rotary` or `none`.
    """

    def __init__(self, d_model: int, heads: int, code: str) -> None:
        super().__init__()
        self.heads = heads
        width = d_model // heads
        self.maps = nn.Linear(d_model, 3 * d_model, bias=False)
        self.gate = nn.Sequential(
            nn.Linear(d_model, width, bias=False), nn.Linear(width, d_model, bias=False)
        )
        self.code = None if code == "none" else RelativeCode(heads, width, code)
        self.norm = RMSNorm(width, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Tokens (B, N, D) at places (N, 2), in any order, to (B, N, D)."""
        d = x.shape[-1]
        of_q, of_k, of_v = self.maps.weight.split((d, d, d))
        keys = torch.softmax(F.linear(x, of_k).float(), 1)
        turns = () if self.code is None else self.code.turns(places)
        length = x.shape[1]
        step = ROWS if worth_slicing(x.shape[:2]) else length
        slices = [slice(begin, begin + step) for begin in range(0, length, step)]
        kept = (
            self._kept(keys[:, one].to(x.dtype), F.linear(x[:, one], of_v), [t[one] for t in turns])
            for one in slices
        )
        memory = functools.reduce(operator.add, kept)
        read = [self._read(x[:, one], of_q, memory, [t[one] for t in turns]) for one in slices]
        return read[0] if len(read) == 1 else torch.cat(read, 1)

    def _kept(self, k: Tensor, v: Tensor, turns: list[Tensor]) -> Tensor:
        """code(K')' V of some tokens: (B, n, D) each to (B, H, K, V)."""
        k, v = self._coded(k, turns), v.unflatten(-1, (self.heads, -1))
        return k.permute(0, 2, 3, 1) @ v.transpose(1, 2)

    def _read(self, x: Tensor, of_q: Tensor, memory: Tensor, turns: list[Tensor]) -> Tensor:
        """What some tokens (B, n, D) read of the memory, as (B, n, D)."""
        q = self._coded(F.silu(F.linear(x, of_q)), turns)
        o = (q.transpose(1, 2) @ memory).transpose(1, 2)
        return self.out(self.norm(o).flatten(-2) * torch.sigmoid(self.gate(x)))

    def _coded(self, x: Tensor, turns: list[Tensor]) -> Tensor:
        x = x.unflatten(-1, (self.heads, -1))
        return x if self.code is None else self.code.turned(x, *turns)


class Block(nn.Module):
    """Mixer and SwiGLU, each behind a norm and around a residual."""

    def __init__(self, config: LightNetConfig, drop_path: float) -> None:
        super().__init__()
        d = config.d_model
        self.mixer_norm = RMSNorm(d, eps=1e-6)
        self.mixer = LightNetMixer(d, config.heads, config.code)
        self.mlp_norm = RMSNorm(d, eps=1e-6)
        self.mlp = SwiGLU(d, swiglu_width(d, config.mlp_multiple))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        x = x + self.drop(self.mixer(self.mixer_norm(x), places))
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class LightNetVis(ImageModel):
    """Patches, axial mixing once, and blocks that know places from their codes."""

    def __init__(self, config: LightNetConfig) -> None:
        super().__init__(config, features=config.d_model)
        self.patches = PatchEmbedding(config.channels, config.d_model, config.patch)
        self.axial = AxialDecay(config.d_model, config.heads) if config.tpe else nn.Identity()
        rates = depth_rates(config.drop_path, config.depth)
        self.blocks = nn.ModuleList(Block(config, rate) for rate in rates)
        self.norm = RMSNorm(config.d_model, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def grid(self, images: Tensor) -> Tensor:
        x = self.axial(self.patches(images))
        size = x.shape[1:3]
        places = coordinates(*size, device=x.device)
        return self.tokens(x.flatten(1, 2), places).unflatten(1, size)

    def tokens(self, x: Tensor, places: Tensor) -> Tensor:
        """The blocks and the last norm on tokens (B, N, D) at places (N, 2), in any order."""
        for block in self.blocks:
            x = block(x, places)
        return self.norm(x)
