"""iTransformer: self-attention between the series, each one token.

Liu et al., "iTransformer: Inverted Transformers Are Effective for Time Series Forecasting", ICLR 2024.

    x' = RevIN(x),   u_v = W_u x'_v + Σ_f W_f feature_{f,v} + b,   z = Encoder(u_1, ..., u_V),   y_v = W_y z_v

Letters: B batch, L lookback, H horizon, V variates, F features, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from statewise.core.config import require
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.joint import JointForecaster
from statewise.timeseries.models.patchtst import EncoderLayer
from statewise.timeseries.models.revin import RevIN
from statewise.timeseries.network import NetworkConfig

__all__ = ["ITransformer", "ITransformerConfig", "ITransformerForecaster", "ITransformerForecasterConfig"]

presets: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 16, "heads": 2, "depth": 1},
    "small": {"d_model": 64, "heads": 4, "depth": 2},
    "base": {"d_model": 256, "heads": 8, "depth": 2},
}
"""`base` is the paper's for ETTh."""


@dataclass(frozen=True, kw_only=True)
class ITransformerConfig:
    """Shape of an `ITransformer`."""

    lookback: int
    """Steps it sees, L."""
    horizon: int
    """Steps it forecasts, H."""
    features: int = 0
    """Known inputs per step and series beside the value, F."""
    d_model: int = 64
    """D, width of a series."""
    heads: int = 4
    """Heads of the attention; divides D."""
    depth: int = 2
    """Encoder layers."""
    dropout: float = 0.1
    """Probability of dropping an element, in training."""

    def __post_init__(self) -> None:
        for name in ("lookback", "horizon", "d_model", "heads", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.d_model % self.heads == 0, "heads", self.heads, f"a divisor of {self.d_model}")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class ITransformer(nn.Module):
    """Windows of all series (B, L, V, 1+F) to forecasts (B, V, H), in any order of the series."""

    def __init__(self, config: ITransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.revin = RevIN()
        self.embed = nn.Linear(config.lookback, config.d_model)
        if config.features:
            self.known = nn.Linear(config.lookback * config.features, config.d_model, bias=False)
        self.layers = nn.ModuleList(
            EncoderLayer(config.d_model, config.heads, config.dropout, batch_norm=False)
            for _ in range(config.depth)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.d_model, config.horizon)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        value, units = self.revin(x[..., 0])
        z = self.embed(value)
        if self.config.features:
            z = z + self.known(x[..., 1:].flatten(2))
        z = self.dropout(z)
        for layer in self.layers:
            z = layer(z)
        return self.revin.inverse(self.head(z), units)


@dataclass(frozen=True, kw_only=True)
class ITransformerForecasterConfig(NetworkConfig):
    """Settings of the `itransformer` method."""

    d_model: int = 64
    """D, width of a series."""
    heads: int = 4
    """Heads of the attention; divides D."""
    depth: int = 2
    """Encoder layers."""
    dropout: float = 0.1
    """Probability of dropping an element, in training."""


class ITransformerForecaster(JointForecaster):
    """iTransformer as a forecasting method: all series of the panel are its tokens."""

    config: ITransformerForecasterConfig

    def __init__(self, config: ITransformerForecasterConfig) -> None:
        super().__init__(config)

    def build(self, inputs: Inputs) -> ITransformer:
        config = self.config
        return ITransformer(
            ITransformerConfig(
                lookback=inputs.lookback,
                horizon=inputs.horizon,
                features=inputs.features,
                d_model=config.d_model,
                heads=config.heads,
                depth=config.depth,
                dropout=config.dropout,
            )
        )
