"""MossFormer2: separates speakers in the time domain with a mask on a learnt transform.

    w = relu(conv(x)),   m_1 ... m_S = relu(out(gate(blocks(w)))),   y_s = transposed_conv(m_s w)

Zhao et al., "MossFormer2", ICASSP 2024 (see `mossformer_parts`). Each of the blocks is a gated attention and
a gated memory; both look both ways, so the model works on whole signals. With the default settings it is the
published model: 55,735,410 parameters, of which the 16 frequencies of the rotation are not trained.

Letters: B batch, N samples, L steps of the transform, D width, S speakers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.speech.models.mossformer_parts import GatedAttention, GatedMemory, Rotary
from statewise.speech.models.separator import Separator

__all__ = ["MossFormer2", "MossFormer2Config"]


@dataclass(frozen=True, kw_only=True)
class MossFormer2Config:
    """Settings of `MossFormer2`."""

    speakers: int = 2
    """S, signals that come out."""
    width: int = 512
    """D, filters of the transform and features of every block."""
    inner: int = 256
    """Features inside a gated memory."""
    keys: int = 128
    """Features of queries and keys."""
    depth: int = 24
    """Blocks, each an attention and a memory."""
    group: int = 256
    """Steps that attend to each other in full."""
    kernel: int = 16
    """Samples of a filter of the transform; it moves by half of that."""
    dropout: float = 0.1
    """Share of features and weights that are dropped in training; the published model's."""
    sample_rate: int = 8000
    """Samples per second."""

    def __post_init__(self) -> None:
        require(self.speakers >= 2, "speakers", self.speakers, "at least 2")
        require(self.width >= 2 and self.width % 2 == 0, "width", self.width, "even, at least 2")
        require(self.kernel >= 2 and self.kernel % 2 == 0, "kernel", self.kernel, "even, at least 2")
        require(self.keys >= 2 and self.keys % 2 == 0, "keys", self.keys, "even, at least 2")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "from 0 to less than 1")
        for name in ("inner", "depth", "group", "sample_rate"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class MossFormer2(Separator):
    """The separator: (B, N) to (B, S, N)."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"width": 64, "inner": 32, "keys": 32, "depth": 4, "group": 128, "dropout": 0.0},
        "small": {"width": 128, "inner": 64, "keys": 64, "depth": 8},
        "three-speakers": {"speakers": 3},
    }

    def __init__(self, config: MossFormer2Config) -> None:
        super().__init__(config)
        d, s = config.width, config.speakers
        self.encoder = nn.Conv1d(1, d, config.kernel, config.kernel // 2, bias=False)
        self.before = nn.GroupNorm(1, d, eps=1e-8)
        self.inputs = nn.Conv1d(d, d, 1, bias=False)
        self.position = nn.Parameter(torch.ones(1))
        rotary = Rotary(config.keys)
        self.attentions = nn.ModuleList(
            GatedAttention(d, config.keys, config.group, rotary, config.dropout) for _ in range(config.depth)
        )
        self.memories = nn.ModuleList(
            GatedMemory(d, config.inner, config.dropout) for _ in range(config.depth)
        )
        self.norm, self.after = nn.LayerNorm(d, eps=1e-6), nn.GroupNorm(1, d, eps=1e-8)
        self.bend = nn.PReLU()
        self.split = nn.Conv1d(d, s * d, 1)
        self.value, self.gate = nn.Conv1d(d, d, 1), nn.Conv1d(d, d, 1)
        self.mask = nn.Conv1d(d, d, 1, bias=False)
        self.decoder = nn.ConvTranspose1d(d, 1, config.kernel, config.kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        half = self.config.kernel // 2
        samples = x.shape[1]
        # a step on both sides, so that the first and the last samples are in two steps as all others are
        padded = F.pad(x, (half, half + -samples % half))
        w = F.relu(self.encoder(padded[:, None]))
        masks = self._masks(w)
        y = self.decoder((masks * w[:, None]).flatten(0, 1)).squeeze(1)
        return y.unflatten(0, masks.shape[:2])[..., half : half + samples]

    def _masks(self, w: Tensor) -> Tensor:
        """The masks (B, S, D, L) of the transform w (B, D, L)."""
        x = self.inputs(self.before(w)).transpose(1, 2)
        x = x + self.position * _sinusoids(x)
        h = x
        for attention, memory in zip(self.attentions, self.memories, strict=True):
            h = memory(attention(h))
        h = self.after(self.norm(h).transpose(1, 2)) + x.transpose(1, 2)
        h = self.split(self.bend(h)).unflatten(1, (self.config.speakers, -1)).flatten(0, 1)
        h = torch.tanh(self.value(h)) * torch.sigmoid(self.gate(h))
        return F.relu(self.mask(h)).unflatten(0, (-1, self.config.speakers))


def _sinusoids(x: Tensor) -> Tensor:
    """Sines, then cosines, of positions times geometric frequencies: (L, D)."""
    width = x.shape[2]
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, device=x.device, dtype=x.dtype) / width)
    angle = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
