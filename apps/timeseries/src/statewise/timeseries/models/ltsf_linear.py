"""The plain linear map of a window, in closed form.

Zeng, Chen, Zhang and Xu, "Are Transformers Effective for Time Series Forecasting?", AAAI 2023: f = W x + b,
shared by all series. It knows the level of a series from the fit alone; where levels drift, `nlinear` is the
better one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statewise.timeseries.models.linear import LinearConfig, WindowLinear

__all__ = ["Linear", "PlainLinearConfig"]


@dataclass(frozen=True, kw_only=True)
class PlainLinearConfig(LinearConfig):
    """Settings of the plain linear map."""


class Linear(WindowLinear):
    """f = W x + b, the same map for every series."""

    anchored = False

    def __init__(self, config: PlainLinearConfig) -> None:
        super().__init__(config)

    def features(self, lookback: int) -> np.ndarray:
        return np.eye(lookback)
