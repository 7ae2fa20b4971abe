"""ES-RNN and MES-LSTM: exponential smoothing takes level and season out, a recurrence forecasts the rest.

Smyl, "A hybrid method of exponential smoothing and recurrent neural networks for time series forecasting",
International Journal of Forecasting, 2020; for several series read together: Mathonsi and van Zyl, "A
Statistics and Deep Learning Hybrid Method for Multivariate Time Series Forecasting and Mortality Modeling",
2021.

    l, s = HoltWinters(y)
    e_t  = y_t - l_L - s_t                       relative to the last level of the window
    f_h  = l_L + s_{L+h} + (W_y LSTM(e_1, ..., e_L))_h

Letters: B batch, L lookback, H horizon, V variates, F features, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from statewise.core.blocks import Stack, StackConfig
from statewise.core.config import require
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.joint import JointForecaster
from statewise.timeseries.models.patching import default_patch, patches
from statewise.timeseries.models.smoothing import HoltWinters
from statewise.timeseries.network import NetworkConfig, NetworkForecaster

__all__ = [
    "ESRNN", "ESRNNConfig", "ESRNNForecaster", "ESRNNForecasterConfig", "MESLSTMForecaster", "presets",
]  # fmt: skip

presets: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 8, "depth": 1},
    "small": {"d_model": 32, "depth": 1},
    "base": {"d_model": 64, "depth": 2},
}
"""Widths and depths."""


@dataclass(frozen=True, kw_only=True)
class ESRNNConfig:
    """Shape of an `ESRNN`."""

    lookback: int
    """Steps it sees, L."""
    horizon: int
    """Steps it forecasts, H."""
    period: int = 1
    """Steps in the season; 1 for none."""
    variates: int | None = None
    """V, series that are read together (MES-LSTM); None: one at a time (ES-RNN)."""
    features: int = 0
    """Known inputs per step beside the value, F."""
    mixer: str = "lstm"
    """The layer that reads what smoothing leaves; see `statewise layers`."""
    d_model: int = 32
    """D, width of the blocks."""
    depth: int = 1
    """Blocks one after the other."""

    def __post_init__(self) -> None:
        for name in ("lookback", "horizon", "period", "d_model", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class ESRNN(nn.Module):
    """Windows (B, L, 1+F) to forecasts (B, H); of V series together, (B, L, V, 1+F) to (B, V, H)."""

    def __init__(self, config: ESRNNConfig) -> None:
        super().__init__()
        self.config = config
        count = config.variates or 1
        self.smoothing = HoltWinters(min(config.period, config.lookback))
        self.cut = default_patch(config.lookback)
        self.embed = nn.Linear(self.cut[0] * (1 + config.features) * count, config.d_model)
        self.stack = Stack(StackConfig(d_model=config.d_model, mixer=config.mixer, depth=config.depth))
        self.head = nn.Linear(config.d_model, count * config.horizon)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        together = self.config.variates is not None
        grid = x if together else x[:, :, None]
        batch, lookback, count, _ = grid.shape
        y = grid[..., 0].transpose(1, 2).reshape(batch * count, lookback)
        levels, season, after = self.smoothing(y)
        last = levels[:, -1:]
        rest = (y - last - season).view(batch, count, lookback).transpose(1, 2)
        tokens = torch.cat([rest[..., None], grid[..., 1:]], dim=-1).flatten(2)
        z, _ = self.stack(self.embed(patches(tokens, *self.cut)))
        found = self.head(z[:, -1]).view(batch * count, self.config.horizon)
        forecast = last + self.smoothing.ahead(after, self.config.horizon) + found
        return forecast.view(batch, count, -1) if together else forecast


@dataclass(frozen=True, kw_only=True)
class ESRNNForecasterConfig(NetworkConfig):
    """Settings of `es-rnn` and `mes-lstm`."""

    mixer: str = "lstm"
    """The layer that reads what smoothing leaves; see `statewise layers`."""
    d_model: int = 32
    """D, width of the blocks."""
    depth: int = 1
    """Blocks one after the other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("d_model", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class ESRNNForecaster(NetworkForecaster):
    """ES-RNN as a forecasting method: weights and smoothing shared by all series."""

    config: ESRNNForecasterConfig

    def __init__(self, config: ESRNNForecasterConfig) -> None:
        super().__init__(config)

    def build(self, inputs: Inputs) -> ESRNN:
        return ESRNN(_shape(self.config, inputs, None))


class MESLSTMForecaster(JointForecaster):
    """MES-LSTM as a forecasting method: each series smoothed, all of them read by one recurrence."""

    config: ESRNNForecasterConfig

    def __init__(self, config: ESRNNForecasterConfig) -> None:
        super().__init__(config)

    def build(self, inputs: Inputs) -> ESRNN:
        return ESRNN(_shape(self.config, inputs, len(inputs.scales)))


def _shape(config: ESRNNForecasterConfig, inputs: Inputs, variates: int | None) -> ESRNNConfig:
    return ESRNNConfig(
        lookback=inputs.lookback,
        horizon=inputs.horizon,
        period=inputs.period,
        variates=variates,
        features=inputs.features,
        mixer=config.mixer,
        d_model=config.d_model,
        depth=config.depth,
    )
