"""Dynamic mixing: every training example is put together anew, so that no mixture is seen twice.

    noisy = band(room(eq(speech)) * gain + eq(noise) * gain'),   target = band(room(eq(speech)) * gain)

The speaker is drawn first (by the root of the minutes there are of each), then clips of that speaker, one
behind the other. Noise is a recording, or a babble of other speakers, or Gaussian noise of a random spectrum,
sometimes two recordings at once. The signal-to-noise ratio is that of the active speech, not of its pauses.
A speaker who was recorded with a narrow band gets noise of the same band: what has no speech above 7 kHz must
not teach that everything above is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statewise.core.config import require
from statewise.speech.corpus import FULL, Clip, Corpus

__all__ = ["Mixer", "MixingConfig", "active_rms", "mixed"]

FRAME = 0.02
ACTIVE = -35.0
"""dB below the loudest frame from which on a frame is a pause."""
EDGES = np.array([60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 24000.0])
"""Corner frequencies of the random equaliser, in Hz."""


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """How examples are put together."""

    seconds: float = 1.5
    """Length of an example."""
    snr: tuple[float, float] = (-5.0, 20.0)
    """Least and largest signal-to-noise ratio, in dB."""
    level: tuple[float, float] = (-40.0, -14.0)
    """Least and largest level of the active speech, in dB below full scale."""
    reverberation: float = 0.2
    """Share of examples in a room, if there are room responses."""
    babble: float = 0.15
    """Share of examples whose noise is other speakers."""
    synthetic: float = 0.2
    """Share of examples whose noise is computed; all of them without recordings of noise."""
    double: float = 0.25
    """Share of examples with a second recording of noise."""
    equaliser: tuple[float, float] = (4.0, 8.0)
    """Standard deviation of the random equaliser, in dB: of speech, of noise."""
    band_limit: float = 0.1
    """Share of wide-band examples that are cut off at 3.4 to 7.5 kHz."""

    def __post_init__(self) -> None:
        require(self.seconds >= 0.1, "seconds", self.seconds, "at least 0.1")
        for name in ("snr", "level"):
            low, high = getattr(self, name)
            require(low <= high, name, [low, high], "the smaller number first")
        for name in ("reverberation", "babble", "synthetic", "double", "band_limit"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        require(min(self.equaliser) >= 0, "equaliser", list(self.equaliser), "0 or more")


class Mixer:
    """Draws examples from a corpus."""

    def __init__(self, corpus: Corpus, config: MixingConfig) -> None:
        self.corpus, self.config = corpus, config
        self.speakers = _groups(corpus.clean)
        self.kinds = _groups(corpus.noise)
        self._speakers = _shares(self.speakers)
        self._kinds = _shares(self.kinds)
        self.length = round(config.seconds * corpus.sample_rate)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A noisy signal and its clean target, (N,) float32."""
        config = self.config
        speaker = self._choose(rng, self._speakers)
        speech, band = self._speech(rng, self.speakers[speaker])
        speech = self._equalised(rng, speech, config.equaliser[0])
        if self.corpus.responses and rng.random() < config.reverberation:
            speech = self._in_room(rng, speech)
        noise = self._equalised(rng, self._noise(rng, speaker), config.equaliser[1])
        snr, level = rng.uniform(*config.snr), rng.uniform(*config.level)
        noisy, clean = mixed(speech, noise, snr, level, self.corpus.sample_rate)
        cut = self._cut(rng, band)
        if cut is not None:
            noisy, clean = (self._low_pass(one, cut) for one in (noisy, clean))
        return noisy.astype(np.float32), clean.astype(np.float32)

    def pair(self, rng: np.random.Generator, speakers: int) -> np.ndarray:
        """Different speakers at similar levels, (S, N) float32: what separation trains on."""
        chosen = rng.choice(len(self.speakers), size=speakers, replace=False, p=self._speakers)
        sources = []
        for speaker in chosen:
            speech, _ = self._speech(rng, self.speakers[int(speaker)])
            speech = self._equalised(rng, speech, self.config.equaliser[0])
            gain = 10 ** (rng.uniform(-2.5, 2.5) / 20 - 26 / 20)
            sources.append(speech * gain / (active_rms(speech, self.corpus.sample_rate) + 1e-9))
        return np.stack(sources).astype(np.float32)

    def _choose(self, rng: np.random.Generator, shares: np.ndarray) -> int:
        return int(rng.choice(len(shares), p=shares))

    def _speech(self, rng: np.random.Generator, clips: list[Clip]) -> tuple[np.ndarray, float]:
        """Clips of one speaker behind each other from a random place on, and their narrowest band."""
        parts, length, band = [], 0, np.inf
        while length < self.length:
            clip = clips[int(rng.integers(len(clips)))]
            begin = int(rng.integers(max(1, len(clip.samples) - self.length))) if not parts else 0
            part = clip.samples[begin : begin + self.length - length].astype(np.float32) / FULL
            pause = np.zeros(int(rng.uniform(0.05, 0.4) * self.corpus.sample_rate), dtype=np.float32)
            parts += [part, pause]
            length += len(part) + len(pause)
            band = min(band, clip.band)
        return np.concatenate(parts)[: self.length], float(band)

    def _noise(self, rng: np.random.Generator, speaker: int) -> np.ndarray:
        kind = rng.random()
        if kind < self.config.babble and len(self.speakers) > 2:
            return self._babble(rng, speaker)
        if kind < self.config.babble + self.config.synthetic or not self.kinds:
            return self._coloured(rng)
        noise = self._recording(rng)
        if rng.random() < self.config.double:
            noise = noise + self._recording(rng) * 10 ** (rng.uniform(-10, 10) / 20)
        return noise

    def _recording(self, rng: np.random.Generator) -> np.ndarray:
        """A recording of noise from a random place on, repeated where it is too short; of power one."""
        clips = self.kinds[self._choose(rng, self._kinds)]
        clip = clips[int(rng.integers(len(clips)))].samples
        begin = int(rng.integers(len(clip)))
        noise = np.take(clip, np.arange(begin, begin + self.length), mode="wrap").astype(np.float32) / FULL
        return noise / (np.sqrt(np.mean(np.square(noise))) + 1e-6)

    def _babble(self, rng: np.random.Generator, speaker: int) -> np.ndarray:
        """Three to eight other speakers at once."""
        total = np.zeros(self.length, dtype=np.float32)
        for _ in range(int(rng.integers(3, 9))):
            other = self._choose(rng, self._speakers)
            if other != speaker:
                voice, _ = self._speech(rng, self.speakers[other])
                total += voice / (active_rms(voice, self.corpus.sample_rate) + 1e-6)
        return total + 1e-4 * rng.standard_normal(self.length, dtype=np.float32)

    def _coloured(self, rng: np.random.Generator) -> np.ndarray:
        """Gaussian noise with a tilt of 0 to -9 dB per octave, sometimes swelling."""
        noise = rng.standard_normal(self.length, dtype=np.float32)
        spectrum = np.fft.rfft(noise)
        spectrum *= np.maximum(np.arange(len(spectrum)), 8.0) ** -rng.uniform(0, 1.5)
        noise = np.fft.irfft(spectrum, n=self.length)
        if rng.random() < 0.3:
            t = np.arange(self.length) / self.corpus.sample_rate
            noise *= 1 + 0.9 * np.sin(2 * np.pi * (rng.uniform(0.3, 6) * t + rng.random()))
        return noise / (np.sqrt(np.mean(np.square(noise))) + 1e-12)

    def _equalised(self, rng: np.random.Generator, x: np.ndarray, deviation: float) -> np.ndarray:
        """A smooth random spectrum, so that no microphone is learnt by heart."""
        decibels = np.interp(np.log(self._frequencies()), np.log(EDGES), rng.normal(0, deviation, len(EDGES)))
        return np.fft.irfft(np.fft.rfft(x) * 10 ** (decibels / 20), n=len(x))

    def _in_room(self, rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        clips = self.corpus.responses
        response = clips[int(rng.integers(len(clips)))].samples.astype(np.float64) / FULL
        response = response[np.argmax(np.abs(response)) :][: self.corpus.sample_rate]
        size = len(x) + len(response) - 1
        return np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(response, size), n=size)[: len(x)]

    def _cut(self, rng: np.random.Generator, band: float) -> float | None:
        """Hz at which the example ends, if it is not to use the whole band."""
        if band < 0.46 * self.corpus.sample_rate:
            return band if rng.random() < 0.9 else None
        return rng.uniform(3400, 7500) if rng.random() < self.config.band_limit else None

    def _low_pass(self, x: np.ndarray, cut: float) -> np.ndarray:
        spectrum = np.fft.rfft(x)
        return np.fft.irfft(spectrum / (1 + (self._frequencies() / cut) ** 40), n=len(x))

    def _frequencies(self) -> np.ndarray:
        """Hz of the bins of an example, the lowest one not zero."""
        return np.maximum(np.fft.rfftfreq(self.length, 1 / self.corpus.sample_rate), 1.0)


