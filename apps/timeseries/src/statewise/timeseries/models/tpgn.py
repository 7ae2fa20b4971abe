"""TPGN: periods as rows, times of the period as columns, a parallel gated network down the columns.

Jia et al., "PGN: The RNN's New Successor is Effective for Long-Range Time Series Forecasting", NeurIPS 2024.

Letters: B batch, L lookback, H horizon, P period, R = ceil(L/P) rows, F features, d hidden units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.pgn import PGN, PGNConfig
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.network import NetworkConfig, NetworkForecaster

__all__ = ["TPGN", "TPGNConfig", "TPGNForecaster", "TPGNForecasterConfig", "presets"]

_VARIANCE_FLOOR = 1e-5


@dataclass(frozen=True, kw_only=True)
class TPGNConfig:
    """Shape of a `TPGN`."""

    lookback: int = 168
    """Steps it sees, L."""
    horizon: int = 168
    """Steps it forecasts, H."""
    period: int = 24
    """Steps in one row of the two-dimensional form, P."""
    features: int = 4
    """Known inputs per step beside the value, F: calendar features and covariates."""
    hidden: int = 8
    """Hidden units, d."""
    normalise: bool = True
    """Standardise each window by its own mean and deviation (the paper's `norm`): for a level that drifts."""

    def __post_init__(self) -> None:
        for name in ("lookback", "horizon", "period", "hidden"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.features >= 0, "features", self.features, "at least 0")

    @property
    def rows(self) -> int:
        """Periods in the lookback, R = ceil(L/P)."""
        return math.ceil(self.lookback / self.period)


presets: dict[str, dict[str, Any]] = {
    "tiny": {"hidden": 2},
    "small": {"hidden": 8},
    "base": {"hidden": 32},
}
"""Hidden sizes that the paper uses: 2 for ETTh1, 8 for ETTh2, 32 for electricity. For both configurations."""


class TPGN(nn.Module):
    """Forecasts H steps of a series from the L before, in one pass without recurrence.

    The window becomes R rows of one period each, Z, so that a column holds one time of the period. A
    parallel gated network runs down every column (long-term), two linear maps sum up the rows (short-term):

        o_{.,c} = PGN(Z_{.,c})                 long_c = W_l vec(o_{1,c}, ..., o_{R,c})
        s_r = W_a vec(Z_{r,1}, ..., Z_{r,P})   short  = W_b vec(s_1, ..., s_R)
        y_{.,c} = W_o [short, long_c]          ceil(H/P) rows of P forecasts

    A lookback that is no multiple of the period is filled up with zeros on the left, a horizon that is none
    is cropped. Where both are multiples this is the paper's model to the letter, in the univariate form of
    its tables.

    Args:
        config: its shape.
    """

    def __init__(self, config: TPGNConfig) -> None:
        super().__init__()
        self.config = config
        inputs, hidden, rows = 1 + config.features, config.hidden, config.rows
        self.cell = PGN(PGNConfig(d_model=inputs, d_output=hidden, window=max(rows - 1, 1)))
        self.long = nn.Linear(rows * hidden, hidden)
        self.row = nn.Linear(config.period * inputs, hidden)
        self.short = nn.Linear(rows * hidden, hidden)
        self.head = nn.Linear(2 * hidden, math.ceil(config.horizon / config.period))

    def forward(self, x: Tensor) -> Tensor:
        """Forecast.

        Args:
            x: windows (B, L, 1+F): the value first, then the features.

        Returns:
            (B, H), in the units of the value.
        """
        config = self.config
        value, features = x[..., :1], x[..., 1:]
        if config.normalise:
            variance, mean = torch.var_mean(value, dim=1, keepdim=True, correction=0)
            scale = torch.sqrt(variance + _VARIANCE_FLOOR)
            y = self._forecast(torch.cat([(value - mean) / scale, features], dim=-1))
            return y * scale[..., 0] + mean[..., 0]
        return self._forecast(x)

    def _forecast(self, x: Tensor) -> Tensor:
        config = self.config
        batch, rows, period, hidden = len(x), config.rows, config.period, config.hidden
        x = F.pad(x, (0, 0, rows * period - config.lookback, 0))
        grid = x.reshape(batch, rows, period, -1)
        columns = grid.transpose(1, 2).reshape(batch * period, rows, -1)
        gated, _ = self.cell(columns)
        long = self.long(gated.reshape(batch, period, rows * hidden))
        short = self.short(self.row(grid.flatten(2)).flatten(1))
        y = self.head(torch.cat([short[:, None].expand(-1, period, -1), long], dim=-1))
        return y.transpose(1, 2).flatten(1)[:, : config.horizon]


@dataclass(frozen=True, kw_only=True)
class TPGNForecasterConfig(NetworkConfig):
    """Settings of the `tpgn` method."""

    hidden: int = 8
    """Hidden units, d."""
    normalise: bool = True
    """Standardise each window by its own mean and deviation: for series whose level drifts."""
    period: int | None = None
    """Steps in a row of the two-dimensional form, P; None: the main period of the data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")
        require(self.period is None or self.period >= 1, "period", self.period, "at least 1 step")


class TPGNForecaster(NetworkForecaster):
    """TPGN as a forecasting method: weights shared by all series, any lookback, horizon and period."""

    config: TPGNForecasterConfig

    def __init__(self, config: TPGNForecasterConfig) -> None:
        super().__init__(config)

    def build(self, inputs: Inputs) -> TPGN:
        return TPGN(
            TPGNConfig(
                lookback=inputs.lookback,
                horizon=inputs.horizon,
                period=self.config.period or inputs.period,
                features=inputs.features,
                hidden=self.config.hidden,
                normalise=self.config.normalise,
            )
        )
