"""All images of a source at one size, decoded once: (n, C, Y, X) bytes, or floats where a file is deeper.

Images that cannot be unpacked are left out, counted and named. Grey and colour are told apart by the file,
not by its pixels. What does not fit into memory lies in a temporary file that is read page by page.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import functional as V

from statewise.core.errors import DataError
from statewise.vision.decode import UnreadableImage
from statewise.vision.sources import ImageSource

__all__ = ["FITS", "MEMORY", "PixelSet", "Shape", "find_shape", "load_pixels", "resized", "with_channels"]

FITS = ("crop", "pad", "stretch")
"""How an image of another aspect is brought to the size: cut at the centre, filled up, or distorted."""
MEMORY = 1 << 30
"""Bytes of images that are kept in memory."""
_LARGEST = 128
_LOOKED_AT = 200
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all images are brought to."""

    channels: int
    height: int
    width: int
    fit: str = "crop"
    """One of `FITS`."""


@dataclass(frozen=True, kw_only=True)
class PixelSet:
    """Decoded images with their labels."""

    source: ImageSource
    """The images that could be read, in order."""
    values: np.ndarray
    """(n, C, Y, X) uint8, or float32 from 0 to 1."""
    shape: Shape
    skipped: tuple[str, ...] = ()
    """The images that could not."""

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of all pixels, labels and parts."""
        digest = hashlib.blake2b(digest_size=6)
        for block in np.array_split(self.values, max(1, self.values.nbytes // (1 << 26))):
            digest.update(np.ascontiguousarray(block).data)
        digest.update(np.ascontiguousarray(self.source.labels).data)
        digest.update("\0".join((*self.source.parts, *self.source.classes)).encode())
        return digest.hexdigest()


def find_shape(
    source: ImageSource, *, channels: int | None, size: tuple[int, int] | None, fit: str
) -> tuple[Shape, list[str]]:
    """The shape that suits a source, and what was assumed.

    Channels: those of the images; colour where grey and colour are mixed. Size: that of the images where all
    have the same one up to 128 pixels, else the median of their shorter sides, at most 128.

    Raises:
        DataError: the images have different numbers of channels that cannot be brought together.
    """
    sizes, depths = _looked_at(source)
    notes = []
    if channels is None:
        channels = max(depths)
        if set(depths) == {1, 3}:
            notes.append("grey and colour images are mixed: grey ones are read as colour (--channels)")
        elif len(set(depths)) > 1:
            _refuse_mixture(source, depths)
    if size is None:
        sides = set(sizes)
        if len(sides) == 1 and max(sizes[0]) <= _LARGEST:
            size = sizes[0]
        else:
            median = int(np.median([min(one) for one in sizes]))
            side = max(8, min(_LARGEST, median) // 8 * 8)
            size = (side, side)
            seen = f"{min(map(min, sizes))} to {max(map(max, sizes))} pixels a side"
            notes.append(f"images of {seen} are brought to {side} x {side} (--size, --fit {fit})")
    return Shape(channels=channels, height=size[0], width=size[1], fit=fit), notes


def _looked_at(source: ImageSource) -> tuple[list[tuple[int, int]], list[int]]:
    """Sizes and channels of images spread over the source."""
    if source.array is not None:
        _, height, width, channels = source.array.shape
        return [(height, width)], [channels]
    sizes, depths = [], []
    for index in np.unique(np.linspace(0, len(source) - 1, min(len(source), _LOOKED_AT)).astype(int)):
        try:
            pixels = source.read(int(index))
        except UnreadableImage:
            continue
        sizes.append((pixels.shape[0], pixels.shape[1]))
        depths.append(pixels.shape[2])
    if not sizes:
        _refuse_all(source)
    return sizes, depths


def load_pixels(
    source: ImageSource,
    shape: Shape,
    progress: Callable[[float, str], None] | None = None,
    check: Callable[[int, str], None] | None = None,
) -> PixelSet:
    """Decode, convert and resize all images.

    Args:
        source: the images.
        shape: what they are brought to.
        progress: told the fraction done and a few words.
        check: told the channels and the place of each image; may refuse it.

    Raises:
        DataError: none of them can be read, or one has channels that cannot be converted.
    """
    if source.array is not None and check is not None:
        check(source.array.shape[3], source.place(0))
    if source.array is not None and source.array.shape[1:] == (shape.height, shape.width, shape.channels):
        values = np.ascontiguousarray(source.array.transpose(0, 3, 1, 2))
        return PixelSet(source=source, values=values, shape=shape)
    deep = source.array is None and _is_deep(source)
    dims = (len(source), shape.channels, shape.height, shape.width)
    values = _room(dims, np.dtype(np.float32 if deep else np.uint8))
    kept, skipped = [], []
    for index in range(len(source)):
        try:
            pixels = source.read(index)
        except UnreadableImage as error:
            skipped.append(f"{error.where}: {error.what}")
            continue
        if check is not None:
            check(pixels.shape[2], source.place(index))
        pixels = with_channels(pixels, shape.channels, source.place(index))
        values[len(kept)] = _as(resized(pixels, shape), values.dtype)
        kept.append(index)
        if progress is not None and index % 64 == 0:
            progress(index / len(source), f"{index:,} of {len(source):,} images")
    if not kept:
        _refuse_all(source)
    return PixelSet(
        source=_subset(source, kept, skipped), values=values[: len(kept)], shape=shape, skipped=tuple(skipped)
    )


def with_channels(pixels: np.ndarray, channels: int, place: str) -> np.ndarray:
    """Pixels (Y, X, C) with another number of channels: grey three times, or the luminance of colour.

    Raises:
        DataError: neither number is that of grey or colour.
    """
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if found == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if found == 3 and channels == 1:
        grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        return _as(grey[..., None], pixels.dtype) if pixels.dtype == np.uint8 else grey[..., None]
    raise DataError(
        "has channels that cannot be converted",
        where=place,
        seen=f"{found} channels",
        expected=f"{channels} channel{'s' if channels > 1 else ''}",
        fix="give images of one kind, or set --channels",
    )


def resized(pixels: np.ndarray, shape: Shape) -> np.ndarray:
    """(Y, X, C) to (C, height, width), with antialiasing; the kind of numbers stays."""
    image = torch.from_numpy(np.array(pixels, order="C")).permute(2, 0, 1)  # decoders hand out read-only ones
    height, width = shape.height, shape.width
    if image.shape[1:] == (height, width):
        return image.contiguous().numpy()
    ratios = height / image.shape[1], width / image.shape[2]
    if shape.fit != "stretch":
        scale = max(ratios) if shape.fit == "crop" else min(ratios)
        target = [max(1, round(side * scale)) for side in image.shape[1:]]
    else:
        target = [height, width]
    image = V.resize(image, target, interpolation=V.InterpolationMode.BICUBIC, antialias=True)
    if shape.fit == "pad":
        below, right = height - image.shape[1], width - image.shape[2]
        image = V.pad(image, [right // 2, below // 2, right - right // 2, below - below // 2])
    elif shape.fit == "crop":
        image = V.center_crop(image, [height, width])
    if image.dtype == torch.float32:
        image = image.clamp(0, 1)  # bicubic overshoots
    return image.contiguous().numpy()


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if values.dtype == dtype:
        return values
    if dtype == np.float32:
        return values.astype(np.float32) / 255
    scale = 1 if values.max(initial=0.0) > 1 else 255
    return np.clip(np.round(values * scale), 0, 255).astype(np.uint8)


def _is_deep(source: ImageSource) -> bool:
    """Whether one of the images looked at has more than eight bits."""
    for index in np.unique(np.linspace(0, len(source) - 1, min(len(source), 20)).astype(int)):
        try:
            if source.read(int(index)).dtype == np.float32:
                return True
        except UnreadableImage:
            continue
    return False


def _room(dims: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array in memory, or in an unnamed file where it is larger than `MEMORY`."""
    if int(np.prod(dims, dtype=np.int64)) * dtype.itemsize <= MEMORY:
        return np.empty(dims, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=dims)


