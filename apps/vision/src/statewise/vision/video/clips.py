"""Clips from files: GIF, MP4 and other videos, `.npy` arrays, and folders of frames. Read one at a time.

A clip is (T, Y, X, C) bytes; floats from 0 to 1 are brought to bytes, since frames are pictures.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from statewise.core.errors import DataError
from statewise.vision.decode import ENDINGS, decode, decode_bytes
from statewise.vision.pixels import Shape, resized, with_channels

__all__ = ["ClipSet", "open_clips", "read_clip"]

_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
_LONGEST = 10_000


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """Clips that are read when they are needed."""

    name: str
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def first(self) -> np.ndarray:
        """The first clip, (T, Y, X, C)."""
        return read_clip(self.paths[0])


def open_clips(path: Path) -> ClipSet:
    """The clips below a folder, or one clip.

    Raises:
        DataError: there are none.
    """
    if not path.exists():
        raise DataError("does not exist", where=str(path), fix="check the path")
    if path.is_file() or _is_frames(path):
        return ClipSet(name=path.stem, paths=(path,))
    found = [one for one in sorted(path.iterdir()) if not one.name.startswith(".") and _is_clip(one)]
    if not found:
        raise DataError(
            "holds no clips",
            where=str(path),
            seen=f"{sum(1 for _ in path.iterdir())} other files",
            expected=f"files ending in .gif, .npy, {', '.join(_VIDEOS[:4])}, or folders of frames",
            fix="name the folder that holds them",
        )
    return ClipSet(name=path.resolve().name, paths=tuple(found))


def read_clip(path: Path) -> np.ndarray:
    """All frames of a clip, (T, Y, X, C) uint8.

    Raises:
        DataError: it cannot be read, or its frames differ in size.
    """
    if path.is_dir():
        frames = [decode(one) for one in sorted(path.iterdir()) if one.suffix.lower() in ENDINGS]
    elif path.suffix.lower() == ".npy":
        return _array(path)
    elif path.suffix.lower() in _VIDEOS:
        frames = list(_video(path))
    elif path.suffix.lower() in (".gif", ".webp", ".tif", ".tiff"):
        frames = list(_pictures(path))
    else:
        raise DataError(
            "is no clip that can be read",
            where=str(path),
            seen=path.suffix or "no ending",
            expected=".gif, .npy, .mp4 and other videos, or a folder of frames",
            fix="convert it",
        )
    if not frames:
        raise DataError("holds no frames", where=str(path), fix="record or convert it again")
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        raise DataError(
            "has frames of different shapes",
            where=str(path),
            seen=", ".join(map(str, sorted(shapes)[:3])),
            expected="one shape (rows, columns, channels)",
            fix="bring all frames to one size and kind",
        )
    return np.stack([_bytes(frame) for frame in frames])


def shaped(clip: np.ndarray, shape: Shape, place: str) -> np.ndarray:
    """(T, Y, X, C) to (T, C, height, width)."""
    return np.stack([resized(with_channels(frame, shape.channels, place), shape) for frame in clip])


def _is_frames(path: Path) -> bool:
    return path.is_dir() and any(
        one.suffix.lower() in ENDINGS and one.suffix.lower() not in (".gif", ".npy") for one in path.iterdir()
    )


def _is_clip(path: Path) -> bool:
    if path.is_dir():
        return _is_frames(path)
    return path.suffix.lower() in (*_VIDEOS, ".gif", ".npy")


def _pictures(path: Path) -> Iterator[np.ndarray]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                for frame in ImageSequence.Iterator(image):
                    yield decode_bytes(frame.copy(), str(path))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"cannot be unpacked ({error})", where=str(path), fix="convert it again") from None


def _video(path: Path) -> Iterator[np.ndarray]:
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number >= _LONGEST:
                    raise DataError(
                        "is too long to be read as one clip",
                        where=str(path),
                        expected=f"at most {_LONGEST:,} frames",
                        fix="cut it",
                    )
                yield frame.to_ndarray(format="rgb24")
    except (FFmpegError, IndexError) as error:
        raise DataError(
            f"is no video that can be read ({error})", where=str(path), fix="convert it again"
        ) from None


def _array(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"is no NumPy array that can be read ({error})", where=str(path), fix="save it with numpy.save"
        ) from None
    values = values[..., None] if values.ndim == 3 else values
    legal = values.ndim == 4 and values.size and values.shape[3] in (1, 2, 3, 4)
    if legal and values.dtype == np.uint8:
        return values
    if legal and values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return _bytes(values)
    raise DataError(
        "is no array of a clip",
        where=str(path),
        seen=f"{values.dtype} {values.shape}",
        expected="(frames, rows, columns) or (frames, rows, columns, channels), uint8 or floats from 0 to 1",
        fix="save one clip per file",
    )


def _bytes(frame: np.ndarray) -> np.ndarray:
    return frame if frame.dtype == np.uint8 else np.round(255 * frame).astype(np.uint8)
