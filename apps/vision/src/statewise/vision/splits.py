"""Which images train, which choose the weights, and which only judge.

Parts that the source names are kept. A part that is missing is drawn, class by class, from a generator of its
own seeded by the run: validation from what trains, test only where the source has none. Nothing is ever taken
out of a named test part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statewise.core.errors import DataError
from statewise.vision.pixels import PixelSet
from statewise.vision.sources import PARTS, ImageSource

__all__ = ["Parts", "divide", "shared_images"]

_VALIDATION, _TEST = 0.15, 0.15
_LARGE_VALIDATION = 0.1
_LARGE = 10_000


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Indices of the images of each part, ascending."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    note: str
    """How they came about."""


def divide(source: ImageSource, seed: int) -> Parts:
    """Divide labelled images.

    Args:
        source: the images.
        seed: of the drawing.

    Raises:
        DataError: there are no labels, one class only, or a class with too few images.
    """
    _check_labels(source)
    named = {part: np.array([one == part for one in source.parts]) for part in PARTS}
    rng = np.random.default_rng((seed, 7))
    if not named["train"].any():
        return _all_drawn(source, rng)
    pool, notes = np.flatnonzero(named["train"]), ["parts as the source names them"]
    validation, test = (np.flatnonzero(named[part]) for part in ("validation", "test"))
    if not len(test) and len(validation):
        test, validation = validation, test
        notes.append("the validation part judges, since there is no test part")
    if not len(test):
        pool, test = _draw(source.labels, pool, _TEST, rng)
        notes.append("test images drawn from those that train")
    if not len(validation):
        share = _LARGE_VALIDATION if len(pool) >= _LARGE else _VALIDATION
        pool, validation = _draw(source.labels, pool, share, rng)
        notes.append("validation images drawn from those that train")
    return _checked(source, Parts(train=pool, validation=validation, test=test, note="; ".join(notes)))


def shared_images(pixels: PixelSet, parts: Parts) -> int:
    """Number of test images whose pixels are those of a training or validation image."""
    seen = {pixels.values[i].tobytes() for i in (*parts.train, *parts.validation)}
    return sum(pixels.values[i].tobytes() in seen for i in parts.test)


def _all_drawn(source: ImageSource, rng: np.random.Generator) -> Parts:
    everything = np.arange(len(source))
    rest, test = _draw(source.labels, everything, _TEST, rng)
    train, validation = _draw(source.labels, rest, _VALIDATION / (1 - _TEST), rng)
    note = "70 % of each class train, 15 % choose the weights, 15 % judge, drawn at random"
    return _checked(source, Parts(train=train, validation=validation, test=test, note=note))


def _draw(
    labels: np.ndarray, pool: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What stays of the pool and what is drawn: a share of each class, one image at least."""
    drawn = []
    for label in set(labels[pool].tolist()):
        members = pool[labels[pool] == label]
        count = max(1, round(share * len(members)))
        drawn.append(rng.permutation(members)[:count])
    out = np.sort(np.concatenate(drawn))
    return np.setdiff1d(pool, out), out


def _check_labels(source: ImageSource) -> None:
    if not source.classes:
        raise DataError(
            "the images have no labels",
            where=source.name,
            seen=f"{len(source)} images without classes",
            expected="one folder per class, or a table with a column of labels",
            fix="sort the images into folders named after their classes",
        )
    if len(source.classes) < 2:
        raise DataError(
            "there is only one class",
            where=source.name,
            seen=", ".join(source.classes),
            expected="two classes or more",
            fix="add a folder of other images",
        )
    counts = np.bincount(source.labels, minlength=len(source.classes))
    few = int(counts.argmin())
    if counts[few] < 3:
        raise DataError(
            f"class '{source.classes[few]}' has too few images",
            where=source.name,
            seen=f"{counts[few]} that can be read",
            expected="3 or more: one each to train, to choose and to judge",
            fix="add images of it, or take the class out",
        )


def _checked(source: ImageSource, parts: Parts) -> Parts:
    absent = sorted(set(range(len(source.classes))) - set(source.labels[parts.train].tolist()))
    if len(absent):
        raise DataError(
            f"class '{source.classes[absent[0]]}' has no image to train on",
            where=source.name,
            seen="images of it only in other parts",
            expected="images of every class in the training part",
            fix="add some, or take the class out",
        )
    return parts
