"""Spectral gating: a bin is let through where it stands out from its own level over the whole signal.

    threshold_f = mean_t 20 log10 |X_tf| + k std_t 20 log10 |X_tf|
    G = 1 where |X_tf| exceeds its threshold, else 10^(-reduction / 20), smoothed over time and frequency

The method behind Audacity's noise reduction and the `noisereduce` package (Sainburg et al., 2020). It judges
a bin by the whole signal and does not stream. It is a baseline to be beaten: it
takes speech away with the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.config import require
from statewise.speech.models.enhancer import Enhancer

__all__ = ["GatingConfig", "SpectralGating"]

FLOOR = 1e-10
RANGE = 80.0
"""dB below the loudest bin at which levels are cut off."""


@dataclass(frozen=True, kw_only=True)
class GatingConfig:
    """Settings of `SpectralGating`."""

    deviations: float = 1.5
    """k, standard deviations above its mean level at which a bin opens."""
    reduction: float = 40.0
    """Attenuation of closed bins, in dB."""
    smooth_bins: int = 10
    """Bins to each side over which the gate is smoothed."""
    smooth_frames: int = 3
    """Frames to each side over which the gate is smoothed."""
    sample_rate: int = 16_000
    """Samples per second."""
    hop: int = 256
    """Samples between frames."""

    def __post_init__(self) -> None:
        require(self.reduction >= 0, "reduction", self.reduction, "0 dB or more")
        for name in ("smooth_bins", "smooth_frames"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.sample_rate >= 1, "sample_rate", self.sample_rate, "at least 1")
        require(self.hop >= 1, "hop", self.hop, "at least 1")


class SpectralGating(Enhancer):
    """The gate; see the module."""

    trains: ClassVar[bool] = False

    def __init__(self, config: GatingConfig) -> None:
        super().__init__(config)

    @property
    def streaming(self) -> bool:
        return False

    @property
    def latency(self) -> None:
        return None

    def forward(self, spectrum: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        level = 10 * torch.log10(spectrum.square().sum(-1) + FLOOR)
        level = torch.maximum(level, level.amax((1, 2), keepdim=True) - RANGE)
        spread = level.std(1, keepdim=True, correction=0)
        is_open = (level > level.mean(1, keepdim=True) + self.config.deviations * spread).to(level.dtype)
        gate = self._smooth(is_open)
        closed = 10 ** (-self.config.reduction / 20)
        return spectrum * (closed + (1 - closed) * gate)[..., None], None

    def initial_state(self, batch_size: int) -> None:
        return None

    def _smooth(self, gate: Tensor) -> Tensor:
        """(B, T, F) averaged with triangular weights, and with the edges repeated."""
        for axis, reach in ((1, self.config.smooth_frames), (2, self.config.smooth_bins)):
            weight = reach + 1 - torch.arange(-reach, reach + 1, device=gate.device).abs().to(gate.dtype)
            rows = gate.movedim(axis, -1)
            padded = F.pad(rows.reshape(-1, 1, rows.shape[-1]), (reach, reach), mode="replicate")
            smooth = F.conv1d(padded, (weight / weight.sum())[None, None])
            gate = smooth.reshape(rows.shape).movedim(-1, axis)
        return gate
