"""Dynamic mixing: every training example is put together anew, so that no mixture is seen twice.

    noisy = band(room(eq(speech)) * gain + eq(noise) * gain'),   target = band(room(eq(speech)) * gain)

The speaker is drawn first (by the root of the minutes there are of each), then clips of that speaker, one
behind the other. Recordings are played a little faster or slower, which makes other voices and other noises
of them. Noise is a recording, or a babble of other speakers, or computed, sometimes two recordings at once.
The signal-to-noise ratio is that of the active speech, not of its pauses.
A speaker who was recorded with a narrow band gets noise of the same band: what has no speech above 7 kHz must
not teach that everything above is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from statewise.core.config import require
from statewise.speech.computed_noise import computed_noise
from statewise.speech.corpus import FULL, Clip, Corpus
from statewise.speech.filters import Shaper, computed_room

__all__ = ["Mixer", "MixingConfig", "active_rms", "mixed"]

FRAME = 0.02
ACTIVE = -35.0
"""dB below the loudest frame from which on a frame is a pause."""


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
    """Share of examples in a room, recorded if there are responses, or computed."""
    babble: float = 0.25
    """Share of examples whose noise is other speakers."""
    synthetic: float = 0.2
    """Share of examples whose noise is computed; all of them without recordings of noise."""
    double: float = 0.25
    """Share of examples with a second recording of noise."""
    equaliser: tuple[float, float] = (4.0, 8.0)
    """Standard deviation of the random equaliser, in dB: of speech, of noise."""
    speed: tuple[float, float] = (0.1, 0.25)
    """Largest share by which recordings are played faster or slower: speech, noise."""
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
        require(
            0 <= min(self.speed) <= max(self.speed) < 1, "speed", list(self.speed), "from 0 to less than 1"
        )


class Mixer:
    """Draws examples from a corpus."""

    def __init__(self, corpus: Corpus, config: MixingConfig) -> None:
        self.corpus, self.config = corpus, config
        self.speakers = _groups(corpus.clean)
        self.kinds = _groups(corpus.noise)
        self._speakers = _shares(self.speakers)
        self._kinds = _shares(self.kinds)
        self.length = round(config.seconds * corpus.sample_rate)
        self.shaper = Shaper(self.length, corpus.sample_rate // 2, corpus.sample_rate)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Noisy signals and their clean targets, (B, N) float32 with B = `count`."""
        config, shaper, rate = self.config, self.shaper, self.corpus.sample_rate
        speech, noise = np.empty((2, count, self.length), dtype=np.float32)
        shapes = [shaper.equaliser(rng, count, deviation) for deviation in config.equaliser]
        voice, background = (shape.astype(np.complex64) for shape in shapes)
        for number in range(count):
            speaker = self._choose(rng, self._speakers)
            speech[number], band = self._speech(rng, self.speakers[speaker])
            noise[number] = self._noise(rng, speaker, background[number])
            if rng.random() < config.reverberation:
                voice[number] *= shaper.room(self._room(rng))
            cut = self._cut(rng, band)
            if cut is not None:
                voice[number] *= shaper.low_pass(cut)
                background[number] *= shaper.low_pass(cut)
        speech, noise = shaper.apply(speech, voice), shaper.apply(noise, background)
        snrs, levels = (rng.uniform(*limits, count) for limits in (config.snr, config.level))
        return mixed(speech, noise, snrs, levels, rate)

    def pair(self, rng: np.random.Generator, speakers: int) -> np.ndarray:
        """Different speakers at similar levels, (S, N) float32: what separation trains on."""
        shares = np.diff(self._speakers, prepend=0.0, append=1.0)
        chosen = rng.choice(len(self.speakers), size=speakers, replace=False, p=shares)
        sources = np.stack([self._speech(rng, self.speakers[int(speaker)])[0] for speaker in chosen])
        sources = self.shaper.apply(sources, self.shaper.equaliser(rng, speakers, self.config.equaliser[0]))
        gains = 10 ** (rng.uniform(-2.5, 2.5, speakers) / 20 - 26 / 20)
        return sources * _gain(gains / (active_rms(sources, self.corpus.sample_rate) + 1e-9))

    def _choose(self, rng: np.random.Generator, shares: np.ndarray) -> int:
        return int(np.searchsorted(shares, rng.random(), side="right"))

    def _speech(self, rng: np.random.Generator, clips: list[Clip]) -> tuple[np.ndarray, float]:
        """Clips of one speaker behind each other from a random place on, and their narrowest band."""
        count, speed = self._played(rng, self.config.speed[0])
        x, length, band = np.zeros(count, dtype=np.float32), 0, np.inf
        while length < count:
            clip = clips[int(rng.integers(len(clips)))]
            begin = 0 if length else int(rng.integers(max(1, len(clip.samples) - count)))
            part = clip.samples[begin : begin + count - length]
            x[length : length + len(part)] = part
            length += len(part) + int(rng.uniform(0.05, 0.4) * self.corpus.sample_rate)
            band = min(band, clip.band * speed)
        return self._faster(x) / np.float32(FULL), float(band)

    def _played(self, rng: np.random.Generator, most: float) -> tuple[int, float]:
        """Samples of a recording that an example is made of, and how much faster than recorded that is."""
        speed = 1 + rng.uniform(-most, most)
        return round(self.length * speed), speed

    def _faster(self, x: np.ndarray) -> np.ndarray:
        """A recording of any number of samples, played in the time of an example."""
        if len(x) == self.length:
            return x
        # better filters would leave an empty band at the top, which the model would learn to keep empty
        played = soxr.resample(x, len(x), self.length, quality="QQ")
        return np.pad(played, (0, max(0, self.length - len(played))))[: self.length]

    def _noise(self, rng: np.random.Generator, speaker: int, shape: np.ndarray) -> np.ndarray:
        """Noise of some kind, (N,); what is coloured is coloured by its filter `shape` (F,)."""
        kind = rng.random()
        if kind < self.config.babble and len(self.speakers) > 2:
            return self._babble(rng, speaker, shape)
        if kind < self.config.babble + self.config.synthetic or not self.kinds:
            shape *= self.shaper.tilt(rng.uniform(0, 1.5))
            return computed_noise(rng, self.length, self.corpus.sample_rate)
        noise = self._recording(rng)
        if rng.random() < self.config.double:
            noise = noise + self._recording(rng) * np.float32(10 ** (rng.uniform(-10, 10) / 20))
        return noise

    def _recording(self, rng: np.random.Generator) -> np.ndarray:
        """A recording of noise from a random place on, repeated where it is too short; of power one."""
        clips = self.kinds[self._choose(rng, self._kinds)]
        clip = clips[int(rng.integers(len(clips)))].samples
        count, _ = self._played(rng, self.config.speed[1])
        begin = int(rng.integers(len(clip)))
        noise = clip[begin : begin + count].astype(np.float32)
        if len(noise) < count:
            rest = np.resize(clip, count - len(noise)).astype(np.float32)
            noise = np.concatenate([noise, rest])
        noise = self._faster(noise)
        return noise / (np.sqrt(np.mean(np.square(noise))) + np.float32(1.0))

    def _babble(self, rng: np.random.Generator, speaker: int, shape: np.ndarray) -> np.ndarray:
        """Three to twelve other speakers at once, near and far; some in a room or in other noise."""
        total = np.zeros(self.length, dtype=np.float32)
        for _ in range(int(rng.integers(3, 13))):
            other = self._choose(rng, self._speakers)
            if other != speaker:
                voice, _ = self._speech(rng, self.speakers[other])
                loudness = np.sqrt(np.mean(np.square(voice))) + np.float32(1e-4)
                total += voice * np.float32(10 ** (rng.uniform(-6, 6) / 20) / loudness)
        if rng.random() < 0.5:
            shape *= self.shaper.room(self._room(rng))
        if self.kinds and rng.random() < 0.5:
            power = np.sqrt(np.mean(np.square(total)))
            total += self._recording(rng) * np.float32(power * 10 ** (rng.uniform(-15, 0) / 20))
        return total + 1e-4 * rng.standard_normal(self.length, dtype=np.float32)

    def _room(self, rng: np.random.Generator) -> np.ndarray:
        """The response of a recorded room or, as often, of a computed one."""
        clips = self.corpus.responses
        if not clips or rng.random() < 0.5:
            return computed_room(rng, self.corpus.sample_rate)
        return clips[int(rng.integers(len(clips)))].samples / FULL

    def _cut(self, rng: np.random.Generator, band: float) -> float | None:
        """Hz at which the example ends, if it is not to use the whole band."""
        if band < 0.46 * self.corpus.sample_rate:
            return band if rng.random() < 0.9 else None
        return rng.uniform(3400, 7500) if rng.random() < self.config.band_limit else None


