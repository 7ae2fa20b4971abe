"""PatchTST: self-attention over patches of each series on its own.

Nie, Nguyen, Sinthong and Kalagnanam, "A Time Series is Worth 64 Words: Long-term Forecasting with
Transformers", ICLR 2023.

    x' = RevIN(x),   u_n = W_u patch_n + p_n,   z = Encoder(u),   y = RevIN^-1(W_y vec(z_1, ..., z_N))

An encoder layer is self-attention over all N patches and a GELU network, each followed by batch
normalisation of the residual sum.

Letters: B batch, L lookback, H horizon, F features, N patches, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from statewise.core.config import require
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.patching import default_patch, patch_count, patches
from statewise.timeseries.models.revin import RevIN
from statewise.timeseries.network import NetworkConfig, NetworkForecaster

__all__ = ["EncoderLayer", "PatchTST", "PatchTSTConfig", "PatchTSTForecaster", "PatchTSTForecasterConfig"]

presets: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 8, "heads": 2, "depth": 1},
    "small": {"d_model": 16, "heads": 4, "depth": 3},
    "base": {"d_model": 128, "heads": 16, "depth": 3, "dropout": 0.2},
}
"""`small` is the paper's for ETTh, `base` its for large sets."""


@dataclass(frozen=True, kw_only=True)
class PatchTSTConfig:
    """Shape of a `PatchTST`."""

    lookback: int
    """Steps it sees, L."""
    horizon: int
    """Steps it forecasts, H."""
    features: int = 0
    """Known inputs per step beside the value, F."""
    d_model: int = 16
    """D, width of a patch."""
    heads: int = 4
    """Heads of the attention; divides D."""
    depth: int = 3
    """Encoder layers."""
    dropout: float = 0.3
    """Probability of dropping an element, in training."""

    def __post_init__(self) -> None:
        for name in ("lookback", "horizon", "d_model", "heads", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.d_model % self.heads == 0, "heads", self.heads, f"a divisor of {self.d_model}")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class EncoderLayer(nn.Module):
    """Self-attention over tokens and a GELU network, (B, N, D) to (B, N, D).

    Args:
        d_model: D.
        heads: of the attention.
        dropout: of both residual branches.
        batch_norm: normalise each feature over batch and tokens (PatchTST), else each token (iTransformer).
    """

    def __init__(self, d_model: int, heads: int, dropout: float, *, batch_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)
        self.dropout = nn.Dropout(dropout)
        kind = nn.BatchNorm1d if batch_norm else nn.LayerNorm
        self.norms = nn.ModuleList(kind(d_model) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self._normalised(0, x + self.dropout(self._attend(x)))
        return self._normalised(1, x + self.dropout(self.down(self.dropout(F.gelu(self.up(x))))))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _normalised(self, place: int, x: Tensor) -> Tensor:
        norm = self.norms[place]
        return norm(x.flatten(0, 1)).view_as(x) if isinstance(norm, nn.BatchNorm1d) else norm(x)


class PatchTST(nn.Module):
    """Windows (B, L, 1+F) of single series to forecasts (B, H)."""

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__()
        self.config = config
        self.cut = default_patch(config.lookback)
        count, width = patch_count(config.lookback, *self.cut), config.d_model
        self.revin = RevIN()
        self.embed = nn.Linear(self.cut[0] * (1 + config.features), width)
        self.position = nn.Parameter(0.02 * torch.randn(count, width))
        self.layers = nn.ModuleList(
            EncoderLayer(width, config.heads, config.dropout, batch_norm=True) for _ in range(config.depth)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(count * width, config.horizon)

    def forward(self, x: Tensor) -> Tensor:
        value, units = self.revin(x[..., 0])
        z = self.embed(patches(torch.cat([value[..., None], x[..., 1:]], dim=-1), *self.cut))
        z = self.dropout(z + self.position)
        for layer in self.layers:
            z = layer(z)
        return self.revin.inverse(self.head(self.dropout(z.flatten(1))), units)


@dataclass(frozen=True, kw_only=True)
class PatchTSTForecasterConfig(NetworkConfig):
    """Settings of the `patchtst` method."""

    d_model: int = 16
    """D, width of a patch."""
    heads: int = 4
    """Heads of the attention; divides D."""
    depth: int = 3
    """Encoder layers."""
    dropout: float = 0.3
    """Probability of dropping an element, in training."""


class PatchTSTForecaster(NetworkForecaster):
    """PatchTST as a forecasting method: weights shared by all series."""

    config: PatchTSTForecasterConfig

    def __init__(self, config: PatchTSTForecasterConfig) -> None:
        super().__init__(config)

    def build(self, inputs: Inputs) -> PatchTST:
        config = self.config
        return PatchTST(
            PatchTSTConfig(
                lookback=inputs.lookback,
                horizon=inputs.horizon,
                features=inputs.features,
                d_model=config.d_model,
                heads=config.heads,
                depth=config.depth,
                dropout=config.dropout,
            )
        )
