"""Forecasts as rows, CSV and JSON: one line per series and step, with the bounds of every interval."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from statewise.timeseries.frequency import MICROSECONDS, Frequency
from statewise.timeseries.portfolio import Forecast

__all__ = ["ForecastTable", "stamp_texts"]

_DIGITS = 6  # significant ones of the largest number of a series: what lies below is noise in any forecast


@dataclass(frozen=True, kw_only=True)
class ForecastTable:
    """What lies ahead of every series."""

    forecasts: tuple[Forecast, ...]
    levels: tuple[float, ...]
    """Nominal coverages of the intervals, ascending."""
    frequency: Frequency
    zone: str | None = None
    """Time zone of the stamps."""

    @property
    def columns(self) -> list[str]:
        """`unique_id, ds, forecast, lo_80, hi_80, lo_95, hi_95`."""
        bounds = [f"{side}_{level * 100:g}" for level in self.levels for side in ("lo", "hi")]
        return ["unique_id", "ds", "forecast", *bounds]

    def rows(self) -> Iterator[list[Any]]:
        """One row per series and step, in the order of `columns`."""
        for one in self.forecasts:
            digits = _decimals(one)
            bounds = np.stack([one.lower, one.upper], axis=1).reshape(-1, len(one.point))
            numbers = np.round(np.vstack([one.point, bounds]), digits).T.tolist()
            for stamp, values in zip(stamp_texts(one.times, self.frequency, self.zone), numbers, strict=True):
                yield [one.series, stamp, *values]

    def csv(self) -> str:
        """The whole table as CSV text."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows())
        return text.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `{"columns": [...], "rows": [[...], ...]}`."""
        return {"columns": self.columns, "rows": list(self.rows())}


def stamp_texts(times: np.ndarray, frequency: Frequency, zone: str | None = None) -> list[str]:
    """Stamps as text: whole days as `2024-01-31`, others as `2024-01-31 13:00:00`, plain steps as numbers.

    With a zone the offset that holds then is added: `2024-01-31 13:00:00+01:00`.
    """
    if frequency.unit == "step":
        return [str(int(time)) for time in times]
    days = times.astype("datetime64[D]")
    if (days == times).all() and frequency.microseconds >= MICROSECONDS["day"]:
        return [str(day) for day in days]
    unit = "s" if (times.astype("datetime64[s]") == times).all() else "us"
    texts = [text.replace("T", " ") for text in np.datetime_as_string(times, unit=unit)]
    return texts if zone is None else [text + _offset(text, zone) for text in texts]


def _offset(text: str, zone: str) -> str:
    """The offset from UTC that holds at a wall-clock time: `+01:00`."""
    if zone.startswith(("+", "-")):
        return zone
    offset = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).strftime("%z")
    return f"{offset[:3]}:{offset[3:5]}"


def _decimals(one: Forecast) -> int:
    """Decimals that show `_DIGITS` significant digits of the largest number of a forecast."""
    largest = max(float(np.abs(one.lower).max()), float(np.abs(one.upper).max()), 1e-300)
    return int(np.clip(_DIGITS - 1 - np.floor(np.log10(largest)), 0, 12))
