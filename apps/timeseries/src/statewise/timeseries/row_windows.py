"""Windows of rows that came at irregular times: the last rows before an origin, each with its step size.

    x (B, K+1, 4+F)    value, time since the row before over the median, presence of a row, grid, features

The last token is the question: it holds no value, and the time from the last row to the origin. A window
that is not full has zeros in front. Beside the K rows stand, as `grid`, the K steps before the origin without
gaps, as methods on the grid see them. What is to be forecast lies on the grid too.

Letters: K rows of a window, H horizon, F features, B windows of a batch, P places: all steps of all series
and one after each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from statewise.timeseries.history import first_observed
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.windows import Batch, Block

__all__ = ["CHANNELS", "RowWindows", "reach", "row_blocks"]

CHANNELS = 4
"""Inputs of a token in front of the features: value, elapsed time, presence, grid."""
_REACH = 4.0  # times the span of K rows at the median distance, behind which rows are not read


def reach(inputs: Inputs) -> int:
    """Steps before an origin within which rows are read."""
    return int(np.ceil(_REACH * inputs.lookback * (inputs.gap or 1.0)))


class RowWindows:
    """The windows of a panel.

    Args:
        panel: the series.
        inputs: how they are seen; its `lookback` is K, its `gap` the median time between rows.
    """

    def __init__(self, panel: Panel, inputs: Inputs) -> None:
        self.inputs, self.lookback, self.horizon = inputs, inputs.lookback, inputs.horizon
        gap = inputs.gap or 1.0
        rows = [series.rows() for series in panel.series]
        counts = np.cumsum([0] + [len(one.times) for one in rows])
        self._offsets = np.cumsum([0] + [len(series) + 1 for series in panel.series])
        parts = [
            _places(len(series), one.times, reach(inputs), self.lookback, gap)
            for series, one in zip(panel.series, rows, strict=True)
        ]
        self._begin = np.concatenate([begin + n for (begin, _, _), n in zip(parts, counts[:-1], strict=True)])
        self._stop = np.concatenate([stop + n for (_, stop, _), n in zip(parts, counts[:-1], strict=True)])
        self._since = np.concatenate([since for _, _, since in parts])
        self._values = np.concatenate([one.values for one in rows])
        self._elapsed = (
            np.concatenate([np.diff(one.times, prepend=one.times[:1] - gap) for one in rows]) / gap
        )
        self._firsts = np.repeat(self._offsets[:-1], np.diff(self._offsets))
        filled = [inputs.values(series) for series in panel.series]
        self._grid = np.concatenate([np.append(one, 0.0) for one in filled])
        features = [inputs.features_of(series, 0) for series in panel.series]
        own = [part[one.times.astype(int)] for part, one in zip(features, rows, strict=True)]
        self._features = np.concatenate(own)
        # the question sees what is known at the step before its origin
        self._asked = np.concatenate([np.concatenate([part[:1], part]) for part in features])
        known = [inputs.scales.get(series.id, (np.nan, np.nan)) for series in panel.series]
        self._units = np.repeat(np.array(known), [len(series) + 1 for series in panel.series], axis=0)
        self._targets(panel, inputs)

    @property
    def steps(self) -> int:
        """Tokens that a window holds."""
        return self.lookback + 1

    def rows_before(self, series: int, origin: int) -> int:
        """How many rows a window with this origin holds."""
        place = self._offsets[series] + origin
        return int(self._stop[place] - self._begin[place])

    def starts(self, series: int, first: int, last: int, least: int = 1) -> Tensor:
        """The places of the origins `first` to `last` of a series, both included, (n,) int64.

        Those with fewer than `least` rows in their window, or after which nothing was observed, are left out.
        """
        places = self._offsets[series] + np.arange(first, last + 1)
        follows = self._seen[places + self.horizon] > self._seen[places]
        enough = self._stop[places] - self._begin[places] >= least
        return torch.from_numpy(places[follows & enough])

    def gather(self, starts: Tensor) -> Batch:
        """The windows whose origins are at the places `starts`, (B,) int64 on the CPU."""
        x, _, _ = self.inputs_at(starts.numpy())
        weight = None if self._weight is None else self._weight.index_select(0, starts)
        return Batch(torch.from_numpy(x), self._y.index_select(0, starts), weight)

    def inputs_at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is seen from the origins at `places` (B,): x, and the mean and scale (B, 1) of its values."""
        begin, stop = self._begin[places], self._stop[places]
        index = stop[:, None] + np.arange(-self.lookback, 0)
        here = index >= begin[:, None]
        index = np.maximum(index, 0)
        x = np.zeros((len(places), self.steps, CHANNELS + self._features.shape[1]), dtype=np.float32)
        values = np.where(here, self._values[index], 0.0) if len(self._values) else np.zeros(here.shape)
        mean, scale = self._units_of(places, values, here)
        x[:, :-1, 0] = np.where(here, self.inputs.scaled(values, mean, scale), 0.0)
        if len(self._values):
            # the first row of a window has none before it: its step counts as an ordinary one
            elapsed = np.where(index == begin[:, None], 1.0, self._elapsed[index])
            x[:, :-1, 1] = np.where(here, elapsed, 0.0)
            x[:, :-1, CHANNELS:] = np.where(here[..., None], self._features[index], 0.0)
        x[:, :-1, 2] = here
        steps = np.maximum(places[:, None] + np.arange(-self.lookback, 0), self._firsts[places][:, None])
        x[:, :-1, 3] = self.inputs.scaled(self._grid[steps], mean, scale)
        x[:, -1, 1], x[:, -1, 2], x[:, -1, CHANNELS:] = self._since[places], 1.0, self._asked[places]
        return x, mean, scale

    def _units_of(
        self, places: np.ndarray, values: np.ndarray, here: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale (B, 1): of the series' training rows, of the window for one that had none."""
        mean, scale = self._units[places].T[..., None]
        unknown = np.isnan(mean[:, 0])
        if unknown.any():
            rows, some = values[unknown], here[unknown]
            count = np.maximum(some.sum(axis=1, keepdims=True), 1)
            mean[unknown] = rows.sum(axis=1, keepdims=True) / count
            spread = np.sqrt((np.where(some, rows - mean[unknown], 0.0) ** 2).sum(1, keepdims=True) / count)
            scale[unknown] = np.where(spread <= 1e-9 * abs(mean[unknown]), 1.0, spread)
        return mean, scale

    def _targets(self, panel: Panel, inputs: Inputs) -> None:
        """What follows each place on the grid, in units of the network."""
        total = int(self._offsets[-1])
        y, observed = np.zeros(total + self.horizon, np.float32), np.zeros(total + self.horizon, np.float32)
        for series, first in zip(panel.series, self._offsets[:-1], strict=True):
            mean, scale = inputs.scales.get(series.id, (0.0, 1.0))
            seen = np.isfinite(series.values)
            y[first : first + len(series)] = inputs.scaled(np.where(seen, series.values, mean), mean, scale)
            observed[first : first + len(series)] = seen
        self._seen = np.concatenate([[0], np.cumsum(observed, dtype=np.int64)])
        self._y = torch.from_numpy(y * observed).unfold(0, self.horizon, 1)
        whole = all(np.isfinite(series.values).all() for series in panel.series)
        self._weight = None if whole else torch.from_numpy(observed).unfold(0, self.horizon, 1)


def row_blocks(panel: Panel, inputs: Inputs, origins: Sequence[np.ndarray], most: int) -> Iterator[Block]:
    """The windows before all origins, in blocks of at most `most` windows of one series."""
    for s, (series, at) in enumerate(zip(panel.series, origins, strict=True)):
        if not len(at):
            continue
        windows = RowWindows(_alone(panel, series.head(int(at.max()))), inputs)
        for begin in range(0, len(at), most):
            rows = slice(begin, begin + most)
            x, mean, scale = windows.inputs_at(at[rows])
            # before the first observation a window holds nothing, and forecasts are the mean
            x[at[rows] <= first_observed(series.values), :-1] = 0.0
            yield Block(s, rows, x, mean, scale)


def _alone(panel: Panel, series: Series) -> Panel:
    return Panel(series=(series,), frequency=panel.frequency)


def _places(
    length: int, times: np.ndarray, steps: int, most: int, gap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each origin 0 .. length: the first and the last row of its window, and the time since the last."""
    origins = np.arange(length + 1)
    stop = np.searchsorted(times, origins)
    begin = np.maximum(stop - most, np.searchsorted(times, origins - steps))
    last = times[np.maximum(stop - 1, 0)] if len(times) else np.zeros(length + 1)
    since = np.where(stop > begin, (origins - last) / gap, 1.0)
    return begin, stop, since
