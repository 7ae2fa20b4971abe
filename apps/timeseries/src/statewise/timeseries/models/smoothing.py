"""Holt-Winters smoothing of a window as a differentiable layer: level, season and what is left.

    l_t     = a (y_t - s_t) + (1 - a) l_{t-1}
    s_{t+m} = g (y_t - l_t) + (1 - g) s_t

Winters, "Forecasting Sales by Exponentially Weighted Moving Averages", 1960, in its additive form without
trend. Within one season the s_t are those of the season before, so that the level is one linear recurrence
over its m steps: a window of R seasons takes R scans and not R m steps.

Letters: B batch, L lookback, m period, H horizon.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from statewise.core.ops import linear_scan

__all__ = ["HoltWinters"]


class HoltWinters(nn.Module):
    """Learns how fast level and season follow the values: a and g, shared by all windows.

    Args:
        period: m; 1 for no season.
    """

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        self.rates = nn.Parameter(torch.tensor([-1.0, -1.0]))
        """Logits of a and g."""

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Smooth windows (B, L).

        Returns:
            The levels (B, L), the season of each step as it was known before it (B, L), and the season of the
            m steps that follow (B, m).
        """
        a, g = torch.sigmoid(self.rates)
        m = self.period
        level, season = self._start(y)
        levels, seasons = [], []
        for block in y.split(m, dim=1):
            now = season[:, : block.shape[1]]
            smooth = self._levels(block - now, level, a)
            levels.append(smooth)
            seasons.append(now)
            level = smooth[:, -1]
            if m > 1:
                updated = now + g * (block - smooth - now)
                season = torch.cat([season[:, block.shape[1] :], updated], dim=1)
        return torch.cat(levels, 1), torch.cat(seasons, 1), season

    def _start(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Level (B,) and season (B, m) before the first step, from the first two seasons."""
        m = min(self.period, y.shape[1])
        level = y[:, :m].mean(dim=1)
        if self.period == 1 or y.shape[1] < self.period:
            return level, y.new_zeros(len(y), self.period)
        whole = y[:, : 2 * m] if y.shape[1] >= 2 * m else y[:, :m]
        rows = whole.unflatten(1, (-1, m))
        return level, (rows - rows.mean(dim=2, keepdim=True)).mean(dim=1)

    @staticmethod
    def _levels(rest: Tensor, before: Tensor, a: Tensor) -> Tensor:
        """l_t = a rest_t + (1 - a) l_{t-1}, (B, m)."""
        writes = (a * rest)[..., None]
        return linear_scan((1 - a)[None], writes, before[:, None])[0][..., 0].to(rest.dtype)

    def ahead(self, season: Tensor, horizon: int) -> Tensor:
        """The season of the H steps that follow, (B, H)."""
        repeats = -(-horizon // season.shape[1])
        return season.repeat(1, repeats)[:, :horizon]
