"""AR-Net: an autoregression learnt by gradient descent, whose weights are its coefficients.

Triebe, Laptev and Rajagopal, "AR-Net: A simple Auto-Regressive Neural Network for time-series", 2019.

    y_t = w_1 y_{t-1} + ... + w_p y_{t-p} + b,     loss + λ mean_i ρ(w_i),
    ρ(w) = 2 / (1 + exp(-c_1 |w|^(1/c_2))) - 1

Beyond one step forecasts take the place of values: what a step h ahead takes from the window is a row of
coefficients again, f_h = w_1 f_{h-1} + ... + w_{h-1} f_1 + the shifted rest, computed once for a batch.

Letters: B batch, L lookback, H horizon, p lags.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.network import NetworkConfig, NetworkForecaster

__all__ = ["ARNet", "ARNetConfig", "ARNetForecaster", "ARNetForecasterConfig"]

_STEEPNESS, _ROOT = 3.0, 3.0  # c_1 and c_2
_LARGEST = 1e3  # of a coefficient of an unstable recursion, so that forecasts stay finite


@dataclass(frozen=True, kw_only=True)
class ARNetConfig:
    """Shape of an `ARNet`."""

    lags: int
    """p, values that a step depends on."""
    horizon: int
    """Steps it forecasts, H."""
    sparsity: float = 0.0
    """λ, weight of the penalty that drives small coefficients to zero."""

    def __post_init__(self) -> None:
        require(self.lags >= 1, "lags", self.lags, "at least 1")
        require(self.horizon >= 1, "horizon", self.horizon, "at least 1")
        require(self.sparsity >= 0, "sparsity", self.sparsity, "0 or more")


class ARNet(nn.Module):
    """Windows (B, L, 1+F), of which it reads the last p values, to forecasts (B, H)."""

    def __init__(self, config: ARNetConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.full((config.lags,), 0.5 / config.lags))
        """w_1 .. w_p, the nearest lag first."""
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        past = x[:, -self.config.lags :, 0].flip(1)
        rows, offsets = self.unrolled()
        return past @ rows.T + offsets

    def unrolled(self) -> tuple[Tensor, Tensor]:
        """What each step ahead takes from the last p values, (H, p), and its offset, (H,)."""
        lags, weight = self.config.lags, self.weight
        # column p holds the bias: a constant input that is always there
        row = torch.cat([weight, self.bias[None]])
        made = [row]
        for h in range(1, self.config.horizon):
            near = torch.stack(made[-lags:][::-1])
            rest = torch.cat([weight[h:], weight.new_zeros(min(h, lags)), self.bias[None]])
            made.append((weight[: len(near)] @ near + rest).clamp(-_LARGEST, _LARGEST))
        every = torch.stack(made)
        return every[:, :lags], every[:, lags]

    def penalty(self) -> Tensor:
        """λ mean ρ(w), added to the loss."""
        # the root has no derivative at zero
        size = (self.weight.abs() + 1e-9) ** (1 / _ROOT)
        return self.config.sparsity * (2 * torch.sigmoid(_STEEPNESS * size) - 1).mean()


@dataclass(frozen=True, kw_only=True)
class ARNetForecasterConfig(NetworkConfig):
    """Settings of the `ar-net` method."""

    lags: int | None = None
    """p, values that a step depends on; None: the lookback, at most two seasons."""
    sparsity: float = 0.0
    """λ, weight of the penalty that drives small coefficients to zero."""
    learning_rate: float = 1e-2
    """Rate of Adam at the start; it falls along a cosine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.lags is None or self.lags >= 1, "lags", self.lags, "at least 1")
        require(self.sparsity >= 0, "sparsity", self.sparsity, "0 or more")


class ARNetForecaster(NetworkForecaster):
    """AR-Net as a forecasting method: one set of coefficients for all series."""

    config: ARNetForecasterConfig

    def __init__(self, config: ARNetForecasterConfig) -> None:
        super().__init__(config)

    def build(self, inputs: Inputs) -> ARNet:
        lags = self.config.lags or 2 * max(inputs.period, 1)
        lags = min(lags, inputs.lookback)
        return ARNet(ARNetConfig(lags=lags, horizon=inputs.horizon, sparsity=self.config.sparsity))
