"""What a user asks of a video training run, in one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from statewise.core.config import require
from statewise.core.errors import ConfigError
from statewise.vision.settings import parse_size

__all__ = ["Forcing", "VideoSettings"]

Forcing = Literal["given", "all"]
"""Which true frames training feeds."""
BUDGET = 300.0
"""Seconds of a run unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class VideoSettings:
    """A training run as asked for."""

    data: str
    """A folder of clips, or one clip."""
    model: str = "convs5-nano"
    """`MODEL` or `MODEL-PRESET`."""
    frames: int = 20
    """Frames per training clip; longer clips are cut into pieces."""
    given: int | None = None
    """Frames that an evaluation shows before it asks for the rest; None: half."""
    forcing: Forcing = "given"
    """True frames that training feeds: those given, then predictions; or all, in parallel over time."""
    size: str | None = None
    """Pixels a side, or `HEIGHTxWIDTH`; None: that of the clips, at most 64, a multiple of 4."""
    channels: int | None = None
    """Channels; None: those of the first clip."""
    batch_size: int = 8
    """Clips per step."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Where to train."""
    threads: int | None = None
    """CPU threads; None: one for small models."""
    epochs: int | None = None
    """Passes over the clips; None: as many as the budget allows."""
    budget: float | None = None
    """Seconds; None: five minutes, or no limit where `epochs` is given."""

    def __post_init__(self) -> None:
        require(self.frames >= 3, "frames", self.frames, "at least 3")
        given = self.given
        require(given is None or 1 <= given < self.frames, "given", given, "from 1 to below frames")
        for name in ("channels", "epochs", "threads", "batch_size"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "a whole number, 1 or more")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        require(self.budget is None or self.budget > 0, "budget", self.budget, "more than 0 seconds")
        if self.size is not None and any(side % 4 for side in parse_size(self.size)):
            raise ConfigError(
                "is no size that video models take",
                where="--size",
                seen=self.size,
                expected="multiples of 4",
                fix="set --size 64",
            )

    @property
    def seconds(self) -> float | None:
        """The time limit in force."""
        return BUDGET if self.budget is None and self.epochs is None else self.budget

    @property
    def name(self) -> str:
        """`<data name>-<model>`, for the run directory."""
        return f"{Path(self.data).resolve().stem or 'clips'}-{self.model}"
