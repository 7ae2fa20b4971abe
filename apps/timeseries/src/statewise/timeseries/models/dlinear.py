"""DLinear in closed form.

Zeng, Chen, Zhang & Xu, "Are Transformers Effective for Time Series Forecasting?", AAAI 2023: a moving
average T x of the window is its trend, x - T x its season; each has a linear map, and the forecasts add up,

    f = W_s (x - T x) + W_t T x + b.

The sum is linear in x, so that the two maps are one, W = W_s (I - T) + W_t T, and its ridge penalty is the
least |W_s|² + |W_t|² that gives W: tr(W C^-1 W') with C = (I - T)'(I - T) + T'T. Features z = C^(1/2) x
with a plain penalty are the same thing, and the exact minimum takes the place of the paper's training with
Adam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statewise.core.config import require
from statewise.timeseries.models.linear import LinearConfig, WindowLinear

__all__ = ["DLinear", "DLinearConfig", "moving_average"]


@dataclass(frozen=True, kw_only=True)
class DLinearConfig(LinearConfig):
    """Settings of DLinear."""

    kernel: int = 25
    """Steps of the moving average, an odd number so that it is centred."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.kernel >= 1 and self.kernel % 2 == 1, "kernel", self.kernel, "an odd number from 1 on")


class DLinear(WindowLinear):
    """Linear maps of trend and season; its level is the mean of the series in the fit."""

    anchored = False

    def __init__(self, config: DLinearConfig) -> None:
        super().__init__(config)
        self.kernel = config.kernel

    def features(self, lookback: int) -> np.ndarray:
        trend = moving_average(lookback, self.kernel)
        season = np.eye(lookback) - trend
        variances, basis = np.linalg.eigh(season.T @ season + trend.T @ trend)
        return np.sqrt(variances)[:, None] * basis.T


def moving_average(length: int, kernel: int) -> np.ndarray:
    """T, (L, L): the centred mean of `kernel` steps, the ends of the window repeated beyond it."""
    reach = kernel // 2
    taps = np.clip(np.arange(length)[:, None] + np.arange(-reach, reach + 1), 0, length - 1)
    average = np.zeros((length, length))
    np.add.at(average, (np.arange(length)[:, None], taps), 1 / kernel)
    return average
