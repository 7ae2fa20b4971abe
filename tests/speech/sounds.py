"""Odd files, what a person may hand to `speech enhance`, and what must come of each.

`GOOD` are to be enhanced: same length, rate, channels and width of samples. `BROKEN` end in an error that
names the file and the fix.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

Build = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Good:
    name: str
    build: Callable[[Path], Path]
    remark: str = ""
    """Part of what must be said about it."""


@dataclass(frozen=True)
class Broken:
    name: str
    build: Build
    expected: tuple[str, ...]


def hum(seconds: float, rate: int, channels: int = 1, level: float = 0.1) -> np.ndarray:
    """A few harmonics that come and go, in faint noise: (N, C)."""
    t = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * f * t) / k for k, f in enumerate((140, 280, 420, 1400), start=1))
    swell = np.clip(np.sin(2 * np.pi * 1.5 * t), 0, 1)
    noise = 0.1 * np.random.default_rng(0).standard_normal((len(t), channels))
    return level * (tone * swell)[:, None] + level * noise


def sound(
    name: str, *, rate: int = 16_000, channels: int = 1, subtype: str = "PCM_16", seconds: float = 0.8
) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, hum(seconds, rate, channels), rate, subtype=subtype)
        return path

    return build


def samples(
    name: str, make: Callable[[np.ndarray], np.ndarray], subtype: str = "FLOAT"
) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        soundfile.write(folder / name, make(hum(0.8, 16_000)), 16_000, subtype=subtype)
        return folder / name

    return build


def wrong_ending(folder: Path) -> Path:
    """A FLAC file that is called .wav."""
    path = folder / "flac.wav"
    soundfile.write(folder / "real.flac", hum(0.8, 16_000), 16_000)
    os.replace(folder / "real.flac", path)
    return path


def truncated(folder: Path) -> Path:
    path = sound("cut.wav")(folder)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def silent_then_loud(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(x), x])


GOOD = (
    Good("8-bit", sound("a.wav", subtype="PCM_U8")),
    Good("24-bit", sound("a.wav", subtype="PCM_24")),
    Good("32-bit", sound("a.wav", subtype="PCM_32")),
    Good("float32", sound("a.wav", subtype="FLOAT")),
    Good("float64", sound("a.wav", subtype="DOUBLE")),
    Good("mu-law", sound("a.wav", rate=8000, subtype="ULAW")),
    Good("flac", sound("a.flac")),
    Good("ogg", sound("a.ogg", subtype="VORBIS")),
    Good("aiff", sound("a.aiff")),
    Good("8 kHz", sound("a.wav", rate=8000)),
    Good("11.025 kHz", sound("a.wav", rate=11_025)),
    Good("22.05 kHz", sound("a.wav", rate=22_050)),
    Good("44.1 kHz stereo", sound("a.wav", rate=44_100, channels=2)),
    Good("48 kHz", sound("a.wav", rate=48_000)),
    Good("96 kHz", sound("a.wav", rate=96_000)),
    Good("six channels", sound("a.wav", channels=6)),
    Good("one sample", samples("a.wav", lambda x: x[:1])),
    Good("shorter than a window", samples("a.wav", lambda x: x[:100])),
    Good("no samples", samples("a.wav", lambda x: x[:0]), "holds no samples"),
    Good("all zero", samples("a.wav", np.zeros_like), "is silent"),
    Good("clipped", samples("a.wav", lambda x: np.clip(30 * x, -1, 1)), "is clipped"),
    Good("beyond full scale in float", samples("a.wav", lambda x: 20 * x)),
    Good("offset", samples("a.wav", lambda x: x + 0.3), "constant offset of +0.3"),
    Good("silence, then speech", samples("a.wav", silent_then_loud)),
    Good("extremely faint", samples("a.wav", lambda x: 1e-7 * x), "is silent"),
    Good("wrong ending", wrong_ending),
    Good("truncated", truncated, "is cut off"),
    Good("unicode path", sound("später/größe 音.wav")),
)


def text(name: str, content: bytes) -> Build:
    def build(folder: Path) -> list[str]:
        (folder / name).write_bytes(content)
        return [str(folder / name)]

    return build


def not_a_number(folder: Path) -> list[str]:
    x = hum(0.8, 16_000)
    x[8000] = np.nan
    soundfile.write(folder / "nan.wav", x, 16_000, subtype="FLOAT")
    return [str(folder / "nan.wav")]


def read_only_output(folder: Path) -> list[str]:
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    path = sound("a.wav")(folder)
    (folder / "locked").mkdir(mode=0o500)
    return [str(path), str(folder / "locked" / "out.wav")]


def empty_folder(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("nothing to hear")
    return [str(folder / "empty")]


def two_of_a_name(folder: Path) -> list[str]:
    sound("in/a.wav")(folder), sound("in/a.flac")(folder)
    return [str(folder / "in"), "--out", str(folder / "out"), "--format", "wav"]


def list_with_a_gap(folder: Path) -> list[str]:
    sound("a.wav")(folder)
    (folder / "files.txt").write_text(f"# two files\n{folder / 'a.wav'}\n{folder / 'b.wav'}\n")
    return [f"@{folder / 'files.txt'}"]


BROKEN = (
    Broken("no such file", lambda folder: [str(folder / "missing.wav")], ("missing.wav", "no such file")),
    Broken("pattern without a match", lambda folder: [str(folder / "*.wav")], ("*.wav", "no file fits")),
    Broken("empty folder", empty_folder, ("empty", "1 other files")),
    Broken("zero bytes", text("zero.wav", b""), ("zero.wav", "is empty")),
    Broken("text called wav", text("note.wav", b"hello, this is text\n"), ("note.wav", "text: 'hello")),
    Broken("noise called wav", text("junk.wav", bytes(range(256)) * 4), ("junk.wav", "no sound file")),
    Broken("header only", text("head.wav", b"RIFF\x24\x00\x00\x00WAVE"), ("head.wav", "no sound file")),
    Broken("mp4", text("clip.m4a", b"\x00\x00\x00\x20ftypM4A " + bytes(64)), ("clip.m4a", "ffmpeg -i")),
    Broken("a sample that is no number", not_a_number, ("nan.wav, 0.5000 s, channel 1", "nan")),
    Broken(
        "output below a file",
        lambda folder: [str(sound("a.wav")(folder)), "--out", str(folder / "a.wav" / "b.wav")],
        ("b.wav", "cannot be written"),
    ),
    Broken("output in a read-only folder", read_only_output, ("out.wav", "cannot be written")),
    Broken(
        "output with an unknown ending",
        lambda folder: [str(sound("a.wav")(folder)), "--out", str(folder / "out.xyz")],
        (".xyz", "no format is known"),
    ),
    Broken(
        "more channels than the format has",
        lambda folder: [str(sound("a.wav", channels=12)(folder)), "--out", str(folder / "a.flac")],
        ("a.flac", "12 channels"),
    ),
    Broken(
        "output is the input",
        lambda folder: [str(sound("a.wav")(folder)), "--out", str(folder / "a.wav")],
        ("a.wav", "its own input"),
    ),
    Broken(
        "several inputs into one file",
        lambda folder: [
            str(sound("a.wav")(folder)),
            str(sound("b.wav")(folder)),
            "--out",
            str(folder / "c.wav"),
        ],
        ("c.wav", "2 inputs"),
    ),
    Broken("two outputs of one name", two_of_a_name, ("a.wav", "written twice")),
    Broken("list with a missing file", list_with_a_gap, ("files.txt, line 3", "b.wav")),
    Broken("no such list", lambda folder: [f"@{folder / 'none.txt'}"], ("none.txt", "no such list")),
    Broken(
        "option that does not exist",
        lambda folder: [str(sound("a.wav")(folder)), "--modle", "wiener"],
        ("there is no option '--modle'", "did you mean '--model'?"),
    ),
    Broken(
        "mix beyond one",
        lambda folder: [str(sound("a.wav")(folder)), "--mix", "1.5"],
        ("mix", "from 0 to 1"),
    ),
    Broken(
        "negative limit",
        lambda folder: [str(sound("a.wav")(folder)), "--limit", "-3"],
        ("limit", "0 dB or more"),
    ),
    Broken(
        "no such model",
        lambda folder: [str(sound("a.wav")(folder)), "--model", "frcm-tiny"],
        ("frcm-tiny", "did you mean 'frcrn'"),
    ),
    Broken(
        "model without weights",
        lambda folder: [str(sound("a.wav")(folder)), "--model", "frcrn-medium"],
        ("frcrn-medium", "speech fit --model frcrn-medium"),
    ),
)
