"""Where somebody speaks: segments from an enhancer's own output.

A frame is speech where the enhanced signal is within 35 dB of its loudest second and where the model let
more than a twentieth of the power through. Gaps shorter than `pause` are closed, segments shorter than
`shortest` are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from statewise.core.config import require
from statewise.speech.models.enhancer import Enhancer

__all__ = ["Segment", "VadOptions", "find_speech"]

TINY = 1e-10
CHUNK = 60.0
"""Seconds that a streaming model takes at once."""


@dataclass(frozen=True, kw_only=True)
class VadOptions:
    """What counts as speech."""

    below: float = 35.0
    """dB below the loudest second from which on a frame is silence."""
    passed: float = 13.0
    """dB of attenuation from which on a frame is noise."""
    pause: float = 0.25
    """Seconds of the longest gap inside a segment."""
    shortest: float = 0.1
    """Seconds of the shortest segment."""

    def __post_init__(self) -> None:
        for name in ("below", "passed", "pause", "shortest"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of speech."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    level: float
    """dB below full scale of the enhanced signal."""


@torch.inference_mode()
def find_speech(model: Enhancer, x: np.ndarray, options: VadOptions | None = None) -> list[Segment]:
    """The segments of a signal (N,) at the rate of the model."""
    options = options or VadOptions()
    if not len(x):
        return []
    before, after = _powers(model, x)
    rate = model.sample_rate / model.stft.hop
    loudest = _smooth(after, max(1, round(rate))).max()
    loud = after > max(loudest * 10 ** (-options.below / 10), TINY)
    passed = after > before * 10 ** (-options.passed / 10)
    segments = []
    for first, last in _runs(loud & passed, round(options.pause * rate)):
        start, end = (first - 1) / rate, last / rate  # frame t is centred on the beginning of block t
        if end - start >= options.shortest:
            power = float(after[first:last].mean()) / (model.stft.hop * model.stft.bins)
            segment = Segment(
                start=max(0.0, start),
                end=min(len(x) / model.sample_rate, end),
                level=10 * np.log10(max(power, TINY)),
            )
            segments.append(segment)
    return segments


def _powers(model: Enhancer, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The power of every frame before and after; a streaming model takes a minute at once."""
    stft, hop = model.stft, model.stft.hop
    size = round(CHUNK * model.sample_rate / hop) * hop if model.streaming else len(x) + 2 * hop
    padded = np.pad(x, (0, stft.frames(len(x)) * hop - len(x)))
    block, state, rows = torch.zeros(1, hop), None, []
    for at in range(0, len(padded), size):
        spectrum, block = stft.analyse(torch.from_numpy(padded[at : at + size])[None], block)
        enhanced, state = model(spectrum, state)
        rows.append([one[0].square().sum((1, 2)).numpy() for one in (spectrum, enhanced)])
    before, after = zip(*rows, strict=True)
    return np.concatenate(before), np.concatenate(after)


def _smooth(power: np.ndarray, size: int) -> np.ndarray:
    sums = np.cumsum(np.concatenate([[0.0], power, np.zeros(size)]))
    return (sums[size:] - sums[:-size]) / size


def _runs(marks: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """First and one past the last place of every run of marks, gaps of at most `gap` closed."""
    places = np.flatnonzero(marks)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > gap + 1)
    firsts = places[np.concatenate([[0], breaks + 1])]
    lasts = places[np.concatenate([breaks, [len(places) - 1]])] + 1
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
