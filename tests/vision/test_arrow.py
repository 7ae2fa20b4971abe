"""The arrows are those of the published data sets, byte for byte."""

from __future__ import annotations

import hashlib
import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from statewise.core.errors import ConfigError, DataError
from statewise.vision.generators.arrow import ArrowConfig, arrow_arrays, arrows, scenes, write_arrows


def test_the_published_images_byte_for_byte():
    found = list(islice(arrows(ArrowConfig()), 200))
    assert "".join(str(label) for _, label in found[:16]) == "1101100010011100"
    first = hashlib.sha256(np.asarray(found[0][0]).tobytes()).hexdigest()
    assert first == "f35ba5aa9c03991f4f9bb8fb915db1aa0814b8ffd7265cee47da8251e4fa076c"
    every = hashlib.sha256(b"".join(np.asarray(image).tobytes() for image, _ in found)).hexdigest()
    assert every == "fa041d4a1f7069a761c3512438caf38f0ea8db4d99f9e76f7f26d41fb0030fb8"


def test_scenes_tell_what_the_images_show():
    config = ArrowConfig()
    for (image, label), scene in islice(zip(arrows(config), scenes(config), strict=True), 50):
        ink = np.asarray(image)[..., 0] == 0
        x, y = scene.disc
        assert ink[round(y), round(x)]
        column, row = map(round, scene.centre)
        assert ink[row - 1 : row + 2, column - 1 : column + 2].any()
        dx, dy = x - scene.centre[0], y - scene.centre[1]
        away = abs(math.remainder(scene.angle - math.atan2(dy, dx), 2 * math.pi))
        assert label == scene.points
        assert (math.sin(away) * math.hypot(dx, dy) < scene.radius and away < math.pi / 2) == scene.points


def test_a_smaller_scale_has_less_ink_and_the_same_labels():
    whole, labels = arrow_arrays(ArrowConfig(), 8)
    small, same = arrow_arrays(ArrowConfig(size=96, scale=0.5), 8)
    assert labels.tolist() == same.tolist()
    assert (small == 0).sum() == pytest.approx((whole == 0).sum() / 4, rel=0.15)


def test_sizes_without_room_are_refused():
    with pytest.raises(ConfigError, match="size"):
        ArrowConfig(size=100)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path):
    counts = write_arrows(tmp_path / "a", count=6, size=96, scale=0.5, seed=1)
    assert sum(counts) == 6
    assert len(list((tmp_path / "a").rglob("*.png"))) == 6
    with pytest.raises(DataError, match="holds something"):
        write_arrows(tmp_path / "a", count=1, size=96, scale=0.5, seed=1)
