"""NLinear in closed form.

Zeng, Chen, Zhang & Xu, "Are Transformers Effective for Time Series Forecasting?", AAAI 2023: subtract the
last value of the window, apply one linear map over time, add it back. The paper trains the map with Adam;
here it is the exact minimum of the same squared error plus a ridge penalty, so there is neither a learning
rate nor a seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statewise.timeseries.models.linear import LinearConfig, WindowLinear

__all__ = ["NLinear", "NLinearConfig"]


@dataclass(frozen=True, kw_only=True)
class NLinearConfig(LinearConfig):
    """Settings of NLinear."""


class NLinear(WindowLinear):
    """f = x_L + W (x - x_L) + b, the same map for every series."""

    anchored = True

    def __init__(self, config: NLinearConfig) -> None:
        super().__init__(config)

    def features(self, lookback: int) -> np.ndarray:
        # the last value less itself is always 0, so there are L-1 features
        return np.concatenate((np.eye(lookback - 1), -np.ones((lookback - 1, 1))), axis=1)
