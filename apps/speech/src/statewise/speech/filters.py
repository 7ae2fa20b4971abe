"""What microphones, lines and rooms do to a sound: random filters as spectra, for a batch at once.

Letters: B examples, F bins of the spectrum of a whole example.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["Shaper", "computed_room"]

EDGES = np.array([60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 24000.0])
"""Corner frequencies of the random equaliser, in Hz."""
STEEPNESS = 40
"""Exponent of the low-pass filter: 120 dB per octave."""


class Shaper:
    """Filters signals of one length by products of spectra.

    Args:
        length: N, samples of a signal.
        tail: samples of room that must not wrap around to the beginning.
        sample_rate: in Hz.
    """

    def __init__(self, length: int, tail: int, sample_rate: int) -> None:
        self.length, self.sample_rate = length, sample_rate
        self.size = -(-(length + tail) // 1024) * 1024
        self.frequencies = np.maximum(np.fft.rfftfreq(self.size, 1 / sample_rate), 1.0).astype(np.float32)
        places = np.interp(np.log(self.frequencies), np.log(EDGES), np.arange(len(EDGES)))
        below = np.minimum(places.astype(int), len(EDGES) - 2)
        self._below, self._between = below, (places - below).astype(np.float32)

    def equaliser(self, rng: np.random.Generator, count: int, deviation: float) -> np.ndarray:
        """Smooth random gains, (B, F): no microphone is to be learnt by heart."""
        decibels = rng.normal(0, deviation, (count, len(EDGES))).astype(np.float32)
        low, high = decibels[:, self._below], decibels[:, self._below + 1]
        return np.exp(np.float32(np.log(10) / 20) * (low + (high - low) * self._between))

    def tilt(self, exponent: float) -> np.ndarray:
        """Gains that fall with a power of the frequency from 10 Hz on, (F,)."""
        return np.maximum(self.frequencies / 10, 1.0) ** np.float32(-exponent)

    def low_pass(self, cut: float) -> np.ndarray:
        """Gains of a line that ends at `cut` Hz, (F,)."""
        return 1 / (1 + np.minimum(self.frequencies / cut, 10.0) ** STEEPNESS).astype(np.float32)

    def room(self, response: np.ndarray) -> np.ndarray:
        """The complex spectrum (F,) of a response from its strongest sample on."""
        direct = response[np.argmax(np.abs(response)) :][: self.size - self.length]
        return np.fft.rfft(direct, self.size).astype(np.complex64)

    def apply(self, x: np.ndarray, gains: np.ndarray) -> np.ndarray:
        """Signals (B, N) through filters (B, F), real or complex: (B, N)."""
        spectrum = torch.fft.rfft(torch.from_numpy(x), n=self.size)
        made: Tensor = torch.fft.irfft(spectrum * torch.from_numpy(gains), n=self.size)
        return made[:, : self.length].numpy()


def computed_room(rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """The response of a room that does not exist: a direct sound and Gaussian noise that dies away.

    The time until it is 60 dB weaker is 0.15 to 0.8 s; the direct sound is 0 to 12 dB stronger than all the
    rest, which comes 1 to 10 ms later.
    """
    seconds = rng.uniform(0.15, 0.8)
    t = np.arange(round(min(0.5, seconds) * sample_rate)) / sample_rate
    rest = rng.standard_normal(len(t)) * 10 ** (-3 * t / seconds)
    rest[: round(rng.uniform(0.001, 0.01) * sample_rate)] = 0
    rest *= 10 ** (-rng.uniform(0, 12) / 20) / np.sqrt(np.square(rest).sum() + 1e-12)
    rest[0] = 1.0
    return rest
