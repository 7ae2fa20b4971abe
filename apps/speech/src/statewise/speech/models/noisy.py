"""The input as it is: the baseline that every other model is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from statewise.core.config import require
from statewise.speech.models.enhancer import Enhancer

__all__ = ["Noisy", "NoisyConfig"]


@dataclass(frozen=True, kw_only=True)
class NoisyConfig:
    """Settings of `Noisy`."""

    sample_rate: int = 16_000
    """Samples per second."""
    hop: int = 320
    """Samples between frames."""

    def __post_init__(self) -> None:
        require(self.sample_rate >= 1, "sample_rate", self.sample_rate, "at least 1")
        require(self.hop >= 1, "hop", self.hop, "at least 1")


class Noisy(Enhancer):
    """Y = X."""

    trains: ClassVar[bool] = False

    def __init__(self, config: NoisyConfig) -> None:
        super().__init__(config)

    def forward(self, spectrum: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return spectrum, state

    def initial_state(self, batch_size: int) -> tuple[()]:
        return ()
