"""A Wiener filter over a tracked noise floor: the best known signal processing without training.

    xi_t = alpha G_{t-1}^2 |X_{t-1}|^2 / N_{t-1} + (1 - alpha) max(|X_t|^2 / N_t - 1, 0)
    G_t = max(xi_t / (1 + xi_t), floor),        Y_t = G_t X_t

with the decision-directed ratio of Ephraim and Malah ("Speech enhancement using a minimum mean-square error
short-time spectral amplitude estimator", 1984). The noise power N is tracked without a voice detector: a bin
counts as noise in proportion to the probability that no speech is in it (Gerkmann and Hendriks, "Unbiased
MMSE-based noise power estimation with low complexity and low tracking delay", 2012):

    p = 1 / (1 + (1 + xi_1) exp(-|X|^2 / N * xi_1 / (1 + xi_1))),        xi_1 = 15 dB
    N <- a N + (1 - a) (p N + (1 - p) |X|^2)

It looks at the past only and streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from statewise.core.config import require
from statewise.speech.models.enhancer import Enhancer

__all__ = ["Wiener", "WienerConfig", "WienerState"]

FLOOR = 1e-10
PRIOR = 10**1.5
STUCK = 0.99
"""Mean speech probability from which on the tracker is held to be stuck, and p is bounded."""
FIRST = 8
"""Frames whose mean power is the first estimate of the noise."""


@dataclass(frozen=True, kw_only=True)
class WienerConfig:
    """Settings of `Wiener`."""

    alpha: float = 0.96
    """Weight of the past in the decision-directed ratio."""
    tracking: float = 0.85
    """a, weight of the past in the noise power."""
    floor: float = 25.0
    """Most attenuation, in dB."""
    sample_rate: int = 16_000
    """Samples per second."""
    hop: int = 160
    """Samples between frames."""

    def __post_init__(self) -> None:
        for name in ("alpha", "tracking"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")
        require(self.floor >= 0, "floor", self.floor, "0 dB or more")
        require(self.sample_rate >= 1, "sample_rate", self.sample_rate, "at least 1")
        require(self.hop >= 1, "hop", self.hop, "at least 1")


class WienerState(NamedTuple):
    """What the filter knows of the frames before, (B, F) each."""

    noise: Tensor
    """N"""
    clean: Tensor
    """G^2 |X|^2 / N of the frame before."""
    probability: Tensor
    """The running mean of p."""
    seen: Tensor
    """Frames seen, (B, 1)."""


class Wiener(Enhancer):
    """The filter; see the module."""

    trains: ClassVar[bool] = False

    def __init__(self, config: WienerConfig) -> None:
        super().__init__(config)

    def forward(self, spectrum: Tensor, state: WienerState | None = None) -> tuple[Tensor, WienerState]:
        state = self.initial_state(spectrum.shape[0]) if state is None else state
        power, gains = spectrum.square().sum(-1), []
        for frame in power.unbind(1):
            gain, state = self._frame(frame, state)
            gains.append(gain)
        return spectrum * torch.stack(gains, dim=1)[..., None], state

    def initial_state(self, batch_size: int) -> WienerState:
        zeros, bins = self.stft.window.new_zeros, self.stft.bins
        parts = (zeros(batch_size, bins) for _ in range(3))
        return WienerState(*parts, seen=zeros(batch_size, 1))

    def _frame(self, power: Tensor, state: WienerState) -> tuple[Tensor, WienerState]:
        noise, probability = self._track(power, state)
        posterior = power / (noise + FLOOR)
        prior = self.config.alpha * state.clean + (1 - self.config.alpha) * (posterior - 1).clamp(min=0)
        gain = (prior / (1 + prior)).clamp(min=10 ** (-self.config.floor / 20))
        return gain, WienerState(noise, gain.square() * posterior, probability, state.seen + 1)

    def _track(self, power: Tensor, state: WienerState) -> tuple[Tensor, Tensor]:
        """The noise power with this frame, and the running mean of the speech probability."""
        ratio = power / (state.noise + FLOOR)
        p = 1 / (1 + (1 + PRIOR) * torch.exp(-(ratio * PRIOR / (1 + PRIOR)).clamp(max=80)))
        mean = 0.9 * state.probability + 0.1 * p
        p = torch.where(mean > STUCK, p.clamp(max=STUCK), p)
        a = self.config.tracking
        tracked = a * state.noise + (1 - a) * (p * state.noise + (1 - p) * power)
        begun = state.noise + (power - state.noise) / (state.seen + 1)
        return torch.where(state.seen < FIRST, begun, tracked), mean
