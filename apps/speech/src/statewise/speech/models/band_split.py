"""Bands that listen to themselves and to all the others: a complex filter per bin from a band-split network.

    z_tk = E_k features(X_t, band k)                                  N features of each of K bands
    z <- z + mixer(norm z)                        one recurrence over time, the same for all bands
    z <- z + U gru(D norm z)                      one over all bands at once, through R features
    M_tk = W_k silu(V_k norm z_tk),    Y_t = M_t X_t                  a complex mask per bin

Harmonics and formants look alike wherever they stand, which the shared recurrence uses; that they belong
together only the wide one can see. The bands are narrow where pitch is and wide above. After Luo and Yu,
"Music source separation with band-split RNN", 2023, made causal: where that network reads the bands in both
directions, here the frame goes through R features.

The features of a bin are its compressed real and imaginary part at a level that does not matter, and its
magnitude over its own running mean, which is flat where the noise is steady.

Letters: B batch, T frames, F bins, K bands, N features of a band, R features of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers import build
from statewise.core.layers.contract import Layer
from statewise.speech.models.complex_parts import RunningMean, RunningMeanState
from statewise.speech.models.enhancer import Trained

__all__ = ["BandSplit", "BandSplitConfig", "BandSplitState"]

FLOOR = 1e-7
FEATURES = 3
"""Of a bin: real part, imaginary part, flattened magnitude."""


@dataclass(frozen=True, kw_only=True)
class BandSplitConfig:
    """Settings of `BandSplit`."""

    bands: tuple[tuple[int, int], ...] = ((8, 4), (8, 8), (4, 16), (3, 32))
    """Number of bands and bins of each, from the lowest on; together `hop` bins."""
    width: int = 32
    """N, features of a band."""
    wide: int = 128
    """R, features of a frame."""
    depth: int = 3
    """Blocks of a recurrence in the bands and one over all."""
    mixer: str = "min_gru"
    """The recurrence in the bands; see `statewise layers`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of that layer, without d_model."""
    memory: int = 190
    """Frames over which levels are averaged: 3 s."""
    compression: float = 0.3
    """c, exponent of magnitudes in the features."""
    sample_rate: int = 16_000
    """Samples per second."""
    hop: int = 256
    """Samples between frames; the window has twice as many."""

    def __post_init__(self) -> None:
        for name in ("width", "wide", "depth", "memory", "sample_rate", "hop"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 < self.compression <= 1, "compression", self.compression, "more than 0, at most 1")
        held = sum(number * bins for number, bins in self.bands)
        require(held == self.hop, "bands", f"{held} bins", f"{self.hop} bins, as many as the hop")


class BandSplitState(NamedTuple):
    """What the model carries from frame to frame."""

    level: RunningMeanState
    """The power of each bin, (B, F)."""
    blocks: Any
    """The states of the recurrences, block by block."""


class PerBand(nn.Module):
    """A linear map for each band: (..., K) bands of `inputs[k]` features to `outputs[k]`.

    Bands of the same shape are mapped together, as one batched product.

    Args:
        groups: number of bands, features in and features out, group by group.
    """

    def __init__(self, groups: list[tuple[int, int, int]]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            torch.randn(number, inputs, outputs) / inputs**0.5 for number, inputs, outputs in groups
        )
        self.biases = nn.ParameterList(torch.zeros(number, outputs) for number, _, outputs in groups)

    def forward(self, parts: list[Tensor]) -> list[Tensor]:
        """Groups (B, T, number, inputs) to groups (B, T, number, outputs)."""
        made = []
        for x, weight, bias in zip(parts, self.weights, self.biases, strict=True):
            rows = x.flatten(0, 1).transpose(0, 1)
            y = torch.baddbmm(bias[:, None], rows, weight)
            made.append(y.transpose(0, 1).unflatten(0, x.shape[:2]))
        return made


class Residual(nn.Module):
    """One block: a recurrence in every band, then one over all of them."""

    def __init__(self, config: BandSplitConfig, bands: int) -> None:
        super().__init__()
        n, r = config.width, config.wide
        self.bands = bands
        self.local_norm, self.wide_norm = nn.LayerNorm(n), nn.LayerNorm(n)
        self.local: Layer[Any] = build(config.mixer, d_model=n, **config.settings)
        self.mix = nn.Linear(n, n)
        self.down = nn.Linear(bands * n, r)
        self.wide: Layer[Any] = build("gru", d_model=r)
        self.up = nn.Linear(r, bands * n)

    def forward(self, z: Tensor, state: tuple[Any, Any]) -> tuple[Tensor, tuple[Any, Any]]:
        """From (B, K, T, N) to the same."""
        rows = self.local_norm(z).flatten(0, 1)
        mixed, near = _run(self.local, rows, state[0])
        z = z + self.mix(F.silu(mixed)).unflatten(0, z.shape[:2])
        frame = self.wide_norm(z).transpose(1, 2).flatten(2)
        h, far = _run(self.wide, self.down(frame), state[1])
        return z + self.up(h).unflatten(2, (self.bands, -1)).transpose(1, 2), (near, far)


class BandSplit(Trained):
    """The model; see the module."""

    learning_rate: ClassVar[float] = 1.5e-3
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small": {},
        "tiny": {"width": 16, "wide": 32, "depth": 1},
    }

    def __init__(self, config: BandSplitConfig) -> None:
        super().__init__(config)
        self.level = RunningMean(config.memory)
        bands = sum(number for number, _ in config.bands)
        n = config.width
        self.encoder = PerBand([(number, FEATURES * bins, n) for number, bins in config.bands])
        self.blocks = nn.ModuleList(Residual(config, bands) for _ in range(config.depth))
        self.norm = nn.LayerNorm(n)
        self.hidden = PerBand([(number, n, 2 * n) for number, _ in config.bands])
        self.decoder = PerBand([(number, 2 * n, 2 * bins) for number, bins in config.bands])
        with torch.no_grad():  # begin by letting everything through
            for weight, bias in zip(self.decoder.weights, self.decoder.biases, strict=True):
                weight.mul_(0.1)
                bias[:, 0::2] = 1.0

    def forward(self, spectrum: Tensor, state: BandSplitState | None = None) -> tuple[Tensor, BandSplitState]:
        state = self.initial_state(spectrum.shape[0]) if state is None else state
        features, level = self._features(spectrum, state.level)
        z = torch.cat(self.encoder(features), dim=2).transpose(1, 2).contiguous()
        after = []
        for block, before in zip(self.blocks, state.blocks, strict=True):
            z, new = block(z, before)
            after.append(new)
        z = self.norm(z).transpose(1, 2)
        parts = self.hidden(list(z.split([number for number, _ in self.config.bands], dim=2)))
        masks = [one.flatten(2).unflatten(2, (-1, 2)) for one in self.decoder([F.silu(x) for x in parts])]
        mask = torch.cat([*masks, masks[-1][:, :, -1:]], dim=2).to(spectrum.dtype)
        return self.makeup * _product(mask, spectrum), BandSplitState(level, tuple(after))

    def initial_state(self, batch_size: int) -> BandSplitState:
        like = self.norm.weight
        level = self.level.initial_state(batch_size, self.stft.bins, like)
        blocks = [
            (block.local.initial_state(batch_size * block.bands), block.wide.initial_state(batch_size))
            for block in self.blocks
        ]
        return BandSplitState(level, tuple(blocks))

    def _features(self, spectrum: Tensor, state: RunningMeanState) -> tuple[list[Tensor], RunningMeanState]:
        """The features of the bands, group by group (B, T, number, bins * FEATURES)."""
        power = spectrum.square().sum(-1)
        mean, level = self.level(power, state)
        frame = mean.mean(-1, keepdim=True) + FLOOR
        c = self.config.compression
        shrunk = (power + FLOOR) ** ((c - 1) / 2) / frame ** (c / 2)
        flat = ((power + FLOOR) / (mean + FLOOR)) ** (c / 2)
        bins = torch.cat([spectrum * shrunk[..., None], flat[..., None]], dim=-1)[:, :, : self.config.hop]
        groups = bins.split([number * width for number, width in self.config.bands], dim=2)
        shaped = zip(groups, self.config.bands, strict=True)
        return [group.unflatten(2, (number, -1)).flatten(3) for group, (number, _) in shaped], level


def _run(layer: Layer[Any], x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """A layer over the next frames (B, T, D), of which there may be one."""
    if x.shape[1] > 1:
        return layer(x, state)
    y, state = layer.step(x[:, 0], state)
    return y[:, None], state


def _product(mask: Tensor, spectrum: Tensor) -> Tensor:
    """The complex product of (..., 2) and (..., 2)."""
    (a, b), (c, d) = mask.unbind(-1), spectrum.unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], dim=-1)
