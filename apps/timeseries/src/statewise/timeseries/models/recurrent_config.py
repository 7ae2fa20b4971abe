"""The shape of the networks behind `mamba`, `s5`, `gla` and `lru`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from statewise.core.blocks import StackConfig
from statewise.core.config import require
from statewise.timeseries.models.patching import default_patch

__all__ = ["RecurrentConfig"]


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """Shape of a `RecurrentNetwork` or a `RowNetwork`."""

    lookback: int
    """Steps it sees, L, or rows, K."""
    horizon: int
    """Steps it forecasts, H."""
    features: int = 0
    """Known inputs per step beside the value, F."""
    mixer: str = "mamba"
    """The layer that reads the patches; see `statewise layers`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of that layer."""
    d_model: int = 32
    """D, width of the blocks."""
    depth: int = 2
    """Blocks one after the other."""
    dropout: float = 0.1
    """Probability of dropping an element of a residual branch, in training."""
    patch: int | None = None
    """Steps in a patch, neighbours overlapping by half; None: 16, less where the lookback is short."""

    def __post_init__(self) -> None:
        for name in ("lookback", "horizon", "d_model", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        fits = self.patch is None or 1 <= self.patch <= self.lookback
        require(fits, "patch", self.patch, "from 1 to the lookback")

    @property
    def blocks(self) -> StackConfig:
        """The blocks between embedding and head."""
        return StackConfig(
            d_model=self.d_model,
            mixer=self.mixer,
            settings=self.settings,
            depth=self.depth,
            dropout=self.dropout,
        )

    @property
    def cut(self) -> tuple[int, int]:
        """Length and stride of the patches."""
        if self.patch is None:
            return default_patch(self.lookback)
        return self.patch, max(1, self.patch // 2)
