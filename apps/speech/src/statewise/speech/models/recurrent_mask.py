"""A gain for every bin from a stack of recurrent layers: the smallest thing that learns, and that streams.

    P_t = |X_t|^2,   m_t the running mean of P,   l_t its mean over bins
    h = stack(W_in [ (P / l)^(c/2), (P / m)^(c/2) ] + b_in),   G = sigmoid(W_out h + b_out),   Y = G X

The first features are the compressed spectrum at a level that does not matter, the second are flat where the
noise is steady. The phase of X is kept. The layers are those of `statewise layers`: `gru` as in Braun and
Tashev, "Data augmentation and loss normalization for deep noise suppression" (NSNet2, 2020), or any other
that streams.

Letters: B batch, T frames, F bins, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from statewise.core.blocks import Stack, StackConfig
from statewise.core.config import require
from statewise.speech.models.complex_parts import RunningMean, RunningMeanState
from statewise.speech.models.enhancer import Trained

__all__ = ["RecurrentMask", "RecurrentMaskConfig", "RecurrentMaskState"]

FLOOR = 1e-7


@dataclass(frozen=True, kw_only=True)
class RecurrentMaskConfig:
    """Settings of `RecurrentMask`."""

    mixer: str = "gru"
    """The layer over time; see `statewise layers`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the layer, without d_model."""
    width: int = 224
    """D, features of every layer."""
    depth: int = 2
    """Blocks of a layer and a gated MLP."""
    mlp_ratio: float = 1.0
    """Hidden units of the MLP per feature."""
    memory: int = 190
    """Frames over which levels are averaged: 3 s."""
    compression: float = 0.3
    """c, exponent of magnitudes in the features."""
    sample_rate: int = 16_000
    """Samples per second."""
    hop: int = 256
    """Samples between frames; the window has twice as many."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "memory", "sample_rate", "hop"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 < self.compression <= 1, "compression", self.compression, "more than 0, at most 1")


class RecurrentMaskState(NamedTuple):
    """What the model carries from frame to frame."""

    level: RunningMeanState
    """The power of each bin, (B, F)."""
    stack: Any


class RecurrentMask(Trained):
    """The model; see the module."""

    learning_rate: ClassVar[float] = 1.5e-3
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "gru": {"mixer": "gru"},
        "lru": {"mixer": "lru", "depth": 4},
        "mamba": {"mixer": "mamba"},
        "tiny": {"mixer": "gru", "width": 64, "depth": 1},
    }

    def __init__(self, config: RecurrentMaskConfig) -> None:
        super().__init__(config)
        self.level = RunningMean(config.memory)
        self.inputs = nn.Linear(2 * self.stft.bins, config.width)
        self.stack = Stack(
            StackConfig(
                d_model=config.width,
                mixer=config.mixer,
                settings=config.settings,
                depth=config.depth,
                mlp_ratio=config.mlp_ratio,
            )
        )
        require(self.stack.streaming, "mixer", config.mixer, "a layer that streams")
        self.outputs = nn.Linear(config.width, self.stft.bins)
        with torch.no_grad():  # begin by letting most through
            self.outputs.bias.fill_(1.0)

    def forward(
        self, spectrum: Tensor, state: RecurrentMaskState | None = None
    ) -> tuple[Tensor, RecurrentMaskState]:
        state = self.initial_state(spectrum.shape[0]) if state is None else state
        power = spectrum.square().sum(-1)
        mean, level = self.level(power, state.level)
        frame = mean.mean(-1, keepdim=True)
        shapes = [((power + FLOOR) / (by + FLOOR)) ** (self.config.compression / 2) for by in (frame, mean)]
        x = self.inputs(torch.cat(shapes, dim=-1))
        if x.shape[1] == 1:
            h, stack = self.stack.step(x[:, 0], state.stack)
            h = h[:, None]
        else:
            h, stack = self.stack(x, state.stack)
        gain = self.makeup * torch.sigmoid(self.outputs(h))
        return spectrum * gain[..., None], RecurrentMaskState(level, stack)

    def initial_state(self, batch_size: int) -> RecurrentMaskState:
        like = self.inputs.weight
        level = self.level.initial_state(batch_size, self.stft.bins, like)
        return RecurrentMaskState(level, self.stack.initial_state(batch_size))
