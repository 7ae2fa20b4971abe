"""Moving MNIST: two digits that move straight and bounce off the walls, drawn from a seed.

Each digit starts anywhere, goes at a random angle with a fixed step per frame, stops at a wall and turns back
the component that hit it; where digits overlap the brighter pixel counts. Digits of one part are never in
another, which is not so in the published test sets. Srivastava, Mansimov and Salakhutdinov, "Unsupervised
Learning of Video Representations using LSTMs", 2015.

Letters: n clips, T frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from statewise.core.errors import DataError
from statewise.vision.sources import open_images

__all__ = ["STEPS", "digits_of", "moving_clips", "write_clips"]

STEPS = {"openstl": 0.1, "convssm": 0.15}
"""Part of the free way that a digit goes per frame."""


def digits_of(name: str, part: str = "") -> np.ndarray:
    """Square grey images (n, Y, X) of a set.

    Args:
        name: fashion-mnist, mnist, or a folder of IDX files.
        part: only those of train, validation or test.

    Raises:
        DataError: they are no small grey images.
    """
    source = open_images([name])
    if source.array is None or source.array.shape[3] != 1:
        raise DataError(
            "holds no small grey images",
            where=name,
            expected="a set in the format of MNIST",
            fix="name mnist, fashion-mnist or a folder of IDX files",
        )
    chosen = [i for i, one in enumerate(source.parts) if not part or one == part]
    return source.array[chosen, :, :, 0]


def moving_clips(
    digits: np.ndarray,
    *,
    count: int,
    frames: int,
    size: int = 64,
    preset: str = "openstl",
    seed: int = 0,
    each: int = 2,
) -> np.ndarray:
    """Clips (n, T, Y, X) of bytes.

    Args:
        digits: what moves, (m, y, x) with y = x below `size`; larger ones are halved until they fit twice.
        count: n.
        frames: T.
        size: pixels a side of a frame.
        preset: a key of `STEPS`.
        seed: clip i is drawn from (seed, i) alone.
        each: digits per clip.
    """
    digits = _fitting(digits, size)
    clips = np.zeros((count, frames, size, size), np.uint8)
    side = digits.shape[1]
    room = size - side
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        for picture in digits[rng.integers(len(digits), size=each)]:
            for frame, (x, y) in enumerate(_path(rng, frames, STEPS[preset])):
                top, left = int(room * y), int(room * x)
                place = clips[index, frame, top : top + side, left : left + side]
                np.maximum(place, picture, out=place)
    return clips


def _path(rng: np.random.Generator, frames: int, step: float) -> np.ndarray:
    """(T, 2) places in the unit square."""
    place, angle = rng.random(2), 2 * np.pi * rng.random()
    velocity = step * np.array([np.cos(angle), np.sin(angle)])
    path = np.empty((frames, 2))
    for frame in range(frames):
        path[frame] = place
        place = place + velocity
        velocity = np.where((place < 0) | (place > 1), -velocity, velocity)
        place = np.clip(place, 0, 1)
    return path


def _fitting(digits: np.ndarray, size: int) -> np.ndarray:
    while 2 * digits.shape[1] > size:
        images = torch.from_numpy(np.array(digits))[:, None].float()
        digits = F.avg_pool2d(images, 2)[:, 0].round().to(torch.uint8).numpy()
    return digits


def write_clips(
    out: Path, digits: str, *, count: int, frames: int, size: int, preset: str, seed: int
) -> None:
    """Write one `.npy` file (T, Y, X) per clip.

    Raises:
        DataError: the folder holds something already, or the digits cannot be found.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("holds something already", where=str(out), fix="name a new folder")
    clips = moving_clips(digits_of(digits), count=count, frames=frames, size=size, preset=preset, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    for index, clip in enumerate(clips):
        np.save(out / f"{index:05d}.npy", clip)