def mixed(
    speech: np.ndarray,
    noise: np.ndarray,
    snr: float | np.ndarray,
    level: float | np.ndarray,
    sample_rate: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Speech at a level in noise at a ratio; both are turned down if the mixture would clip.

    Args:
        speech: (..., N).
        noise: (..., N).
        snr: signal-to-noise ratio of the active speech, in dB; one for all, or (...).
        level: of the active speech, in dB below full scale; one for all, or (...).
        sample_rate: in Hz.

    Returns:
        The mixture and the speech in it, (..., N) float32.
    """
    level, snr = np.asarray(level), np.asarray(snr)
    loudness = active_rms(speech, sample_rate)
    power = np.sqrt(np.mean(np.square(noise), axis=-1)) + 1e-9
    voice, background = 10 ** (level / 20) / (loudness + 1e-9), 10 ** ((level - snr) / 20) / power
    clean = speech * _gain(voice)
    noisy = clean + noise * _gain(background)
    peak = np.max(np.abs(noisy), axis=-1, initial=0.0)
    fit = _gain(0.99 / np.maximum(peak, 0.99))
    return noisy * fit, clean * fit


def active_rms(x: np.ndarray, sample_rate: int) -> np.ndarray:
    """Root mean square of the frames within 35 dB of the loudest one: (..., N) to (...)."""
    frame = min(max(1, round(FRAME * sample_rate)), x.shape[-1])
    whole = x[..., : x.shape[-1] // frame * frame]
    power = np.square(whole.reshape(*x.shape[:-1], -1, frame)).mean(axis=-1, dtype=np.float64)
    active = power >= power.max(axis=-1, keepdims=True) * 10 ** (ACTIVE / 10)
    return np.sqrt((power * active).sum(axis=-1) / active.sum(axis=-1))


def _gain(factor: np.ndarray) -> np.ndarray:
    return factor[..., None].astype(np.float32)


def _groups(clips: tuple[Clip, ...]) -> list[list[Clip]]:
    """The clips of each speaker or kind, in the order of their names."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.group, []).append(clip)
    return [groups[name] for name in sorted(groups)]


def _shares(groups: list[list[Clip]]) -> np.ndarray:
    """Where the share of each group ends, from 0 to 1: by the root of how much there is of it."""
    sizes = np.sqrt([sum(len(clip.samples) for clip in group) for group in groups], dtype=np.float64)
    return np.cumsum(sizes / sizes.sum())[:-1] if len(sizes) else sizes
