"""Pairs of a noisy and a clean signal: read from two folders, or mixed once and always alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from statewise.core.errors import DataError
from statewise.speech.corpus import FULL, Clip, Corpus, read_corpus
from statewise.speech.mixing import mixed
from statewise.speech.task import Pair

__all__ = ["babble", "held_out", "mixtures", "paired"]

LEVEL = -26.0
"""dB below full scale of the speech in validation mixtures."""
TALKERS = 8
"""Voices at once in the babble of validation mixtures."""


def mixtures(
    clean: Sequence[Clip], noise: Sequence[Clip], snrs: Sequence[float], *, sample_rate: int, seed: int = 0
) -> list[Pair]:
    """One mixture per clip of clean speech, with the kinds of noise and the ratios in turn.

    Args:
        clean: the speech.
        noise: recordings; without any, white noise.
        snrs: signal-to-noise ratios in dB.
        sample_rate: in Hz.
        seed: of where in the noise a mixture begins.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for number, clip in enumerate(clean):
        speech = clip.samples.astype(np.float32) / FULL
        if noise:
            source = noise[number % len(noise)].samples
            begin = int(rng.integers(len(source)))
            places = np.arange(begin, begin + len(speech))
            background = np.take(source, places, mode="wrap").astype(np.float32) / FULL
        else:
            background = rng.standard_normal(len(speech), dtype=np.float32)
        snr = snrs[number // max(1, len(noise)) % len(snrs)]
        noisy, target = mixed(speech, background, snr, LEVEL, sample_rate)
        pairs.append(Pair(noisy=noisy.astype(np.float32), clean=target.astype(np.float32)))
    return pairs


def babble(voices: Sequence[Clip], *, sample_rate: int, seconds: float = 12.0) -> Clip:
    """Several voices at once and equally loud, as one more kind of noise.

    Args:
        voices: whom to take them from: the first recordings of up to eight different speakers.
        sample_rate: in Hz.
        seconds: length; recordings are repeated to it.
    """
    firsts = {clip.group: clip for clip in reversed(voices)}
    length = round(seconds * sample_rate)
    total = np.zeros(length, dtype=np.float32)
    for name in sorted(firsts)[:TALKERS]:
        voice = np.resize(firsts[name].samples, length).astype(np.float32)
        total += voice / max(float(np.sqrt(np.mean(np.square(voice)))), 1.0)
    samples = np.round(total * (0.5 * FULL / max(float(np.abs(total).max()), 1.0))).astype(np.int16)
    return Clip(name="babble", group="babble", samples=samples, band=sample_rate / 2)


def paired(clean: str | Path, noisy: str | Path, *, sample_rate: int) -> list[Pair]:
    """The files of two folders that have the same names.

    Raises:
        DataError: a clean file has no noisy one of its name and length.
    """
    known = {clip.name: clip for clip in read_corpus([noisy], sample_rate=sample_rate).clean}
    pairs = []
    for clip in read_corpus([clean], sample_rate=sample_rate).clean:
        other = known.get(clip.name)
        if other is None or len(other.samples) != len(clip.samples):
            raise DataError(
                "has no noisy recording of the same name and length",
                where=str(Path(clean) / clip.name),
                seen="none" if other is None else f"{len(other.samples)} samples",
                expected=f"{Path(noisy) / clip.name} of {len(clip.samples)} samples",
                fix="put pairs of the same names in the two folders",
            )
        signals = (one.samples.astype(np.float32) / FULL for one in (other, clip))
        pairs.append(Pair(**dict(zip(("noisy", "clean"), signals, strict=True))))
    return pairs


def held_out(corpus: Corpus, share: float) -> tuple[Corpus, list[Clip], list[Clip]]:
    """A corpus without some speakers and some kinds of noise, the clips of those, and their noise.

    With a single speaker some of the clips are held out.
    """
    clean, voices = _split(corpus.clean, share)
    noise, backgrounds = _split(corpus.noise, share)
    rest = Corpus(
        sample_rate=corpus.sample_rate,
        clean=tuple(clean),
        noise=tuple(noise),
        responses=corpus.responses,
        fingerprint=corpus.fingerprint,
        left_out=corpus.left_out,
    )
    return rest, voices, backgrounds


def _split(clips: Sequence[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """The last groups by name, `share` of them but at least one, are held out; of one group, clips."""
    groups = sorted({clip.group for clip in clips})
    if len(groups) > 1:
        last = set(groups[-max(1, round(share * len(groups))) :])
        return [c for c in clips if c.group not in last], [c for c in clips if c.group in last]
    cut = max(1, round(share * len(clips)))
    return (list(clips[:-cut]), list(clips[-cut:])) if len(clips) > 1 else (list(clips), list(clips))
