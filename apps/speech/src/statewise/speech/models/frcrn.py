"""FRCRN: two complex U-Nets in cascade, with memory over frequency after every convolution.

    u1 = UNet1(X),   u2 = UNet2(u1),   M = tanh u1 + tanh u2,   Y = M X

and M = 2 tanh u1 with a single U-Net.

Zhao et al., "FRCRN: Boosting Feature Representation using Frequency Recurrence for Monaural Speech
Enhancement", ICASSP 2022; the topology is that of the model that was released with it, which has two U-Nets
of seven layers, windows of 40 ms and squeeze-and-excitation gates. tanh acts on each part, M X is a complex
product. In a U-Net every layer halves the bins, 321 -> 159 -> 78 -> 37 -> 17 -> 7 -> 2 -> 1; a complex FSMN
runs over the bins between layers, two more over the frames in the middle, gates are on the copies that skip
to the decoder and on its layers.

Three forms:

- the default looks 14 frames ahead and its gates average over the whole signal;
- `compatible` adds the quirks of the released model: the skip connection is inside each FSMN unit, which
  makes it a rotation (1 + j) x, and four parts of each U-Net are there but never used;
- `causal` looks at the past only. A convolution sees its own frame and the one before, means run, and the
  input is taken relative to the running level, twice: to that of the whole frame, and to that of each bin,
  where steady noise is flat. It streams.

Letters: B batch, C channels, T frames, F bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.speech.models.complex_parts import (
    ComplexConv,
    ComplexMemory,
    ComplexTransposedConv,
    Gate,
    RunningMean,
    RunningMeanState,
)
from statewise.speech.models.enhancer import Trained, initial

__all__ = ["FRCRN", "FRCRNConfig", "FRCRNState"]

ENCODERS = (5, 5, 5, 5, 5, 5, 2)
"""Bins that the kernels of the encoder see; all see two frames."""
DECODERS = (2, 5, 5, 5, 6, 5, 5)
"""The same of the decoder; the 6 makes up for a bin that the strides lose."""
BINS = 321
SLOPE = 0.01
REDUCTION = 8
FLOOR = 1e-7
"""Power that counts as silence: a noise of about -95 dB below full scale."""


@dataclass(frozen=True, kw_only=True)
class FRCRNConfig:
    """Settings of `FRCRN`."""

    channels: int = 128
    """C, complex channels of every layer."""
    hidden: int | None = None
    """Hidden units of the FSMN units; C when unset."""
    order: int = 20
    """Taps of the FSMN units on the present and the past."""
    unets: int = 2
    """U-Nets in cascade, whose masks are added: two as released, one as in the paper."""
    causal: bool = False
    """Look at the past only, so that the model streams."""
    memory: int = 150
    """Frames over which the causal form averages: 3 s."""
    compression: float = 1.0
    """Exponent of the magnitude of the input; below 1 quiet parts count for more."""
    compatible: bool = False
    """The quirks of the released model, for its weights and its number of parameters."""
    sample_rate: int = 16_000
    """Samples per second."""
    hop: int = 320
    """Samples between frames; the window has twice as many."""

    def __post_init__(self) -> None:
        require(self.channels >= 1, "channels", self.channels, "at least 1")
        require(self.hidden is None or self.hidden >= 1, "hidden", self.hidden, "at least 1")
        require(self.order >= 2, "order", self.order, "at least 2")
        require(self.unets in (1, 2), "unets", self.unets, "1 or 2")
        require(self.memory >= 1, "memory", self.memory, "at least 1")
        require(0 < self.compression <= 1, "compression", self.compression, "more than 0, at most 1")
        quirks = self.causal and self.compatible
        require(not quirks, "compatible", self.compatible, "false for the causal form")
        require(self.sample_rate >= 1, "sample_rate", self.sample_rate, "at least 1")
        require(self.hop == BINS - 1, "hop", self.hop, f"{BINS - 1}: the strides fit {BINS} bins")


class UNetState(NamedTuple):
    """What a causal U-Net carries from frame to frame."""

    encoder: tuple[Tensor, ...]
    """The last input frame of each layer, (B, 2C, 1, F)."""
    decoder: tuple[Tensor, ...]
    """The last input frame of each layer, (B, 4C, 1, F)."""
    memory: tuple[Tensor, ...]
    """The tails of the two FSMN over frames, (B, order - 1, 4C)."""
    gates: tuple[RunningMeanState, ...]
    """The running means of the gates of the encoder, then of the decoder."""


class FRCRNState(NamedTuple):
    """What a causal model carries from frame to frame."""

    level: RunningMeanState
    """The power of each bin, (B, F)."""
    unets: tuple[UNetState, ...]


class FRCRN(Trained):
    """The cascade; see the module."""

    learning_rate: ClassVar[float] = 2e-3
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"channels": 16},
        "small": {"channels": 24},
        "medium": {"channels": 32},
        "released": {"channels": 128, "compatible": True},
        "tiny-causal": {"channels": 16, "unets": 1, "causal": True, "compression": 0.5},
        "small-causal": {"channels": 24, "causal": True, "compression": 0.5},
        "medium-causal": {"channels": 32, "causal": True, "compression": 0.5},
        "causal": {"channels": 128, "causal": True, "compression": 0.5},
    }

    def __init__(self, config: FRCRNConfig) -> None:
        super().__init__(config)
        inputs = [2 if config.causal else 1, 1]
        self.level = RunningMean(config.memory)
        self.unets = nn.ModuleList(_UNet(config, inputs[number]) for number in range(config.unets))

    @property
    def streaming(self) -> bool:
        return self.config.causal

    @property
    def latency(self) -> int | None:
        return 0 if self.config.causal else None

    @property
    def reach(self) -> int:
        """Frames of the future that the convolutions see; the gates of the default form see all of them."""
        return 0 if self.config.causal else len(DECODERS) * self.config.unets

    def forward(self, spectrum: Tensor, state: FRCRNState | None = None) -> tuple[Tensor, FRCRNState | None]:
        state = initial(self, spectrum, state)
        mask, state = self.mask(spectrum, state)
        re, im = spectrum.unbind(-1)
        gain, turn = (self.makeup * mask).unbind(1)
        return torch.stack([gain * re - turn * im, gain * im + turn * re], dim=-1), state

    def mask(self, spectrum: Tensor, state: FRCRNState | None) -> tuple[Tensor, FRCRNState | None]:
        """The complex mask of X (B, T, F, 2), as (B, 2, T, F)."""
        u, level = self._input(spectrum, state)
        total, after = torch.zeros(()), []
        for number, unet in enumerate(self.unets):
            u, new = unet(u, state.unets[number] if state is not None else None)
            total = total + torch.tanh(u)
            after.append(new)
        total = total * (2 / len(self.unets))
        return total, FRCRNState(level, tuple(after)) if state is not None and level is not None else None

    def initial_state(self, batch_size: int) -> FRCRNState | None:
        if not self.config.causal:
            return None
        like = next(self.parameters())
        level = self.level.initial_state(batch_size, BINS, like)
        return FRCRNState(level, tuple(cast(_UNet, unet).initial_state(batch_size) for unet in self.unets))

    def _input(self, x: Tensor, state: FRCRNState | None) -> tuple[Tensor, RunningMeanState | None]:
        """X relative to its level, (B, 2, T, F) or (B, 4, T, F), and the running power of each bin."""
        power = x.square().sum(-1)
        if state is None:
            maps, level = [x / (power.mean((1, 2)) + FLOOR).sqrt()[:, None, None, None]], None
        else:
            mean, level = self.level(power, state.level)
            frame = mean.mean(-1, keepdim=True)
            maps = [x / (by + FLOOR).sqrt()[..., None] for by in (frame, mean)]
        maps = [_compressed(one, self.config.compression) for one in maps]
        parts = [one[..., part] for part in (0, 1) for one in maps]
        return torch.stack(parts, dim=-1).permute(0, 3, 1, 2), level


class _UNet(nn.Module):
    """One U-Net: (B, 2 inputs, T, F) to (B, 2, T, F)."""

    def __init__(self, config: FRCRNConfig, inputs: int) -> None:
        super().__init__()
        c, last = config.channels, len(ENCODERS) - 1
        self.inputs, self.width, self.order = 2 * inputs, 2 * c, config.order
        memory = None if not config.causal else config.memory

        def fsmn(channels: int = c) -> ComplexMemory:
            hidden = config.hidden or config.channels
            return ComplexMemory(channels, hidden, config.order, rotates=config.compatible)

        self.encoder = nn.ModuleList(
            _Down(inputs if i == 0 else c, c, (2, bins)) for i, bins in enumerate(ENCODERS)
        )
        self.over_bins = nn.ModuleList(fsmn() for _ in range(last))
        self.over_frames = nn.ModuleList(fsmn() for _ in range(2))
        self.skips = nn.ModuleList(Gate(c, REDUCTION, memory) for _ in range(last))
        self.decoder = nn.ModuleList(
            _Up([c] if i == 0 else [c, c], 1 if i == last else c, (2, bins))
            for i, bins in enumerate(DECODERS)
        )
        self.over_decoded_bins = nn.ModuleList(fsmn() for _ in range(last))
        self.gates = nn.ModuleList(Gate(c, REDUCTION, memory) for _ in range(last - 1))
        # the released model has one FSMN and gate per layer, also where nothing runs through them
        self.unused = nn.ModuleList()
        if config.compatible:
            self.unused.extend([fsmn(), fsmn(), Gate(c, REDUCTION, None), Gate(c, REDUCTION, None)])
        self.final = ComplexConv(1, 1, (1, 1))
        self._begin_near_identity(config)

    def forward(self, x: Tensor, state: UNetState | None) -> tuple[Tensor, UNetState | None]:
        encoded, decoded, means = [], [], []
        skips = []
        for i, layer in enumerate(self.encoder):
            if i > 0:
                x = _along_bins(self.over_bins[i - 1], x)
            x, frame = layer(x, state.encoder[i] if state is not None else None)
            encoded.append(frame)
            if i < len(self.skips):
                skip, mean = self.skips[i](x, state.gates[i] if state is not None else None)
                skips.append(skip)
                means.append(mean)
        x, memory = self._along_frames(x, state)
        for i, layer in enumerate(self.decoder):
            x = x if i == 0 else torch.cat([x, skips[-i]], dim=1)
            x, frame = layer(x, state.decoder[i] if state is not None else None)
            decoded.append(frame)
            if i < len(self.over_decoded_bins):
                x = _along_bins(self.over_decoded_bins[i], x)
            if i < len(self.gates):
                x, mean = self.gates[i](x, state.gates[len(skips) + i] if state is not None else None)
                means.append(mean)
        x = self.final(x)
        after = None if state is None else UNetState(tuple(encoded), tuple(decoded), memory, tuple(means))
        return x, after

    def initial_state(self, batch_size: int) -> UNetState:
        """Silence before the first frame."""
        like, c4 = next(self.parameters()), 2 * self.width
        encoder, decoder, bins = [], [], BINS
        for kernel, width in zip(ENCODERS, [self.inputs, *[self.width] * len(ENCODERS)], strict=False):
            encoder.append(like.new_zeros(batch_size, width, 1, bins))
            bins = (bins - kernel) // 2 + 1
        for kernel, width in zip(DECODERS, [self.width, *[c4] * len(DECODERS)], strict=False):
            decoder.append(like.new_zeros(batch_size, width, 1, bins))
            bins = 2 * (bins - 1) + kernel
        tails = tuple(like.new_zeros(batch_size, self.order - 1, c4) for _ in self.over_frames)
        gated = [*self.skips, *self.gates]
        means = tuple(
            RunningMeanState(like.new_zeros(batch_size, self.width), like.new_zeros(batch_size, 1))
            for _ in gated
        )
        return UNetState(tuple(encoder), tuple(decoder), tails, means)

    def _along_frames(self, x: Tensor, state: UNetState | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The two FSMN in the middle: x (B, 2C, T, 1)."""
        rows, tails = x.squeeze(3).transpose(1, 2), []
        for i, layer in enumerate(self.over_frames):
            rows, tail = layer(rows, state.memory[i] if state is not None else None)
            tails.append(tail)
        return rows.transpose(1, 2)[..., None], tuple(tails)

    def _begin_near_identity(self, config: FRCRNConfig) -> None:
        """Let all masks together begin near one: what is untrained passes its input on."""
        real, imaginary = self.final.real.bias, self.final.imaginary.bias
        if not config.compatible and real is not None and imaginary is not None:
            half = math.atanh(0.5) / 2  # the biases act as their difference and, j times, their sum
            with torch.no_grad():
                real.fill_(half)
                imaginary.fill_(-half)


