"""One image file as an array of pixels, whatever its format.

JPEG, PNG, WebP, BMP, TIFF, GIF (its first frame) and whatever else Pillow reads; `.npy` arrays for any number
of channels. Palettes become their colours, transparency white, CMYK and YCbCr RGB; EXIF rotation is applied.
Images of eight bits stay bytes, deeper ones become float32 from 0 to 1.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from statewise.core.errors import DataError

__all__ = ["ENDINGS", "UnreadableImage", "decode", "decode_bytes"]

ENDINGS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm"),
    ".npy",
)
"""Endings of files that are taken for images."""

_TO_RGB = ("CMYK", "YCbCr", "HSV", "LAB")
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_DEEP = {"I;16": 65535.0, "I;16B": 65535.0, "I;16L": 65535.0, "I;16N": 65535.0}


class UnreadableImage(DataError):
    """One image that cannot be read; among many it is skipped and counted."""


def decode(path: Path) -> np.ndarray:
    """The pixels of a file, (Y, X, C): uint8, or float32 from 0 to 1.

    Raises:
        UnreadableImage: it is absent, empty, truncated, no image or of a form that has no meaning here.
    """
    if path.suffix.lower() == ".npy":
        return _decode_array(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on size and metadata; errors stay errors
            with Image.open(path) as image:
                return _pixels(image, str(path))
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(
            "has more pixels than are safe to unpack",
            where=str(path),
            expected=f"at most {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels",
            fix="make it smaller, or cut it into tiles",
        ) from None
    except UnidentifiedImageError:
        raise UnreadableImage(
            "is no image that can be read",
            where=str(path),
            seen=_first_bytes(path),
            expected="JPEG, PNG, WebP, BMP, TIFF, GIF or .npy",
            fix="convert it, or take it out of the folder",
        ) from None
    except FileNotFoundError:
        raise UnreadableImage("does not exist", where=str(path), fix="check the path") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableImage(
            f"cannot be unpacked ({reason})",
            where=str(path),
            seen="a damaged or truncated image",
            fix="copy or export it again, or take it out of the folder",
        ) from None


def decode_bytes(image: Image.Image, name: str) -> np.ndarray:
    """The same for an opened image, such as a frame of a GIF."""
    return _pixels(image, name)


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.width < 1 or image.height < 1:
        raise UnreadableImage("has no pixels", where=name, fix="take it out of the folder")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in _TRANSPARENT or (image.mode in ("L", "RGB") and "transparency" in image.info):
        image = _on_white(image)
    if image.mode in _TO_RGB or image.mode == "RGBX":
        image = image.convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "RGB"):
        return _with_channels(np.asarray(image))
    return _with_channels(_deep(image, name))


def _on_white(image: Image.Image) -> Image.Image:
    """Transparent pixels over white; grey stays grey."""
    grey = image.mode in ("L", "LA", "La")
    full = image.convert("RGBA")
    white = Image.new("RGBA", full.size, (255, 255, 255, 255))
    white.alpha_composite(full)
    return white.convert("L" if grey else "RGB")


def _deep(image: Image.Image, name: str) -> np.ndarray:
    """Integers of 16 or 32 bits and floats, as float32 from 0 to 1."""
    values = np.asarray(image).astype(np.float32)
    if image.mode in _DEEP:
        return values / _DEEP[image.mode]
    if not np.isfinite(values).all():
        raise UnreadableImage("holds values that are not finite", where=name, fix="replace them")
    low, high = float(values.min()), float(values.max())
    for top in (1.0, 255.0, 65535.0):
        if low >= 0 and high <= top:
            return values / top
    raise UnreadableImage(
        "holds values whose range is unclear",
        where=name,
        seen=f"mode {image.mode}, from {low:g} to {high:g}",
        expected="values from 0 to 1, 255 or 65535",
        fix="scale it and save it again as PNG or TIFF",
    )


def _decode_array(path: Path) -> np.ndarray:
    """A NumPy file (Y, X) or (Y, X, C) of bytes, 16-bit integers, or floats from 0 to 1."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableImage(
            f"is no NumPy array that can be read ({error})",
            where=str(path),
            fix="save it again with numpy.save",
        ) from None
    if not isinstance(values, np.ndarray) or values.ndim not in (2, 3) or not values.size:
        raise UnreadableImage(
            "is no array of an image",
            where=str(path),
            seen=f"shape {getattr(values, 'shape', 'of an archive')}",
            expected="(rows, columns) or (rows, columns, channels)",
            fix="save one image per file",
        )
    if values.dtype == np.uint8:
        return _with_channels(values)
    if values.dtype == np.uint16:
        return _with_channels(values.astype(np.float32) / 65535)
    legal = values.dtype.kind == "f" and np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    if not legal:
        raise UnreadableImage(
            "holds values whose range is unclear",
            where=str(path),
            seen=f"{values.dtype}, from {_extreme(values.min)} to {_extreme(values.max)}",
            expected="uint8, uint16, or floats from 0 to 1",
            fix="scale and convert it before saving",
        )
    return _with_channels(values.astype(np.float32))


def _extreme(of: Any) -> str:
    try:
        return f"{of():g}"
    except (TypeError, ValueError):
        return "?"


def _with_channels(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[..., None] if values.ndim == 2 else values)


def _first_bytes(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return "nothing"
    return "an empty file" if not start else f"a file that begins with {start!r}"
