"""The rows of a series as they came, where they came at irregular times: beside the grid, not in its place.

The grid holds the mean of the rows in each step; methods of continuous time read the rows themselves.

Letters: n rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Readings"]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What was observed, and when."""

    times: np.ndarray
    """When, (n,) float64 ascending, in steps of the grid since the first stamp of the series: a row at 2.7
    lies in the third step."""
    values: np.ndarray
    """What, (n,) float64, none missing."""

    @classmethod
    def of_grid(cls, values: np.ndarray) -> Readings:
        """Those of a grid, (L,) with NaN where nothing was observed: at the beginning of each step."""
        seen = np.flatnonzero(np.isfinite(values))
        return cls(times=seen.astype(np.float64), values=values[seen])

    def before(self, step: int) -> Readings:
        """The rows that lie in earlier steps."""
        count = int(np.searchsorted(self.times, step))
        return Readings(times=self.times[:count], values=self.values[:count])

    def since(self, step: int) -> Readings:
        """The rows of this step and of later ones, counted from it."""
        count = int(np.searchsorted(self.times, step))
        return Readings(times=self.times[count:] - step, values=self.values[count:])

    def moved(self, steps: int) -> Readings:
        """The same for a series that begins so many steps earlier."""
        return replace(self, times=self.times + steps)

    def joined(self, newer: Readings) -> Readings:
        """Both; of rows with the same time the newer one."""
        kept = ~np.isin(self.times, newer.times)
        times = np.concatenate([self.times[kept], newer.times])
        order = np.argsort(times, kind="stable")
        values = np.concatenate([self.values[kept], newer.values])
        return Readings(times=times[order], values=values[order])
