"""All windows of many series as views of one flat array: gathering a batch copies it once and nothing else.

Series stand one after the other in the array, a window is named by the row it starts at, and the starts given
out never let one reach into its neighbour.

Letters: N rows in all, L lookback, H horizon, C inputs per step, B windows of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from statewise.timeseries.inputs import Inputs
from statewise.timeseries.panel import Panel

__all__ = ["Batch", "Block", "Windows"]


class Batch(NamedTuple):
    """Windows to learn from."""

    x: Tensor
    """What the network sees, (B, L, C): the scaled value first."""
    y: Tensor
    """What follows, (B, H), in the same scale; 0 where nothing was observed."""
    weight: Tensor | None
    """(B, H), 1 where y was observed and 0 elsewhere; None when all of it was."""


class Block(NamedTuple):
    """Windows of one series to forecast from."""

    series: int
    """Its place in the panel."""
    rows: slice
    """Which of its origins."""
    x: np.ndarray
    """(O, L, C) float32."""
    mean: np.ndarray
    """What takes forecasts back to the series' own units, (O, 1)."""
    scale: np.ndarray


class Windows:
    """The windows of a panel.

    Args:
        panel: the series.
        inputs: how they are seen; all of them were in its fit.
        pads: per series, how many steps before its first one a window may start.
    """

    def __init__(self, panel: Panel, inputs: Inputs, pads: Sequence[int]) -> None:
        self.lookback, self.horizon = inputs.lookback, inputs.horizon
        lengths = np.array([pad + len(series) for series, pad in zip(panel.series, pads, strict=True)])
        ends = np.cumsum(lengths)
        self._steps = ends - lengths + np.array(pads)  # row of the first step of each series
        rows = np.empty((int(ends[-1]), 1 + inputs.features), dtype=np.float32)
        observed = np.zeros(len(rows), dtype=np.float32)
        for series, pad, end, length in zip(panel.series, pads, ends, lengths, strict=True):
            mean, scale = inputs.scales[series.id]
            values = inputs.scaled(inputs.values(series), mean, scale)
            rows[end - length : end, 0] = np.concatenate([np.full(pad, values[0]), values])
            rows[end - length : end, 1:] = inputs.features_of(series, pad)
            observed[end - len(series) : end] = np.isfinite(series.values)
        target = torch.from_numpy(rows[:, 0] * observed)
        span = self.lookback * rows.shape[1]
        self._seen = np.concatenate([[0], np.cumsum(observed, dtype=np.int64)])
        self._x = torch.from_numpy(rows.reshape(-1)).unfold(0, span, rows.shape[1])
        self._y = target.unfold(0, self.horizon, 1)
        whole = all(np.isfinite(series.values).all() for series in panel.series)
        self._weight = None if whole else torch.from_numpy(observed).unfold(0, self.horizon, 1)

    @property
    def steps(self) -> int:
        """Steps that a window holds."""
        return self.lookback

    def starts(self, series: int, first: int, last: int) -> Tensor:
        """The windows of one series with origins `first` to `last`, both included, (n,) int64.

        Those after which nothing was observed are left out; there may be none at all.
        """
        origins = self._steps[series] + np.arange(first, last + 1)
        follows = self._seen[origins + self.horizon] > self._seen[origins]
        return torch.from_numpy(origins[follows] - self.lookback)

    def gather(self, starts: Tensor) -> Batch:
        """The windows that start at the rows `starts`, (B,) int64 on the CPU."""
        x = self._x.index_select(0, starts).view(len(starts), self.lookback, -1)
        targets = starts + self.lookback
        weight = None if self._weight is None else self._weight.index_select(0, targets)
        return Batch(x, self._y.index_select(0, targets), weight)
