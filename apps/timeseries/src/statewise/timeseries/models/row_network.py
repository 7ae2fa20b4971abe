"""The recurrent forecasters where rows come at irregular times: each row is a token, its step size is given.

    r_k = (value_k - mean) / scale of the window
    u_k = W_u [r_k, features_k] + b_u,   u_{K+1} = W_u [0, features_K+1] + b_u + q
    z   = Stack(u_1, ..., u_{K+1};  elapsed_1, ..., elapsed_{K+1})
    y   = (W_y z_{K+1} + A g) * scale + mean,   g the grid's last K steps in the same units

elapsed_k is the time since the row before, in units of the median, by which the layers multiply their step:
Smith et al., "Simplified State Space Layers for Sequence Modeling", 2023. The last token is the question, q
learnt: it lets the time from the last row to the origin go by. A is the linear map of `recurrent`: the
recurrence has to find what a linear map of the grid misses.

Letters: B batch, K rows, H horizon, F features, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from statewise.core.blocks import Stack
from statewise.timeseries.models.recurrent_config import RecurrentConfig
from statewise.timeseries.row_windows import CHANNELS

__all__ = ["RowNetwork"]

_VARIANCE_FLOOR = 1e-5  # of a window whose rows are all the same, in units of the series' variance


class RowNetwork(nn.Module):
    """Windows of rows (B, K+1, 4+F), as `row_windows` makes them, to forecasts (B, H)."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(1 + config.features, config.d_model)
        self.question = nn.Parameter(torch.zeros(config.d_model))
        self.stack = Stack(config.blocks)
        self.head = nn.Linear(config.d_model, config.horizon)
        self.highway = nn.Linear(config.lookback, config.horizon, bias=False)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.highway.weight, 1 / config.lookback)

    def forward(self, x: Tensor) -> Tensor:
        elapsed, here = x[..., 1], x[..., 2]
        value, mean, scale = _standardised(x[:, :-1, 0], here[:, :-1])
        value = nn.functional.pad(value, (0, 1))
        tokens = self.embed(torch.cat([value[..., None], x[..., CHANNELS:]], dim=-1))
        tokens = torch.cat([tokens[:, :-1], tokens[:, -1:] + self.question], dim=1)
        # zeros stand in front of the first row: the state begins with it
        begins = here > nn.functional.pad(here[:, :-1], (1, 0))
        z, _ = self.stack(tokens, None, begins, None, elapsed)
        grid = (x[:, :-1, 3] - mean) / scale
        return (self.head(z[:, -1]) + self.highway(grid)) * scale + mean


def _standardised(value: Tensor, here: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (B, K) in units of their own window, zero where there is none, and these units (B, 1)."""
    count = here.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (value * here).sum(dim=1, keepdim=True) / count
    off = (value - mean) * here
    scale = torch.sqrt(off.square().sum(dim=1, keepdim=True) / count + _VARIANCE_FLOOR)
    return off / scale, mean, scale
