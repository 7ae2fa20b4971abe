"""LSTNet: a convolution over all series, a recurrence over steps, one over seasons, and an autoregression.

Lai, Chang, Yang and Liu, "Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks", SIGIR
2018.

    c_t = relu(W_c [x_{t-K+1}, ..., x_t])        all series and features of K steps
    r   = GRU(c_1, ..., c_T)                     its last state
    s_j = GRU(c_j, c_{j+p}, c_{j+2p}, ...)       for each of the last p places of the season, last states
    y   = W_y [r, s_1, ..., s_p] + A (x_{L-q+1}, ..., x_L)

Letters: B batch, L lookback, H horizon, V variates, F features, K steps of the kernel, T = L-K+1, p season.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.gru import GRU, GRUConfig
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.joint import JointForecaster
from statewise.timeseries.models.revin import RevIN
from statewise.timeseries.network import NetworkConfig

__all__ = ["LSTNet", "LSTNetConfig", "LSTNetForecaster", "LSTNetForecasterConfig"]

_HIGHWAY = 24  # steps of the autoregression

presets: dict[str, dict[str, Any]] = {
    "tiny": {"hidden": 8, "skip_hidden": 2},
    "small": {"hidden": 32, "skip_hidden": 4},
    "base": {"hidden": 100, "skip_hidden": 5},
}
"""`base` is the paper's."""


@dataclass(frozen=True, kw_only=True)
class LSTNetConfig:
    """Shape of an `LSTNet`."""

    lookback: int
    """Steps it sees, L."""
    horizon: int
    """Steps it forecasts, H."""
    variates: int
    """V, series that are read together."""
    features: int = 0
    """Known inputs per step and series beside the value, F."""
    hidden: int = 32
    """Channels of the convolution and units of the first recurrence."""
    skip_hidden: int = 4
    """Units of the recurrence over seasons."""
    kernel: int = 6
    """K, steps that the convolution sees; less where the lookback is shorter."""
    season: int = 24
    """p, steps from one step of the second recurrence to the next; 1 for none."""
    dropout: float = 0.2
    """Probability of dropping an element, in training."""

    def __post_init__(self) -> None:
        for name in ("lookback", "horizon", "variates", "hidden", "skip_hidden", "kernel", "season"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")

    @property
    def width(self) -> int:
        """Steps of the kernel that fit."""
        return min(self.kernel, self.lookback)

    @property
    def seasons(self) -> int:
        """Steps of the second recurrence; 0 for none."""
        return 0 if self.season == 1 else (self.lookback - self.width + 1) // self.season


class LSTNet(nn.Module):
    """Windows of all series (B, L, V, 1+F) to forecasts (B, V, H)."""

    def __init__(self, config: LSTNetConfig) -> None:
        super().__init__()
        self.config = config
        self.revin = RevIN()
        self.conv = nn.Conv1d(config.variates * (1 + config.features), config.hidden, config.width)
        self.recurrence = GRU(GRUConfig(d_model=config.hidden))
        units = config.hidden
        if config.seasons:
            self.skip = GRU(GRUConfig(d_model=config.hidden, d_hidden=config.skip_hidden))
            units += config.season * config.skip_hidden
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(units, config.variates * config.horizon)
        self.highway = nn.Linear(min(_HIGHWAY, config.lookback), config.horizon)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.highway.weight, 1 / self.highway.in_features)

    def forward(self, x: Tensor) -> Tensor:
        config = self.config
        value, units = self.revin(x[..., 0].transpose(1, 2))
        seen = torch.cat([value.transpose(1, 2)[..., None], x[..., 1:]], dim=-1)
        c = self.dropout(F.relu(self.conv(seen.flatten(2).transpose(1, 2)))).transpose(1, 2)
        states = [self.recurrence(c)[1].h]
        if config.seasons:
            last = c[:, -config.seasons * config.season :]
            rows = last.unflatten(1, (config.seasons, config.season)).transpose(1, 2).flatten(0, 1)
            states.append(self.skip(rows)[1].h.reshape(len(x), -1))
        y = self.out(self.dropout(torch.cat(states, dim=-1))).view(len(x), config.variates, config.horizon)
        return self.revin.inverse(y + self.highway(value[..., -self.highway.in_features :]), units)


@dataclass(frozen=True, kw_only=True)
class LSTNetForecasterConfig(NetworkConfig):
    """Settings of the `lstnet` method."""

    hidden: int = 32
    """Channels of the convolution and units of the first recurrence."""
    skip_hidden: int = 4
    """Units of the recurrence over seasons."""
    kernel: int = 6
    """Steps that the convolution sees."""
    dropout: float = 0.2
    """Probability of dropping an element, in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden", "skip_hidden", "kernel"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class LSTNetForecaster(JointForecaster):
    """LSTNet as a forecasting method: all series of the panel enter its convolution."""

    config: LSTNetForecasterConfig

    def __init__(self, config: LSTNetForecasterConfig) -> None:
        super().__init__(config)

    def build(self, inputs: Inputs) -> LSTNet:
        config = self.config
        return LSTNet(
            LSTNetConfig(
                lookback=inputs.lookback,
                horizon=inputs.horizon,
                variates=len(inputs.scales),
                features=inputs.features,
                hidden=config.hidden,
                skip_hidden=config.skip_hidden,
                kernel=config.kernel,
                season=inputs.period,
                dropout=config.dropout,
            )
        )
