"""Arrow pointing: does the arrow point at the circle? A task that only distances can decide.

White square images with one black disc and one black arrow. Half of the arrows point at the disc, the others
past it by a margin. Discs and arrows keep their size in pixels when images grow: only distances do, which is
what the task of extrapolating to larger images asks for. Pöppel et al., "pLSTM: parallelizable Linear Source
Transition Mark networks", 2025.

Image i of a set is drawn from a generator of its own, seeded by a number that comes from the seed of the set,
plus i; at scale 1 the images are those of the published data sets byte for byte.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from statewise.core.config import require
from statewise.core.errors import DataError

__all__ = ["ArrowConfig", "Scene", "arrow_arrays", "arrows", "scenes", "write_arrows"]

CLASSES = ("misses", "points")
_MARGIN = 30.0
_LENGTH, _WIDTH, _RADIUS = (15.0, 30.0), (2.0, 4.0), (15.0, 30.0)
_NEAR = 1.2
"""Arrows that point aim at the disc shrunk by this; those that miss stay outside of it grown by this."""


@dataclass(frozen=True, kw_only=True)
class ArrowConfig:
    """Settings of a set."""

    size: int = 192
    """Pixels a side."""
    scale: float = 1.0
    """Factor of margin, radii and arrows; 1 is the paper's."""
    seed: int = 42
    """Of the set: 42 trains, 100042 and 200042 validate and test at 192; one more at 384."""

    def __post_init__(self) -> None:
        require(self.scale > 0, "scale", self.scale, "more than 0")
        least = math.ceil(self.scale * (2 * _MARGIN + 4 * _RADIUS[1]))
        require(self.size > least, "size", self.size, f"more than {least} pixels, or a smaller scale")
        require(self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What one image shows; lengths in pixels, places (x, y) from the upper left corner."""

    points: bool
    """Whether the arrow points at the disc."""
    centre: tuple[float, float]
    """The middle of the arrow."""
    angle: float
    """The arrow's direction in radians, from the x axis towards the y axis, which runs down."""
    length: int
    """Of the arrow."""
    width: int
    """Of its lines."""
    disc: tuple[float, float]
    """The middle of the disc."""
    radius: float
    """Of the disc."""


def scenes(config: ArrowConfig) -> Iterator[Scene]:
    """What the images of a set show, in order, without end."""
    first = int(np.random.default_rng(config.seed).integers(2**62))
    return (_scene(config, np.random.default_rng(first + index)) for index in itertools.count())


def arrows(config: ArrowConfig) -> Iterator[tuple[Image.Image, int]]:
    """The images of a set in order, with their labels, without end."""
    return ((_drawn(config.size, scene), int(scene.points)) for scene in scenes(config))


def arrow_arrays(config: ArrowConfig, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images (n, 1, Y, X) as grey bytes, and their labels (n,)."""
    images = np.empty((count, 1, config.size, config.size), np.uint8)
    labels = np.empty(count, np.int64)
    for i, (image, label) in zip(range(count), arrows(config), strict=False):
        images[i, 0], labels[i] = np.asarray(image)[..., 0], label
    return images, labels


def write_arrows(out: Path, *, count: int, size: int, scale: float, seed: int) -> tuple[int, int]:
    """Write PNG files into the folders `misses` and `points`; how many of each.

    Raises:
        DataError: the folder holds something already.
    """
    config = ArrowConfig(size=size, scale=scale, seed=seed)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("holds something already", where=str(out), fix="name a new folder")
    for name in CLASSES:
        (out / name).mkdir(parents=True, exist_ok=True)
    counts = [0, 0]
    for i, (image, label) in zip(range(count), arrows(config), strict=False):
        image.save(out / CLASSES[label] / f"{i:06d}.png")
        counts[label] += 1
    return counts[0], counts[1]


def _scene(config: ArrowConfig, rng: np.random.Generator) -> Scene:
    """One scene; the order of the draws is part of the data set."""
    scale, margin = config.scale, config.scale * _MARGIN
    points = bool(rng.random() < 0.5)
    length = int(scale * (_LENGTH[0] + (_LENGTH[1] - _LENGTH[0]) * rng.random()))
    width = max(1, int(scale * (_WIDTH[0] + (_WIDTH[1] - _WIDTH[0]) * rng.random())))
    room = config.size - 2 * margin
    centre = room * rng.random(), room * rng.random()
    radius = scale * (_RADIUS[0] + (_RADIUS[1] - _RADIUS[0]) * rng.random())
    # the disc is drawn at least two radii away along each axis, around the border if need be
    disc = [at + 2 * radius + (room - 4 * radius) * rng.random() for at in centre]
    disc = [at - room if at > room else at for at in disc]
    angle = _angle(points, radius, disc[0] - centre[0], disc[1] - centre[1], rng.random())
    return Scene(
        points=points,
        centre=(centre[0] + margin, centre[1] + margin),
        angle=angle,
        length=length,
        width=width,
        disc=(disc[0] + margin, disc[1] + margin),
        radius=radius,
    )


def _drawn(size: int, scene: Scene) -> Image.Image:
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    _arrow(draw, scene)
    (x, y), radius = scene.disc, scene.radius
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill="black")
    return image


def _angle(points: bool, radius: float, dx: float, dy: float, share: float) -> float:
    """The arrow's direction: inside the cone of the disc, or outside of it."""
    square = dx**2 + dy**2
    reach = radius / _NEAR if points else radius * _NEAR
    # the published images are drawn with the magnitude, also where the arrow's middle is within reach
    half = math.acos(abs((square - reach**2) / square) ** 0.5)
    towards = math.atan2(dy, dx)
    if points:
        return towards - half + 2 * half * share
    return towards + half + (2 * math.pi - 2 * half) * share


def _arrow(draw: ImageDraw.ImageDraw, scene: Scene) -> None:
    (x, y), angle, length = scene.centre, scene.angle, scene.length
    half = length // 2
    tip = x + half * math.cos(angle), y + half * math.sin(angle)
    tail = x - half * math.cos(angle), y - half * math.sin(angle)
    draw.line([tail, tip], fill="black", width=scene.width)
    stroke = length // 2.5
    for turn in (0.5, -0.5):
        end = tip[0] - stroke * math.cos(angle + turn), tip[1] - stroke * math.sin(angle + turn)
        draw.line([end, tip], fill="black", width=scene.width)  # wide lines differ by their direction
