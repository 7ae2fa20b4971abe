"""What a user asks of a training run, in one object: the command line makes it, a run keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from statewise.core.config import require, to_dict
from statewise.core.errors import ConfigError

__all__ = ["AUTO", "NATIVE", "TrainSettings", "parse_size", "parse_sizes"]

AUTO = "auto"
NATIVE = "native"
BUDGET = 300.0
"""Seconds of a run unless the user says otherwise."""
_SIDES = re.compile(r"(\d+)(?:\s*[xX]\s*(\d+))?")
_LARGEST = 4096


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """A training run as asked for."""

    data: tuple[str, ...]
    """A folder of class folders, a table of paths and labels, or the name of a public set."""
    model: str = AUTO
    """`auto`, or `MODEL` or `MODEL-PRESET`."""
    size: str | None = None
    """Pixels a side, or `HEIGHTxWIDTH`; None: found in the images."""
    channels: int | None = None
    """Channels that images are brought to; None: found in the images."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How images of another aspect are brought to the size."""
    augment: Literal["none", "light", "strong"] = "light"
    """Random changes to training images."""
    mirror: bool | None = None
    """Mirror half of the training images; None: unless the classes are single letters or digits."""
    smoothing: float = 0.0
    """Label smoothing: the share of a label that is spread over all classes."""
    average: float = 0.0
    """Decay of a running average of the weights, such as 0.999; 0: none."""
    batch_size: int | None = None
    """Images per step; None: 64, fewer on small sets."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass."""
    start: str | None = None
    """A run whose weights are taken over, all but the head."""
    freeze: bool = False
    """Train only the head on top of `start`."""
    cnn: bool = True
    """Train a small convolutional network beside the model, for comparison."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Where to train."""
    threads: int | None = None
    """CPU threads; None: one for small models."""
    epochs: int | None = None
    """Passes over the training images; None: as many as the budget allows."""
    budget: float | None = None
    """Seconds for everything; None: five minutes, or no limit where `epochs` is given."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError(
                "no images are named",
                expected="a folder of class folders, a table or the name of a public set",
                fix="name one: vision train photos/",
            )
        for name in ("channels", "batch_size", "epochs", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "a whole number, 1 or more")
        require(0 <= self.smoothing < 1, "smoothing", self.smoothing, "from 0 to below 1")
        require(0 <= self.average < 1, "average", self.average, "from 0 to below 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        require(self.budget is None or self.budget > 0, "budget", self.budget, "more than 0 seconds")
        if self.freeze and self.start is None:
            raise ConfigError(
                "there is nothing to freeze", where="--freeze", expected="--start RUN", fix="name a run"
            )
        if self.size is not None:
            parse_size(self.size)

    @property
    def seconds(self) -> float | None:
        """The time limit in force."""
        return BUDGET if self.budget is None and self.epochs is None else self.budget

    @property
    def name(self) -> str:
        """`<data name>-<model>`, for the run directory."""
        return f"{Path(self.data[0]).resolve().name.split('.')[0] or 'images'}-{self.model}"

    def flags(self) -> dict[str, Any]:
        """The options that differ from their defaults, as a file for `--config` holds them."""
        default = TrainSettings(data=self.data)
        return {
            name: value
            for name, value in to_dict(self).items()
            if name != "data" and value != getattr(default, name)
        }


def parse_size(text: str) -> tuple[int, int]:
    """`64` or `40x72` as height and width.

    Raises:
        ConfigError: it is neither.
    """
    match = _SIDES.fullmatch(text.strip())
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= min(sides) <= max(sides) <= _LARGEST:
        raise ConfigError(
            "is no size of an image",
            where="--size",
            seen=text,
            expected=f"a number of pixels such as 64, or height and width such as 40x72, up to {_LARGEST}",
            fix="set --size 64",
        )
    return sides


def parse_sizes(text: str) -> list[tuple[int, int]]:
    """`224,512x768` as heights and widths.

    Raises:
        ConfigError: one of them is no size.
    """
    return [parse_size(part) for part in text.split(",")]