def _subset(source: ImageSource, kept: Sequence[int], skipped: Sequence[str]) -> ImageSource:
    if not skipped:
        return source
    named = "; ".join(skipped[:_NAMED]) + ("; ..." if len(skipped) > _NAMED else "")
    note = f"{len(skipped)} of {len(source)} images cannot be read and are left out: {named}"
    return replace(
        source,
        labels=source.labels[list(kept)],
        parts=tuple(source.parts[i] for i in kept),
        paths=tuple(source.paths[i] for i in kept) if source.paths else (),
        array=None if source.array is None else source.array[list(kept)],
        notes=(*source.notes, note),
    )


def _refuse_all(source: ImageSource) -> None:
    if len(source) == 1:
        source.read(0)  # raises what is wrong with it
    first = ""
    try:
        source.read(0)
    except UnreadableImage as error:
        first = f"{Path(str(error.where)).name}: {error.what}"
    raise DataError(
        "none of the images can be read",
        where=source.name,
        seen=f"{len(source)} files; {first}",
        expected="JPEG, PNG, WebP, BMP, TIFF, GIF or .npy images",
        fix="convert or copy them again",
    )


def _refuse_mixture(source: ImageSource, depths: list[int]) -> None:
    counts = ", ".join(f"{count} with {depth}" for depth, count in sorted(Counter(depths).items()))
    raise DataError(
        "the images have different numbers of channels",
        where=source.name,
        seen=f"of those looked at, {counts} channels",
        expected="one number of channels",
        fix="keep one kind of images in the folder",
    )
