"""Series on one clock, and the windows in which all of them are seen together.

Where a series has not begun or has ended, it has no observation: the past fills it (`fill_missing`), and
nothing counts that it is said to do there.

Letters: N steps of the common clock, V series (variates), L lookback, H horizon, C inputs per step and
series, B windows of a batch.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from statewise.timeseries.history import first_observed
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.windows import Batch

__all__ = ["Aligned", "JointWindows", "aligned"]


class Aligned:
    """A panel on one clock.

    Args:
        panel: at least one series.
    """

    def __init__(self, panel: Panel) -> None:
        first = min(series.times[0] for series in panel.series)
        index_of = panel.frequency.index_of
        self.offsets = [int(index_of(series.times[:1], first)[0]) for series in panel.series]
        """Step of the clock at which each series begins."""
        self.length = max(offset + len(one) for offset, one in zip(self.offsets, panel.series, strict=True))
        """N"""
        times = panel.frequency.range(first, self.length)
        self.series = tuple(
            self._stretched(series, offset, times)
            for series, offset in zip(panel.series, self.offsets, strict=True)
        )
        """All of them over the whole clock, NaN where there is nothing."""

    def _stretched(self, series: Series, offset: int, times: np.ndarray) -> Series:
        values = np.full(self.length, np.nan)
        values[offset : offset + len(series)] = series.values
        covariates = series.covariates
        if covariates is not None:
            # those of the first step stand for what was before it, those of the last for what comes after
            steps = np.clip(np.arange(self.length) - offset, 0, len(covariates) - 1)
            ahead = np.arange(self.length - offset, len(covariates))
            covariates = covariates[np.concatenate([steps, ahead])]
        return replace(series, times=times, values=values, covariates=covariates)


def aligned(panel: Panel, ids: list[str]) -> Aligned:
    """The named series on one clock, in that order."""
    return Aligned(panel.select(ids))


class JointWindows:
    """The windows of series that are seen together.

    Args:
        clock: the series.
        inputs: how they are seen; all of them were in its fit.
        pad: how many steps before the first one a window may start.
    """

    def __init__(self, clock: Aligned, inputs: Inputs, pad: int) -> None:
        self.lookback, self.horizon, self.pad = inputs.lookback, inputs.horizon, pad
        shape = (pad + clock.length, len(clock.series), 1 + inputs.features)
        rows, observed = np.empty(shape, np.float32), np.zeros(shape[:2], np.float32)
        self.firsts = np.array([first_observed(series.values) for series in clock.series])
        for v, series in enumerate(clock.series):
            values = inputs.scaled(inputs.values(series), *inputs.scales[series.id])
            rows[:, v, 0] = np.concatenate([np.full(pad, values[0]), values])
            rows[:, v, 1:] = inputs.features_of(series, pad)
            observed[pad:, v] = np.isfinite(series.values)
        self.steps = inputs.lookback * len(clock.series)
        """Steps that a window holds, all series counted."""
        self.observed = observed
        width = shape[1] * shape[2]
        self._shape = shape[1:]
        self._x = torch.from_numpy(rows.reshape(-1)).unfold(0, inputs.lookback * width, width)
        self._y = torch.from_numpy(rows[:, :, 0] * observed).unfold(0, self.horizon, 1)
        whole = bool(observed[pad:].all())
        self._weight = None if whole else torch.from_numpy(observed).unfold(0, self.horizon, 1)

    def starts(self, first: int, last: int) -> Tensor:
        """The windows with origins `first` to `last`, both included, after which something was observed."""
        origins = self.pad + np.arange(first, last + 1)
        seen = np.concatenate([[0], np.cumsum(self.observed.any(axis=1))])
        follows = seen[origins + self.horizon] > seen[origins]
        return torch.from_numpy(origins[follows] - self.lookback)

    def inputs_at(self, origins: np.ndarray) -> Tensor:
        """What is seen at steps `origins` of the clock, (B, L, V, C).

        A series without an observation by then holds zeros: its first value lies ahead.
        """
        starts = torch.from_numpy(self.pad + origins - self.lookback)
        x = self._x.index_select(0, starts).view(len(starts), self.lookback, *self._shape)
        begun = torch.from_numpy(origins[:, None] > self.firsts)
        if not bool(begun.all()):
            x[..., 0] *= begun[:, None]
        return x

    def gather(self, starts: Tensor) -> Batch:
        """The windows that start at the rows `starts`, (B,) int64: x (B, L, V, C), y and weight (B, V, H)."""
        x = self.inputs_at(starts.numpy() + self.lookback - self.pad)
        targets = starts + self.lookback
        weight = None if self._weight is None else self._weight.index_select(0, targets)
        return Batch(x, self._y.index_select(0, targets), weight)
