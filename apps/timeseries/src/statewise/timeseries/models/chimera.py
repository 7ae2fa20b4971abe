"""Chimera: state space models over time and variates at once, one for the trend and one for the season.

Behrouz, Santacatterina and Zabih, "Chimera: Effectively Modeling Multivariate Time Series with 2-Dimensional
State Space Models", 2024.

    x' = RevIN(x),   trend = MA(x'),   season = x' - trend
    z_i = Blocks_i(W_i patches(part_i)),   blocks z + Grid(norm(z)),   i = trend, season
    y = RevIN^-1(head_trend(z_trend) + head_season(z_season) + A x')

Both heads run the same two-dimensional recurrence (`statewise.core.layers.chimera2d`) with parameters and
step sizes of their own: short steps for what is slow, long ones for the season. A head reads all patches at
once (`direct`), or says the next patch from the last state and takes what it said as its next input
(`closed-loop`), for as many patches as the horizon needs.

Letters: B batch, L lookback, H horizon, V variates, F features, N patches, P steps in a patch, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.chimera2d import Chimera2D, Chimera2DConfig
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.joint import JointForecaster
from statewise.timeseries.models.chimera_forms import CompanionGrid, PooledGrid
from statewise.timeseries.models.highway import ridge_highway
from statewise.timeseries.models.patching import patch_count, patches
from statewise.timeseries.models.revin import RevIN
from statewise.timeseries.network import NetworkConfig
from statewise.timeseries.panel import Panel

__all__ = ["Chimera", "ChimeraConfig", "ChimeraForecaster", "ChimeraForecasterConfig", "presets"]

Form = Literal["diagonal", "companion", "pooled"]
Coupling = Literal["bounded", "zoh", "none"]
Decoder = Literal["direct", "closed-loop"]

TREND_STEPS, SEASON_STEPS = (1e-3, 1e-2), (1e-2, 1e-1)
"""Step sizes of the two heads at the start."""
_AVERAGE = 25  # steps of the moving average

presets: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 8, "d_state": 4, "depth": 1},
    "small": {"d_model": 16, "d_state": 4, "depth": 1},
    "base": {"d_model": 32, "d_state": 8, "depth": 2},
    "companion": {"form": "companion", "depth": 1},
    "pooled": {"form": "pooled"},
    "closed-loop": {"decoder": "closed-loop"},
}
"""Sizes, and the other forms of the recurrence and of the decoder."""


@dataclass(frozen=True, kw_only=True)
class ChimeraConfig:
    """Shape of a `Chimera`."""

    lookback: int
    """Steps it sees, L."""
    horizon: int
    """Steps it forecasts, H."""
    variates: int
    """V, series that are read together."""
    features: int = 0
    """Known inputs per step and series beside the value, F."""
    d_model: int = 16
    """D, width of a patch."""
    d_state: int = 4
    """N, states per feature and kind."""
    depth: int = 1
    """Blocks in each head."""
    patch: int | None = None
    """P, steps in a patch; None: 16, less where the lookback is short."""
    form: Form = "diagonal"
    """diagonal: computed from the input; companion: autoregressive over time, the same for every input;
    pooled: variates enter through their mean, in no order."""
    coupling: Coupling = "bounded"
    """Of the diagonal form: bounded, as exp(d A) (the paper's, which can grow), or none (separable)."""
    both_ways: bool = True
    """Read the variates in both orders."""
    decoder: Decoder = "direct"
    """direct: one map from all patches to the horizon; closed-loop: patch by patch from the state."""
    dropout: float = 0.2
    """Probability of dropping an element before the head, in training."""

    def __post_init__(self) -> None:
        for name in ("lookback", "horizon", "variates", "d_model", "d_state", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.features >= 0, "features", self.features, "at least 0")
        fits = self.patch is None or 1 <= self.patch <= self.lookback
        require(fits, "patch", self.patch, "from 1 to the lookback")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")

    @property
    def steps(self) -> int:
        """P, steps in a patch."""
        return self.patch or max(1, min(16, self.lookback // 4))


class _Head(nn.Module):
    """Blocks over one part of the series, and the map from their outputs to the horizon."""

    def __init__(self, config: ChimeraConfig, steps: tuple[float, float]) -> None:
        super().__init__()
        self.config = config
        width, length = config.d_model, config.steps
        inputs = length if config.decoder == "closed-loop" else length * (1 + config.features)
        self.embed = nn.Linear(inputs, width)
        self.grids = nn.ModuleList(_grid(config, steps) for _ in range(config.depth))
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-6) for _ in range(config.depth + 1))
        self.dropout = nn.Dropout(config.dropout)
        count = patch_count(config.lookback, length, length)
        direct = config.decoder == "direct"
        self.out = nn.Linear(count * width, config.horizon) if direct else nn.Linear(width, length)
        nn.init.zeros_(self.out.weight)

    def forward(self, part: Tensor, features: Tensor) -> Tensor:
        """A part (B, V, L) and the features (B, V, L, F) to forecasts of it (B, V, H)."""
        config = self.config
        x = part[..., None]
        if config.decoder == "direct":
            x = torch.cat([x, features], dim=-1)
        tokens = patches(x.flatten(0, 1), config.steps, config.steps).unflatten(0, part.shape[:2])
        z, states = self.embed(tokens.transpose(1, 2)), []
        for place, grid in enumerate(self.grids):
            y, state = grid(self.norms[place](z))
            z = z + y
            states.append(state)
        z = self.norms[-1](z)
        if config.decoder == "direct":
            return self.out(self.dropout(z.transpose(1, 2).flatten(2)))
        return self._closed_loop(z[:, -1], states)

    def _grids(self) -> list[Any]:
        return list(self.grids)

    def _closed_loop(self, z_t: Tensor, states: list[Any]) -> Tensor:
        """Patch after patch, each the input of the next step: (B, V, D) to (B, V, H)."""
        said = [self.out(self.dropout(z_t))]
        for _ in range(1, math.ceil(self.config.horizon / self.config.steps)):
            z_t = self.embed(said[-1])
            for place, grid in enumerate(self._grids()):
                y_t, states[place] = grid.step(self.norms[place](z_t), states[place])
                z_t = z_t + y_t
            said.append(self.out(self.dropout(self.norms[-1](z_t))))
        return torch.cat(said, dim=-1)[..., : self.config.horizon]


class Chimera(nn.Module):
    """Windows of all series (B, L, V, 1+F) to forecasts (B, V, H)."""

    def __init__(self, config: ChimeraConfig) -> None:
        super().__init__()
        self.config = config
        self.revin = RevIN()
        self.trend = _Head(config, TREND_STEPS)
        self.season = _Head(config, SEASON_STEPS)
        self.highway = nn.Linear(config.lookback, config.horizon, bias=False)
        nn.init.constant_(self.highway.weight, 1 / config.lookback)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        value, units = self.revin(x[..., 0])
        trend = _moving_average(value)
        features = x[..., 1:]
        y = self.trend(trend, features) + self.season(value - trend, features) + self.highway(value)
        return self.revin.inverse(y, units)


@dataclass(frozen=True, kw_only=True)
class ChimeraForecasterConfig(NetworkConfig):
    """Settings of the `chimera` method."""

    d_model: int = 16
    """D, width of a patch."""
    d_state: int = 4
    """N, states per feature and kind."""
    depth: int = 1
    """Blocks in each head."""
    patch: int | None = None
    """Steps in a patch; None: 16, less where the lookback is short."""
    form: Form = "diagonal"
    """diagonal, companion or pooled; see the model."""
    coupling: Coupling = "bounded"
    """Of the diagonal form: bounded, zoh (the paper's) or none."""
    both_ways: bool = True
    """Read the variates in both orders."""
    decoder: Decoder = "direct"
    """direct or closed-loop; see the model."""
    dropout: float = 0.2
    """Probability of dropping an element before the head, in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("d_model", "d_state", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class ChimeraForecaster(JointForecaster):
    """Chimera as a forecasting method: all series of the panel are its variates."""

    config: ChimeraForecasterConfig

    def __init__(self, config: ChimeraForecasterConfig) -> None:
        super().__init__(config)

    def warm_start(self, model: nn.Module, panel: Panel, inputs: Inputs, stops: Sequence[int]) -> None:
        assert isinstance(model, Chimera)
        ridge_highway(model.highway, panel, inputs, stops)

    def build(self, inputs: Inputs) -> Chimera:
        config = self.config
        return Chimera(
            ChimeraConfig(
                lookback=inputs.lookback,
                horizon=inputs.horizon,
                variates=len(inputs.scales),
                features=inputs.features,
                d_model=config.d_model,
                d_state=config.d_state,
                depth=config.depth,
                patch=None if config.patch is None else min(config.patch, inputs.lookback),
                form=config.form,
                coupling=config.coupling,
                both_ways=config.both_ways,
                decoder=config.decoder,
                dropout=config.dropout,
            )
        )


def _grid(config: ChimeraConfig, steps: tuple[float, float]) -> nn.Module:
    if config.form == "companion":
        return CompanionGrid(config.d_model, config.d_state, both_ways=config.both_ways)
    if config.form == "pooled":
        return PooledGrid(config.d_model, config.d_state, steps=steps)
    return Chimera2D(
        Chimera2DConfig(
            d_model=config.d_model,
            variates=config.variates,
            d_state=config.d_state,
            both_ways=config.both_ways,
            coupling=config.coupling,
            dt_min=steps[0],
            dt_max=steps[1],
        )
    )


def _moving_average(x: Tensor) -> Tensor:
    """Centred mean over 25 steps of the last axis, (B, V, L); the ends of the window are repeated beyond."""
    reach = _AVERAGE // 2
    padded = F.pad(x, (reach, reach), mode="replicate")
    return F.avg_pool1d(padded, _AVERAGE, stride=1)
