"""Sound files in blocks: opened with a clear word about what is wrong, read and written in constant memory.

Blocks are (n, C) float32, n samples of C channels. Formats are those of libsndfile: WAV in every width, FLAC,
OGG, MP3, AIFF and more.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import soundfile

from statewise.core.errors import DataError, UserError

__all__ = [
    "STREAM",
    "SoundInfo",
    "SoundReader",
    "SoundWriter",
    "as_bytes",
    "read_sound",
    "writable_ending",
    "write_sound",
]

STREAM = "-"
"""Standard input or output."""
SPOOLED = 16_000_000
"""Bytes of standard input kept in memory; more go to a temporary file."""
TEXT = b"\t\n\r"
CODECS = (".m4a", ".aac", ".mp4", ".mov", ".mkv", ".webm", ".wma", ".amr")
CLIPPED = 0.999


@dataclass(frozen=True, kw_only=True)
class SoundInfo:
    """What a file says about itself."""

    name: str
    rate: int
    channels: int
    frames: int
    format: str
    subtype: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate

    @property
    def text(self) -> str:
        """In words: `48000 Hz, 2 channels, 12.3 s, WAV PCM_24`."""
        channels = f"{self.channels} channel{'s' if self.channels != 1 else ''}"
        return f"{self.rate} Hz, {channels}, {self.seconds:.2f} s, {self.format} {self.subtype}"


class SoundReader:
    """A sound file open for reading; a context manager.

    Args:
        path: the file, `-` for standard input.

    Raises:
        DataError: there is no such file, or it is no sound file that can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "standard input" if str(path) == STREAM else str(path)
        self._stack = contextlib.ExitStack()
        try:
            file = self._stack.enter_context(_opened(path))
            self._promised = _promised_seconds(file)
            self._sound = self._stack.enter_context(_sound(file, self.name, Path(str(path)).suffix))
        except BaseException:
            self._stack.close()
            raise
        sound = self._sound
        self.info = SoundInfo(
            name=self.name,
            rate=sound.samplerate,
            channels=sound.channels,
            frames=sound.frames,
            format=sound.format,
            subtype=sound.subtype,
        )
        self.read = 0
        """Samples read so far."""
        self.clipped = 0
        """Samples at full scale so far."""

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """The samples from first to last, at most `size` at a time.

        Raises:
            DataError: a sample is not a number.
        """
        while True:
            try:
                block = self._sound.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                if self.read:
                    return  # `remarks` tells that the file ended early
                raise DataError(f"cannot be decoded ({error.error_string})", where=self.name) from None
            if not len(block):
                return
            self._check(block)
            self.read += len(block)
            self.clipped += int(np.count_nonzero(np.abs(block) >= CLIPPED))
            yield block

    def remarks(self) -> list[str]:
        """What was odd about the file, once it has been read."""
        found, held = [], self.info.seconds
        if self.read < self.info.frames:
            found.append(f"ends after {self.read / self.info.rate:.2f} s of {held:.2f} s")
        elif self._promised is not None and self._promised > held + 0.05:
            found.append(f"is cut off: its header promises {self._promised:.2f} s, it holds {held:.2f} s")
        if self.clipped > max(20, 1e-4 * self.read * self.info.channels):
            found.append(f"is clipped: {self.clipped} samples at full scale")
        return found

    def _check(self, block: np.ndarray) -> None:
        finite = np.isfinite(block)
        if finite.all():
            return
        row, channel = (int(i[0]) for i in np.nonzero(~finite))
        raise DataError(
            "has a sample that is not a number",
            where=f"{self.name}, {(self.read + row) / self.info.rate:.4f} s, channel {channel + 1}",
            seen=str(block[row, channel]),
            expected="finite samples",
            fix="repair the file, for example with: sox in.wav -b 16 out.wav",
        )


