"""Folders of recordings to train on: clean speech by speaker, noise by kind, room responses.

Everything is read once, brought to one rate and one channel, and kept as 16-bit samples: an hour takes 115
MB at 16 kHz. The speaker of a file is the folder that it stands in, or in a flat folder what its name has
before a double underscore (`anna__001.flac`), else the file itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr

from statewise.core.errors import DataError

__all__ = ["Clip", "Corpus", "read_corpus"]

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".au", ".w64", ".rf64")
FULL = 32768.0
SHORTEST = 0.1
"""Seconds below which a recording is left out."""
QUIET = -60.0
"""dB below the strongest band from which on a band counts as empty."""
BANDS = 160


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One recording."""

    name: str
    group: str
    """The speaker, or the kind of noise."""
    samples: np.ndarray
    """(N,) int16."""
    band: float
    """Hz up to which there is sound."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a mixer draws from."""

    sample_rate: int
    clean: tuple[Clip, ...]
    noise: tuple[Clip, ...] = ()
    responses: tuple[Clip, ...] = ()
    fingerprint: str = ""
    """Digest of all samples."""
    left_out: tuple[str, ...] = field(default=())
    """Files that could not be used, with the reason."""

    @property
    def hours(self) -> float:
        """Hours of clean speech."""
        return sum(len(clip.samples) for clip in self.clean) / self.sample_rate / 3600


def read_corpus(
    clean: Sequence[str | Path],
    noise: Sequence[str | Path] = (),
    responses: Sequence[str | Path] = (),
    *,
    sample_rate: int = 16_000,
    progress: Callable[[float, str], None] | None = None,
) -> Corpus:
    """Read folders (or single files) of recordings.

    Args:
        clean: where the clean speech is.
        noise: where the noise is; none for noise that is computed.
        responses: where the room responses are.
        sample_rate: the rate to bring everything to.
        progress: told the fraction done.

    Raises:
        DataError: a path does not exist, or there is no usable recording of clean speech in any.
    """
    places = [found for roots in (clean, noise, responses) for found in [_found(roots)]]
    total, done = max(1, sum(map(len, places))), 0
    digest, left_out = hashlib.blake2b(digest_size=8), []
    parts: list[list[Clip]] = []
    for files in places:
        clips = []
        for path, group in files:
            done += 1
            if progress is not None:
                progress(done / total, f"reading {path.name}")
            try:
                clip = _read(path, group, sample_rate)
            except (soundfile.LibsndfileError, DataError) as error:
                left_out.append(f"{path}: {getattr(error, 'what', error)}")
                continue
            digest.update(clip.samples.tobytes())
            clips.append(clip)
        parts.append(clips)
    if not parts[0]:
        raise DataError(
            "holds no recording of clean speech that can be used",
            where=", ".join(map(str, clean)),
            seen="; ".join(left_out[:3]) or "no audio file",
            expected=f"files of speech ({', '.join(ENDINGS[:4])}, ...) of {SHORTEST} s or more",
            fix="name the folder with --clean",
        )
    return Corpus(
        sample_rate=sample_rate,
        clean=tuple(parts[0]),
        noise=tuple(parts[1]),
        responses=tuple(parts[2]),
        fingerprint=digest.hexdigest(),
        left_out=tuple(left_out),
    )


def _found(roots: Iterable[str | Path]) -> list[tuple[Path, str]]:
    """Files with the group that each belongs to, in the order of their names."""
    found = []
    for root in map(Path, roots):
        if not root.exists():
            raise DataError("there is no such file or folder", where=str(root), fix="check the path")
        below = [root] if root.is_file() else sorted(root.rglob("*"))
        files = [path for path in below if path.suffix.lower() in ENDINGS]
        found += [(path, _group(path, root)) for path in files]
    return found


def _group(path: Path, root: Path) -> str:
    if "__" in path.stem:
        return path.stem.split("__")[0]
    nested = path.parent != root and path != root
    return path.parent.name if nested else path.stem


def _read(path: Path, group: str, sample_rate: int) -> Clip:
    data, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = data.mean(axis=1)
    if len(mono) < SHORTEST * rate:
        raise DataError(f"is shorter than {SHORTEST} s", where=str(path))
    if not np.isfinite(mono).all():
        raise DataError("has samples that are not finite", where=str(path))
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    samples = np.clip(np.round(mono * FULL), -FULL, FULL - 1).astype(np.int16)
    return Clip(name=path.name, group=group, samples=samples, band=_band(samples, sample_rate))


def _band(samples: np.ndarray, sample_rate: int) -> float:
    """Hz up to which the mean spectrum is within 60 dB of its largest band."""
    frame = 2 * BANDS
    whole = samples[: len(samples) // frame * frame].astype(np.float32).reshape(-1, frame)
    if not len(whole):
        return sample_rate / 2
    power = np.square(np.abs(np.fft.rfft(whole * np.hanning(frame)))).mean(axis=0)
    loud = np.flatnonzero(10 * np.log10(power / max(power.max(), 1e-12) + 1e-12) > QUIET)
    return float((loud[-1] + 1) * sample_rate / frame) if len(loud) else sample_rate / 2
