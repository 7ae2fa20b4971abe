"""What the reader hands to the models: regular series that share one frequency.

Letters: S series, L length (time), F known-future steps, C covariates, H horizon, O forecast origins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from statewise.timeseries.frequency import Frequency
from statewise.timeseries.readings import Readings

__all__ = ["Panel", "Series"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One regularly spaced series."""

    id: str
    """Its name: the column of a wide file, the value of the id column of a long one."""
    times: np.ndarray
    """Stamps, (L,), ascending, regular: datetime64[us] on the wall clock of `Panel.zone`, or int64 steps."""
    values: np.ndarray
    """Observations, (L,) float64; NaN where one is missing."""
    covariates: np.ndarray | None = None
    """Covariates over the history and F known-future steps, (L+F, C) float64; None when there are none."""
    readings: Readings | None = None
    """The rows that `values` are means of, where they came at irregular times; None elsewhere."""

    def __len__(self) -> int:
        return len(self.values)

    def head(self, length: int) -> Series:
        """The first `length` steps; later covariates stay, since they count as known."""
        readings = None if self.readings is None else self.readings.before(length)
        return replace(self, times=self.times[:length], values=self.values[:length], readings=readings)

    def rows(self) -> Readings:
        """What was observed and when; on a regular grid at the beginning of each step."""
        return Readings.of_grid(self.values) if self.readings is None else self.readings


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Series with one frequency, in the order of the file."""

    series: tuple[Series, ...]
    frequency: Frequency
    zone: str | None = None
    """Name of the time zone of the stamps; None for stamps without one."""
    covariate_names: tuple[str, ...] = ()
    unknown_ahead: tuple[str, ...] = ()
    """Those of them that nothing may read beyond an origin: they end with the history, or never change."""
    id_name: str = "unique_id"
    """Header of the id column in the file, if it had one."""
    time_name: str = "ds"
    """Header of the time column in the file, if it had one."""
    fingerprint: str = ""
    """First 16 hex digits of the sha256 of ids, times and values: names the data in reports."""
    sources: tuple[str, ...] = field(default=())
    """The files read."""

    def __len__(self) -> int:
        return len(self.series)

    @property
    def known_ahead(self) -> np.ndarray:
        """Which covariates are known ahead, (C,) bool."""
        return np.array([name not in self.unknown_ahead for name in self.covariate_names], dtype=bool)

    @property
    def irregular(self) -> bool:
        """Whether rows came at irregular times."""
        return any(series.readings is not None for series in self.series)

    @property
    def ids(self) -> list[str]:
        return [series.id for series in self.series]

    def head(self, lengths: Sequence[int]) -> Panel:
        """Each series cut to its first `lengths[s]` steps."""
        return replace(self, series=tuple(s.head(n) for s, n in zip(self.series, lengths, strict=True)))

    def select(self, ids: Sequence[str]) -> Panel:
        """Only the named series, in the given order."""
        by_id = {series.id: series for series in self.series}
        return replace(self, series=tuple(by_id[name] for name in ids))