class SoundWriter:
    """A sound file open for writing, complete or not there at all; a context manager.

    Args:
        path: the file, `-` for standard output.
        rate: in Hz.
        channels: C.
        like: the file whose format and width of samples are taken where the ending allows it.

    Raises:
        UserError: the place cannot be written to, or the ending is no format that can be written.
    """

    def __init__(self, path: str | Path, *, rate: int, channels: int, like: SoundInfo | None = None) -> None:
        self.path = path
        self.clipped = 0
        """Samples beyond full scale that an integer format had to cut."""
        self.format, self.subtype = _format_for(path, like)
        if rate > 0 and not soundfile.check_format(self.format, self.subtype):
            self.subtype = soundfile.default_subtype(self.format)
        self._target: Any = None
        if str(path) == STREAM:
            self._target = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the sound
        self._part = None if self._target else _beside(Path(path))
        try:
            self._sound = soundfile.SoundFile(
                self._target or str(self._part),
                "w",
                samplerate=rate,
                channels=channels,
                format=self.format,
                subtype=self.subtype,
            )
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            self._drop()
            raise _unwritable(path, str(getattr(error, "error_string", error)), rate, channels) from None

    def __enter__(self) -> SoundWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._sound.close()
        if kind is not None:
            self._drop()
        elif self._part is not None:
            os.replace(self._part, self.path)
        else:
            self._target.seek(0)
            shutil.copyfileobj(self._target, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            self._target.close()

    def write(self, block: np.ndarray) -> None:
        """Write (n, C) samples."""
        if self.subtype not in ("FLOAT", "DOUBLE"):
            self.clipped += int(np.count_nonzero(np.abs(block) > 1.0))
            block = np.clip(block, -1.0, 1.0)
        try:
            self._sound.write(block)
        except (soundfile.LibsndfileError, OSError) as error:
            raise _unwritable(self.path, str(getattr(error, "error_string", error))) from None

    def _drop(self) -> None:
        if self._part is not None:
            self._part.unlink(missing_ok=True)
        else:
            self._target.close()


def read_sound(path: str | Path, seconds: float | None = None) -> tuple[np.ndarray, SoundInfo]:
    """A whole file, (N, C) float32, or its first seconds."""
    with SoundReader(path) as reader:
        most = None if seconds is None else max(1, round(seconds * reader.info.rate))
        blocks = list(reader.blocks(1 << 20) if most is None else islice(reader.blocks(most), 1))
        empty = np.zeros((0, reader.info.channels), dtype=np.float32)
        return np.concatenate([empty, *blocks]), reader.info


def write_sound(path: str | Path, samples: np.ndarray, rate: int, like: SoundInfo | None = None) -> None:
    """A whole file from (N,) or (N, C) samples."""
    samples = samples if samples.ndim == 2 else samples[:, None]
    with SoundWriter(path, rate=rate, channels=samples.shape[1], like=like) as writer:
        writer.write(samples)


def writable_ending(ending: str) -> bool:
    """Whether files with this ending can be written."""
    return ending.lower() in _endings()


def _opened(path: str | Path) -> IO[bytes]:
    if str(path) == STREAM:
        file = tempfile.SpooledTemporaryFile(max_size=SPOOLED)  # noqa: SIM115 - closed by the reader
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.seek(0)
        return cast("IO[bytes]", file)  # it is one in all but its declared type
    path = Path(path)
    if path.is_dir():
        raise DataError("is a folder", where=str(path), expected="a sound file", fix=f"use {path}/*.wav")
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path), fix="check the path") from None
    except OSError as error:
        why = f"cannot be opened ({error.strerror})"
        raise DataError(why, where=str(path), fix="check its permissions") from None


def _sound(file: IO[bytes], name: str, ending: str) -> soundfile.SoundFile:
    head = file.read(256)
    file.seek(0)
    if not head:
        raise DataError("is empty", where=name, seen="0 bytes", fix="record it or copy it again")
    try:
        return soundfile.SoundFile(cast(Any, file))
    except (soundfile.LibsndfileError, TypeError, RuntimeError) as error:
        raise DataError(
            "is no sound file that can be read",
            where=name,
            seen=_looks_like(head, str(getattr(error, "error_string", error))),
            expected="WAV, FLAC, OGG, MP3, AIFF or another format of libsndfile",
            fix=f"convert it: ffmpeg -i {name} out.wav" if _coded(head, ending) else "check the file",
        ) from None


def _looks_like(head: bytes, error: str) -> str:
    if all(byte >= 32 or byte in TEXT for byte in head) and not head.startswith((b"RIFF", b"fLaC")):
        return f"text: {head[:40].decode(errors='replace')!r}"
    return error.strip().rstrip(".") or "unknown contents"


def _coded(head: bytes, ending: str) -> bool:
    return ending.lower() in CODECS or head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3"


def _promised_seconds(file: IO[bytes]) -> float | None:
    """Seconds that the header of a WAV file promises, if it says so at the beginning; None else."""
    head = file.read(4096)
    file.seek(0)
    begin, data = head.find(b"fmt "), head.find(b"data")
    if head[:4] != b"RIFF" or begin < 0 or data < 0 or data + 8 > len(head) or begin + 20 > len(head):
        return None
    (rate,) = struct.unpack_from("<I", head, begin + 16)
    (size,) = struct.unpack_from("<I", head, data + 4)
    if size >= 0xFFFFF000 or not rate:  # the sign of a stream whose length was not known
        return None
    return size / rate


def _format_for(path: str | Path, like: SoundInfo | None) -> tuple[str, str]:
    """Format by the ending; the width of samples that the input has, where the format knows it."""
    ending = Path(str(path)).suffix.lower()
    if str(path) == STREAM:
        form = like.format if like is not None else "WAV"
    elif ending in _endings():
        form = _endings()[ending]
    else:
        raise UserError(
            "has an ending that no format is known for",
            where=str(path),
            seen=ending or "none",
            expected=".wav, .flac, .ogg, .mp3, .aiff, ...",
            fix=f"call it {Path(str(path)).stem}.wav",
        )
    if like is not None and soundfile.check_format(form, like.subtype):
        return form, like.subtype
    if like is not None and like.format == form:
        return form, str(soundfile.default_subtype(form))
    wide = like is not None and like.subtype in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
    wanted = "PCM_24" if wide else "PCM_16"
    return form, wanted if soundfile.check_format(form, wanted) else str(soundfile.default_subtype(form))


def _endings() -> dict[str, str]:
    formats = soundfile.available_formats()
    more = {".aif": "AIFF", ".oga": "OGG", ".opus": "OGG", ".aifc": "AIFF", ".wave": "WAV"}
    known = {f".{name.lower()}": name for name in formats if name not in ("RAW", "MPEG")}
    return known | {".mp3": "MP3"} | {end: name for end, name in more.items() if name in formats}


def _beside(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        with open(part, "wb"):
            return part
    except OSError as error:
        raise _unwritable(path, str(error.strerror)) from None


def _unwritable(path: str | Path, why: str, rate: int = 0, channels: int = 0) -> UserError:
    wanted = f"{channels} channels at {rate} Hz" if rate and channels else None
    return UserError(
        f"cannot be written ({why.strip().rstrip('.')})",
        where=str(path),
        seen=wanted,
        fix="choose another place or another ending for the output",
    )


def as_bytes(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file of 16 bits in memory, for players in a report."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