class _Down(nn.Module):
    """A layer of the encoder: convolution, norm, leaky rectifier; F bins to (F - K) / 2 + 1."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = ComplexConv(inputs, outputs, kernel, stride=2)
        self.norm = nn.BatchNorm2d(2 * outputs)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        x = x if past is None else torch.cat([past, x], dim=2)
        y = self.conv(x, padding=1 if past is None else 0)
        return F.leaky_relu(self.norm(y), SLOPE), x[:, :, -1:]


class _Up(nn.Module):
    """A layer of the decoder: transposed convolution, norm, leaky rectifier; F bins to 2 (F - 1) + K."""

    def __init__(self, inputs: list[int], outputs: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = ComplexTransposedConv(inputs, outputs, kernel, stride=2)
        self.norm = nn.BatchNorm2d(2 * outputs)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        x = x if past is None else torch.cat([past, x], dim=2)
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE), x[:, :, -1:]


def _along_bins(memory: nn.Module, x: Tensor) -> Tensor:
    """The FSMN over the bins of every frame: x (B, 2C, T, F)."""
    rows = x.permute(0, 2, 3, 1)
    y, _ = memory(rows.reshape(-1, *rows.shape[2:]))
    return y.reshape(rows.shape).permute(0, 3, 1, 2)


def _compressed(x: Tensor, exponent: float) -> Tensor:
    """|x|^exponent with the phase of x (..., 2)."""
    if exponent == 1:
        return x
    return x * (x.square().sum(-1, keepdim=True) + FLOOR) ** ((exponent - 1) / 2)
