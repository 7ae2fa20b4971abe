"""From blocks of any rate and any number of channels to enhanced blocks of the same, in constant memory.

    x --resample--> low --model--> enhanced --resample--> y_low
    y = y_low + g (x - resample(low))

What a model of 16 kHz cannot see, the band above 8 kHz of a 48 kHz file, is never lost without a word: it is
what remains of x when its own lower band is taken out, and it follows (`--high-band follow`) the gain that
the model gives to the upper half of its band, is kept as it is (`keep`) or is dropped (`drop`).

Every part holds back what it cannot say yet and gives it out at the end, so that output and input have the
same number of samples and stand at the same time. Blocks are (n, C); inside, signals are (C, n).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import soxr
import torch
from torch import Tensor

from statewise.core.config import require
from statewise.speech.models.enhancer import Enhancer, detached

__all__ = ["Channels", "EnhanceOptions", "HighBand", "Pipeline"]

Channels: TypeAlias = Literal["each", "mid", "mono"]
"""Every channel for itself; all channels by the mask of their mean; their mean only."""
HighBand: TypeAlias = Literal["follow", "keep", "drop"]
"""What happens above the band of the model."""

CHUNK = 50
"""Frames that a streaming model takes at once: 1 s."""
WINDOW, FADE = 500, 100
"""Frames of a window of a model that looks at whole signals, and of the fade between two: 10 s, 2 s."""
TINY = 1e-10


@dataclass(frozen=True, kw_only=True)
class EnhanceOptions:
    """How to enhance."""

    channels: Channels = "each"
    """each: every channel for itself; mid: all by the mask of their mean; mono: their mean."""
    high_band: HighBand = "follow"
    """Above 8 kHz: follow the gain of 4 to 8 kHz, keep or drop."""
    mix: float = 1.0
    """Share of the enhanced signal; the rest is the input."""
    limit: float | None = None
    """Most attenuation of any bin, in dB; no limit by default."""

    def __post_init__(self) -> None:
        require(0 <= self.mix <= 1, "mix", self.mix, "from 0 to 1")
        require(self.limit is None or self.limit >= 0, "limit", self.limit, "0 dB or more")


class Piece(NamedTuple):
    """Signals that belong to the same time, (C, n) each."""

    enhanced: np.ndarray
    low: np.ndarray
    """What the model was given."""
    gain: np.ndarray
    """The gain for the high band."""

    @property
    def length(self) -> int:
        """Samples of each."""
        return self.low.shape[1]


class Pipeline:
    """Enhances a signal block by block.

    Args:
        model: a model in evaluation mode.
        rate: samples per second of the signal.
        channels: C of the signal.
        options: how.
    """

    def __init__(self, model: Enhancer, rate: int, channels: int, options: EnhanceOptions) -> None:
        self.options = options
        self.outputs = 1 if options.channels == "mono" else channels
        """Channels that come out."""
        inner = model.sample_rate
        stage = _Stream if model.streaming else _Windows
        self._stage = stage(_Masking(model, options), self.outputs)
        self._down = _Resampler(rate, inner, self.outputs)
        self._up = _Resampler(inner, rate, 3 * self.outputs)
        # below the rate of the model this holds only what the two resamplings lose at the edge of the band
        self._has_rest = rate < inner or (rate > inner and options.high_band != "drop")
        self._waiting = _Queue(self.outputs)
        self._resampled = _Queue(3 * self.outputs)

    @torch.inference_mode()
    def push(self, block: np.ndarray) -> np.ndarray:
        """The next (n, C) samples; what is finished of the output."""
        x = block.T.astype(np.float32)
        x = x.mean(axis=0, keepdims=True) if self.options.channels == "mono" else x
        self._waiting.put(x)
        self._finish_piece(self._stage.push(self._down.push(x)))
        return self._take(min(self._waiting.length, self._resampled.length))

    @torch.inference_mode()
    def finish(self) -> np.ndarray:
        """The rest of the output: in all as many samples as went in."""
        self._finish_piece(self._stage.push(self._down.finish()))
        self._finish_piece(self._stage.finish())
        self._resampled.put(self._up.finish())
        missing = self._waiting.length - self._resampled.length
        if missing > 0:
            self._resampled.put(np.zeros((3 * self.outputs, missing), dtype=np.float32))
        return self._take(self._waiting.length)

    def _finish_piece(self, piece: Piece) -> None:
        if piece.length:
            # what the gain takes away, which is nothing at the ends: a step there would ring
            self._resampled.put(self._up.push(np.concatenate([piece.enhanced, piece.low, 1 - piece.gain])))

    def _take(self, count: int) -> np.ndarray:
        x = self._waiting.take(count)
        enhanced, low, taken = np.split(self._resampled.take(count), 3)
        gain = np.clip(1 - taken, 0, 1)
        y = enhanced
        if self._has_rest:
            y = y + (1.0 if self.options.high_band == "keep" else gain) * (x - low)
        mix = self.options.mix
        return np.ascontiguousarray((mix * y + (1 - mix) * x).T.astype(np.float32))


class _Masking:
    """A model with the options that act on spectra: the mask of the mean, the limit, the gain above."""

    def __init__(self, model: Enhancer, options: EnhanceOptions) -> None:
        self.model, self.stft = model, model.stft
        self._shares = options.channels == "mid"
        self._floor = 0.0 if options.limit is None else 10 ** (-options.limit / 20)

    def state(self, channels: int) -> Any:
        """The state of the model before the first frame."""
        return self.model.initial_state(1 if self._shares else channels)

    def __call__(self, spectrum: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """X (C, T, F, 2) to Y, the gain of the upper half of the band (C, T), and the next state."""
        if self._shares:
            mid = spectrum.mean(0, keepdim=True)
            enhanced, state = self.model(mid, state)
            enhanced = _times(spectrum, _ratio(enhanced, mid))
        else:
            enhanced, state = self.model(spectrum, state)
        if self._floor > 0:
            enhanced = _at_least(enhanced, spectrum, self._floor)
        return enhanced, _upper_gain(enhanced, spectrum), state


class _Stream:
    """A streaming model on chunks, with its state carried along."""

    def __init__(self, masking: _Masking, channels: int) -> None:
        self._masking, self._stft = masking, masking.stft
        self._state, self._edge = masking.state(channels), self._stft.initial_state(channels)
        self._last_gain = torch.ones(channels, 1)
        self._input, self._low, self._output = _Queue(channels), _Queue(channels), _Queue(2 * channels)
        self._skip, self._channels = self._stft.hop, channels

    def push(self, x: np.ndarray) -> Piece:
        """The next samples (C, n); what is finished."""
        self._input.put(x)
        self._low.put(x)
        hop = self._stft.hop
        while self._input.length >= CHUNK * hop:
            self._advance(self._input.take(CHUNK * hop))
        return self._take(min(self._low.length, self._output.length))

    def finish(self) -> Piece:
        """The rest."""
        hop, left = self._stft.hop, self._input.length
        frames = -(-left // hop) + 1
        padded = np.zeros((self._channels, frames * hop), dtype=np.float32)
        padded[:, :left] = self._input.take(left)
        self._advance(padded)
        return self._take(self._low.length)

    def _advance(self, x: np.ndarray) -> None:
        spectrum, block = self._stft.analyse(torch.from_numpy(x), self._edge.block)
        enhanced, gain, state = self._masking(spectrum, self._state)
        y, overlap = self._stft.synthesise(enhanced, self._edge.overlap)
        self._state, self._edge = detached(state), type(self._edge)(block.clone(), overlap.clone())
        # the output is a hop behind: its gain runs from that of the frame before to that of the frame
        points = torch.cat([self._last_gain, gain], dim=1)
        self._last_gain = gain[:, -1:]
        slope = torch.arange(self._stft.hop) / self._stft.hop
        gains = (points[:, :-1, None] + (points[:, 1:] - points[:, :-1])[..., None] * slope).flatten(1)
        made = np.concatenate([y.numpy(), gains.numpy()])[:, self._skip :]
        self._skip = 0
        self._output.put(made)

    def _take(self, count: int) -> Piece:
        enhanced, gain = np.split(self._output.take(count), 2)
        return Piece(enhanced, self._low.take(count), gain)


class _Windows:
    """A model of whole signals on long windows that fade into each other."""

    def __init__(self, masking: _Masking, channels: int) -> None:
        self._masking, self._stft = masking, masking.stft
        self._input, self._channels = _Queue(channels), channels
        self._tail = np.zeros((3 * channels, 0), dtype=np.float32)
        hop = self._stft.hop
        self._window, self._fade = WINDOW * hop, FADE * hop

    def push(self, x: np.ndarray) -> Piece:
        """The next samples (C, n); what is finished."""
        self._input.put(x)
        done = []
        while self._input.length > self._window:
            window = self._input.peek(self._window)
            made = self._faded(self._enhanced(window))
            keep = self._window - self._fade
            done.append(made[:, :keep])
            self._tail = made[:, keep:]
            self._input.take(keep)
        return self._piece(done)

    def finish(self) -> Piece:
        """The rest."""
        if not self._input.length:
            return self._piece([])
        return self._piece([self._faded(self._enhanced(self._input.take(self._input.length)))])

    def _enhanced(self, x: np.ndarray) -> np.ndarray:
        """Enhanced, input and gain of a window: (3C, n)."""
        spectrum = self._stft.spectrum(torch.from_numpy(x))
        enhanced, gain, _ = self._masking(spectrum, None)
        y = self._stft.signal(enhanced, x.shape[1])
        held = np.repeat(gain.numpy(), self._stft.hop, axis=1)[:, : x.shape[1]]
        return np.concatenate([y.numpy(), x, held])

    def _faded(self, made: np.ndarray) -> np.ndarray:
        """The window with its beginning faded in over the end of the one before."""
        size = min(self._tail.shape[1], made.shape[1])
        if size:
            rise = np.square(np.sin(0.5 * np.pi * (np.arange(size) + 0.5) / size)).astype(np.float32)
            made = made.copy()
            made[:, :size] = rise * made[:, :size] + (1 - rise) * self._tail[:, :size]
        return made

    def _piece(self, parts: list[np.ndarray]) -> Piece:
        empty = np.zeros((3 * self._channels, 0), dtype=np.float32)
        return Piece(*np.split(np.concatenate([empty, *parts], axis=1), 3))


class _Resampler:
    """Resamples (C, n) blocks; nothing where both rates are the same."""

    def __init__(self, before: int, after: int, channels: int) -> None:
        self._channels = channels
        self._stream: soxr.ResampleStream | None = None
        if before != after:
            self._stream = soxr.ResampleStream(before, after, channels, dtype="float32", quality="HQ")

    def push(self, x: np.ndarray) -> np.ndarray:
        return x if self._stream is None else self._run(self._stream, x, last=False)

    def finish(self) -> np.ndarray:
        empty = np.zeros((self._channels, 0), dtype=np.float32)
        return empty if self._stream is None else self._run(self._stream, empty, last=True)

    def _run(self, stream: soxr.ResampleStream, x: np.ndarray, *, last: bool) -> np.ndarray:
        made = stream.resample_chunk(np.ascontiguousarray(x.T), last=last)
        return made.reshape(-1, self._channels).T


class _Queue:
    """Samples that wait, (C, n) first in, first out."""

    def __init__(self, channels: int) -> None:
        self._parts: deque[np.ndarray] = deque()
        self._empty = np.zeros((channels, 0), dtype=np.float32)
        self.length = 0

    def put(self, x: np.ndarray) -> None:
        self._parts.append(x)
        self.length += x.shape[1]

    def peek(self, count: int) -> np.ndarray:
        joined = np.concatenate([self._empty, *self._parts], axis=1)
        self._parts = deque([joined])
        return joined[:, :count]

    def take(self, count: int) -> np.ndarray:
        """The oldest `count` samples, fewer if there are not so many."""
        taken = self.peek(count)
        rest = self._parts.pop()[:, count:]
        self._parts.append(rest.copy())
        self.length = rest.shape[1]
        return taken


def _ratio(y: Tensor, x: Tensor) -> Tensor:
    """The complex quotient y / x, (..., 2)."""
    (a, b), (c, d) = y.unbind(-1), x.unbind(-1)
    power = x.square().sum(-1) + TINY
    return torch.stack([(a * c + b * d) / power, (b * c - a * d) / power], dim=-1)


def _times(x: Tensor, m: Tensor) -> Tensor:
    (a, b), (c, d) = x.unbind(-1), m.unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], dim=-1)


def _at_least(y: Tensor, x: Tensor, floor: float) -> Tensor:
    """y, with bins that lie below `floor` times x replaced by that."""
    quiet = y.square().sum(-1, keepdim=True) < floor**2 * x.square().sum(-1, keepdim=True)
    return torch.where(quiet, floor * x, y)


def _upper_gain(y: Tensor, x: Tensor) -> Tensor:
    """The gain, at most one, that the upper half of the band got in each frame: (C, T)."""
    half = x.shape[2] // 2
    energy = [one[:, :, half:].square().sum((2, 3)) for one in (y, x)]
    return ((energy[0] + TINY) / (energy[1] + TINY)).sqrt().clamp(max=1.0)