def mixed(
    speech: np.ndarray, noise: np.ndarray, snr: float, level: float, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Speech at a level in noise at a ratio; both are turned down if the mixture would clip.

    Args:
        speech: (N,).
        noise: (N,).
        snr: signal-to-noise ratio of the active speech, in dB.
        level: of the active speech, in dB below full scale.
        sample_rate: in Hz.

    Returns:
        The mixture and the speech in it.
    """
    loudness = active_rms(speech, sample_rate)
    clean = speech * (10 ** (level / 20) / (loudness + 1e-9))
    power = np.sqrt(np.mean(np.square(noise))) + 1e-9
    noisy = clean + noise * (10 ** ((level - snr) / 20) / power)
    peak = float(np.max(np.abs(noisy), initial=0.0))
    fit = 0.99 / peak if peak > 0.99 else 1.0
    return noisy * fit, clean * fit


def active_rms(x: np.ndarray, sample_rate: int) -> float:
    """Root mean square of the frames within 35 dB of the loudest one."""
    frame = max(1, round(FRAME * sample_rate))
    whole = x[: max(frame, len(x) // frame * frame)]
    power = np.square(whole[: len(whole) // frame * frame].reshape(-1, frame)).mean(axis=1)
    if not len(power):
        return float(np.sqrt(np.mean(np.square(x))))
    return float(np.sqrt(power[power >= power.max() * 10 ** (ACTIVE / 10)].mean()))


def _groups(clips: tuple[Clip, ...]) -> list[list[Clip]]:
    """The clips of each speaker or kind, in the order of their names."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.group, []).append(clip)
    return [groups[name] for name in sorted(groups)]


def _shares(groups: list[list[Clip]]) -> np.ndarray:
    """The probability of each group: by the root of how much there is of it."""
    sizes = np.array([sum(len(clip.samples) for clip in group) for group in groups], dtype=np.float64)
    return np.sqrt(sizes) / np.sqrt(sizes).sum() if len(sizes) else sizes
