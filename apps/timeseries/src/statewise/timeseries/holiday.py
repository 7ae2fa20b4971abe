"""Public holidays of a country as a covariate that is known ahead without being in the file.

Within a day every step of a holiday has a 1; a longer step has the number of holidays in it. The dates come
from the package `holidays`.

Letters: L steps of a series, F steps ahead, C covariates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from statewise.core.errors import ConfigError, suggestion
from statewise.core.tables.table import Note
from statewise.timeseries.frequency import MICROSECONDS, Frequency
from statewise.timeseries.panel import Panel, Series

__all__ = ["NAME", "holiday_counts", "holiday_note", "with_holidays"]

NAME = "holiday"
"""Of the covariate."""
_AHEAD = 1_000, 60  # steps ahead at least, up to weeks and beyond: new rows may be few, the horizon is not
_YEARS = 500  # of a file, at most


def with_holidays(panel: Panel, code: str) -> Panel:
    """The panel with one more covariate.

    Where covariates are known ahead already, it reaches as far ahead as they do; else as far as the longest
    series is long, which is the longest horizon there can be, and further where that is short.

    Args:
        panel: with stamps.
        code: a country such as `DE`, or a part of one such as `US-CA`.

    Raises:
        ConfigError: there is no such country or part, or the rows have no dates.
    """
    if panel.frequency.unit == "step":
        raise ConfigError(
            "the rows have no dates to look holidays up for",
            where="--holidays",
            fix="leave --holidays out, or name a column of dates with --time",
        )
    short = panel.frequency.microseconds <= MICROSECONDS["week"]
    longest = max(_AHEAD[0 if short else 1], *(len(series) for series in panel.series))
    ahead = bool(panel.known_ahead.any())
    return replace(
        panel,
        series=tuple(
            _extended(series, panel.frequency, code, longest, ahead=ahead) for series in panel.series
        ),
        covariate_names=(*panel.covariate_names, NAME),
    )


def holiday_note(panel: Panel, code: str) -> Note:
    """How many there are, for the user to check."""
    longest = max(panel.series, key=len)
    assert longest.covariates is not None
    count = int(longest.covariates[: len(longest), -1].astype(bool).sum())
    unit = "steps" if panel.frequency.unit != "day" else "days"
    return Note(
        "holidays", f"{count:,} {unit} with a public holiday of {code.upper()} in the history (--holidays)"
    )


def _extended(series: Series, frequency: Frequency, code: str, longest: int, *, ahead: bool) -> Series:
    known = series.covariates
    length = len(known) if known is not None and ahead else len(series) + longest
    times = frequency.range(series.times[0], length)
    column = holiday_counts(times, frequency, code)[:, None]
    if known is None:
        return replace(series, covariates=column)
    # those that end with the history are not read beyond it: the last value stands there
    known = np.pad(known, ((0, length - len(known)), (0, 0)), mode="edge")
    return replace(series, covariates=np.concatenate([known, column], axis=1))


def holiday_counts(times: np.ndarray, frequency: Frequency, code: str) -> np.ndarray:
    """Holidays in each step, (n,) float64.

    Args:
        times: stamps, (n,) datetime64, regular.
        frequency: of them.
        code: a country or a part of one.
    """
    ends = frequency.future(times[-1], 1)
    first, last = times[0].astype("datetime64[D]"), ends[0].astype("datetime64[D]")
    dates = _dates(code, first, last)
    if frequency.microseconds <= MICROSECONDS["day"] or frequency.unit == "business-day":
        return np.isin(times.astype("datetime64[D]"), dates).astype(np.float64)
    edges = np.concatenate([times, ends]).astype("datetime64[D]")
    return np.diff(np.searchsorted(dates, edges)).astype(np.float64)


def _dates(code: str, first: np.datetime64, last: np.datetime64) -> np.ndarray:
    """The holidays from `first` to `last`, sorted, datetime64[D]."""
    import holidays

    years = [int(str(day)[:4]) for day in (first.astype("datetime64[Y]"), last.astype("datetime64[Y]"))]
    if years[1] - years[0] > _YEARS:
        raise ConfigError("the file spans too many years to look holidays up", where="--holidays")
    country, _, part = code.upper().partition("-")
    known = holidays.list_supported_countries()
    if country not in known:
        raise ConfigError(
            f"there are no holidays for '{code}'",
            where="--holidays",
            expected="a code such as DE, FR, GB, US or US-CA",
            fix=suggestion(country, known) or "leave --holidays out",
        )
    if part and part not in known[country]:
        raise ConfigError(
            f"{country} has no part '{part}'",
            where="--holidays",
            expected=f"one of {', '.join(known[country]) or 'none'}",
            fix=f"give {country}",
        )
    found = holidays.country_holidays(country, subdiv=part or None, years=range(years[0], years[1] + 1))
    return np.array(sorted(found), dtype="datetime64[D]")
