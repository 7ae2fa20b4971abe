"""What every separator is: a map from a mixture of voices to the voices, (B, N) to (B, S, N)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

__all__ = ["Separator"]


class Separator(nn.Module, ABC):
    """A model that takes voices apart.

    Args:
        config: the settings; `sample_rate` in Hz and `speakers` are among them.
    """

    trains: ClassVar[bool] = True
    """False for signal processing without parameters."""
    learning_rate: ClassVar[float] = 5e-4
    """The peak learning rate that suits it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @property
    def sample_rate(self) -> int:
        """Samples per second of the signals it takes."""
        return self.config.sample_rate

    @property
    def speakers(self) -> int:
        """S, signals that come out."""
        return self.config.speakers

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Whole mixtures (B, N) to their voices (B, S, N), in any order."""
