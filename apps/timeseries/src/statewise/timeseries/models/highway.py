"""The linear way past a network: a map of the window that starts at the ridge solution.

    y = A x' + network(x')

Lai et al., "Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks", SIGIR 2018, have an
autoregression beside their network. Here A starts where NLinear in closed form ends (Zeng et al., 2023), and
the network, whose last layer starts at zero, at nothing: the fit begins with the best linear forecast.

Letters: S series, L lookback, H horizon.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from statewise.timeseries.inputs import Inputs
from statewise.timeseries.models.window_fit import Rows, WindowMap, choose, fit_map
from statewise.timeseries.panel import Panel, Series

__all__ = ["ridge_highway"]


def ridge_highway(highway: nn.Linear, panel: Panel, inputs: Inputs, stops: Sequence[int]) -> None:
    """Set the weights (H, L) of a map without bias to NLinear's on the rows before `stops`.

    Each row sums to one: the map follows level and scale, whatever a window is standardised by.

    Args:
        highway: a map from the whole lookback or from its last steps.
        panel: the series.
        inputs: their scales.
        stops: per series, where training targets end.
    """
    lookback = highway.in_features
    rows = [_rows(series, inputs, stop) for series, stop in zip(panel.series, stops, strict=True) if stop > 0]
    form = WindowMap(horizon=highway.out_features, anchored=True, features=_less_last)
    choice = choose(rows, form, [lookback]) if lookback > 1 else None
    weights = np.zeros((lookback, highway.out_features))
    if choice is not None:
        weights, _ = fit_map(rows, form, choice)
    weights = weights.copy()
    weights[-1] += 1 - weights.sum(axis=0)
    with torch.no_grad():
        highway.weight.copy_(torch.from_numpy(weights.T))


def _rows(series: Series, inputs: Inputs, stop: int) -> Rows:
    head = series.head(stop)
    values = inputs.scaled(inputs.values(head), *inputs.scales[series.id]).astype(np.float64)
    return Rows(values=values, observed=np.isfinite(head.values))


def _less_last(lookback: int) -> np.ndarray:
    """The values of a window less its last one, (L-1, L)."""
    return np.concatenate((np.eye(lookback - 1), -np.ones((lookback - 1, 1))), axis=1)
