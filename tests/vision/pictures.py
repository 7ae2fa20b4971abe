"""Small sets of images for the tests: shapes on noise, written as files or kept as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bars", "blocks")


def shape_image(kind: int, rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """(Y, X, C) bytes: stripes, or one square."""
    image = rng.integers(0, 60, (height, width, channels), dtype=np.uint8)
    if kind == 0:
        image[:, rng.integers(0, 3) :: 4] += 150
    else:
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        image[top : top + height // 2, left : left + width // 2] += 150
    return image


def write_folder(
    folder: Path, *, each: int = 8, height: int = 16, width: int = 16, channels: int = 3, ending: str = "png"
) -> Path:
    """Class folders of images."""
    rng = np.random.default_rng(0)
    for kind, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            pixels = shape_image(kind, rng, height, width, channels)
            save(pixels, folder / name / f"{i:02d}.{ending}")
    return folder


def save(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


def write_idx(path: Path, values: np.ndarray) -> Path:
    """An IDX file of bytes."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())
    return path
