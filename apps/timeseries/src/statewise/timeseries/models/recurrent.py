"""Forecasters on the core's recurrent layers: patches of each series on its own, read by a stack of blocks.

    x' = RevIN(x),   u_n = W_u patch_n + b_u,   z = Stack(u_1, ..., u_N),   y = RevIN^-1(W_y z_N + A x')

The mixer of the blocks gives the method its name: Mamba (Gu and Dao, 2023), S5 (Smith et al., 2023), GLA
(Yang et al., 2024), LRU (Orvieto et al., 2023). Channel independence and patches are PatchTST's (Nie et al.,
2023); A is a plain linear map of the window, as LSTNet's autoregressive part, so that the recurrence only
has to find what a linear map misses. Where rows come at irregular times, `row_network` takes its place for
the layers that know of time.

Letters: B batch, L lookback, H horizon, F features, N patches, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from statewise.core.blocks import Stack
from statewise.core.config import require
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.highway import ridge_highway
from statewise.timeseries.models.patching import patches
from statewise.timeseries.models.recurrent_config import RecurrentConfig
from statewise.timeseries.models.revin import RevIN
from statewise.timeseries.models.row_network import RowNetwork
from statewise.timeseries.network import NetworkConfig, NetworkForecaster
from statewise.timeseries.panel import Panel

__all__ = [
    "GLAForecaster",
    "LRUForecaster",
    "MambaForecaster",
    "RecurrentConfig",
    "RecurrentForecasterConfig",
    "RecurrentNetwork",
    "S5Forecaster",
    "presets",
]

presets: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 8, "depth": 1},
    "small": {"d_model": 32, "depth": 2},
    "base": {"d_model": 128, "depth": 3},
}
"""Widths and depths."""


class RecurrentNetwork(nn.Module):
    """Windows (B, L, 1+F) of single series to forecasts (B, H)."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        length, _ = config.cut
        self.revin = RevIN()
        self.embed = nn.Linear(length * (1 + config.features), config.d_model)
        self.stack = Stack(config.blocks)
        self.head = nn.Linear(config.d_model, config.horizon)
        self.highway = nn.Linear(config.lookback, config.horizon, bias=False)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.highway.weight, 1 / config.lookback)

    def forward(self, x: Tensor) -> Tensor:
        value, units = self.revin(x[..., 0])
        tokens = patches(torch.cat([value[..., None], x[..., 1:]], dim=-1), *self.config.cut)
        z, _ = self.stack(self.embed(tokens))
        return self.revin.inverse(self.head(z[:, -1]) + self.highway(value), units)


@dataclass(frozen=True, kw_only=True)
class RecurrentForecasterConfig(NetworkConfig):
    """Settings of `mamba`, `s5`, `gla` and `lru`."""

    d_model: int = 32
    """D, width of the blocks."""
    depth: int = 2
    """Blocks one after the other."""
    dropout: float = 0.1
    """Probability of dropping an element of a residual branch, in training."""
    patch: int | None = None
    """Steps in a patch; None: 16, less where the lookback is short."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("d_model", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class _Recurrent(NetworkForecaster):
    """A `RecurrentNetwork` as a forecasting method, weights shared by all series."""

    config: RecurrentForecasterConfig
    mixer: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: RecurrentForecasterConfig) -> None:
        super().__init__(config)

    def warm_start(self, model: nn.Module, panel: Panel, inputs: Inputs, stops: Sequence[int]) -> None:
        assert isinstance(model, (RecurrentNetwork, RowNetwork))
        ridge_highway(model.highway, panel, inputs, stops)

    def build(self, inputs: Inputs) -> RecurrentNetwork | RowNetwork:
        config = self.config
        network = RecurrentNetwork if inputs.gap is None else RowNetwork
        return network(
            RecurrentConfig(
                lookback=inputs.lookback,
                horizon=inputs.horizon,
                features=inputs.features,
                mixer=self.mixer,
                settings=dict(self.settings),
                d_model=config.d_model,
                depth=config.depth,
                dropout=config.dropout,
                patch=None if config.patch is None else min(config.patch, inputs.lookback),
            )
        )


class MambaForecaster(_Recurrent):
    """Patches read by Mamba blocks."""

    mixer = "mamba"
    timed = True


class S5Forecaster(_Recurrent):
    """Patches read by S5 blocks."""

    mixer = "s5"
    timed = True
    settings: ClassVar[dict[str, Any]] = {"d_state": 32}


class GLAForecaster(_Recurrent):
    """Patches read by blocks of gated linear attention."""

    mixer = "gla"


class LRUForecaster(_Recurrent):
    """Patches read by LRU blocks."""

    mixer = "lru"
    timed = True
