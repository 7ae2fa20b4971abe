"""Words for the columns of a time, an id and a target. They are hints: the content decides."""

from __future__ import annotations

import re

__all__ = [
    "CALENDAR", "CLOCK_NAMES", "COUNTER_NAMES", "ID_NAMES", "ID_WORDS", "PARTS", "STEP_NAMES", "TARGET_NAMES",
    "TARGET_WORDS", "TIME_NAMES", "TIME_WORDS", "YEAR_WORDS", "says_excel", "words_of",
]  # fmt: skip

TIME_NAMES = frozenset({
    "ds", "date", "datetime", "timestamp", "time", "date_time", "time_stamp", "datum", "zeit",
    "zeitstempel", "fecha", "jour", "horodatage",
})  # fmt: skip
"""Whole names of a time column."""
TIME_WORDS = TIME_NAMES | frozenset({
    "dates", "times", "timestamps", "dt", "day", "month", "week", "quarter", "year", "yr", "period",
    "epoch", "unix", "yyyymm", "yyyymmdd", "utc", "excel", "serial",
})  # fmt: skip
"""Words in the name of a time column."""
YEAR_WORDS = frozenset({
    "year", "years", "yr", "date", "ds", "time", "period", "season", "jahr", "anno", "annee",
})  # fmt: skip
"""Words in the name of a column of years."""
STEP_NAMES = frozenset({"ds", "t", "time", "step", "timestep", "time_step", "tick", "index", "idx", "period"})
"""Whole names of a column that counts steps or elapsed time."""
CLOCK_NAMES = frozenset({"time", "hour", "hours", "hh", "clock", "time_of_day", "uhrzeit", "hora", "heure"})
"""Whole names of a time of day beside a date."""
PARTS = {
    "y": frozenset({"year", "yr", "yyyy", "jahr", "annee", "ano", "anno"}),
    "q": frozenset({"quarter", "qtr", "q", "quartal", "trimestre"}),
    "m": frozenset({"month", "mon", "mo", "mm", "monat", "mois", "mes", "mese"}),
    "d": frozenset({"day", "dd", "dom", "mday", "day_of_month", "tag", "dia", "giorno"}),
    "H": frozenset({"hour", "hr", "hh", "stunde", "heure", "hora"}),
    "M": frozenset({"minute", "min", "minutes"}),
}
"""Whole names of the parts of a date in columns of their own."""
ID_NAMES = frozenset({
    "unique_id", "series_id", "id", "item_id", "sensor_id", "station_id", "store_id", "meter_id",
    "ts_id", "tsid", "series",
})  # fmt: skip
"""Whole names of an id column."""
ID_WORDS = ID_NAMES | frozenset({
    "uid", "item", "store", "shop", "sku", "product", "sensor", "station", "site", "meter",
    "device", "customer", "client", "region", "country", "state", "city", "location", "category",
    "name", "symbol", "ticker", "group", "code", "department", "dept", "family", "branch", "key",
    "entity", "currency",
})  # fmt: skip
"""Words in the name of an id column."""
TARGET_NAMES = ("y", "target", "value", "values")
"""Whole names of the column to forecast in a long file, the first that is there."""
TARGET_WORDS = frozenset({"sales", "demand", "quantity", "qty", "volume", "count", "load", "consumption"})
"""Words in the name of the column to forecast in a long file."""
COUNTER_NAMES = frozenset({"index", "row", "rownum", "no", "nr", "id", "obs"})
"""Names of a column that only numbers the rows."""
CALENDAR = {
    "year": "year", "yr": "year", "month": "month", "mon": "month", "day": "day", "hour": "hour",
    "hr": "hour", "minute": "minute", "quarter": "quarter", "qtr": "quarter", "weekday": "weekday",
    "dow": "weekday", "dayofweek": "weekday", "dayofyear": "yearday", "doy": "yearday", "yearday": "yearday",
}  # fmt: skip
"""Names of columns that repeat what the time column says, and the part of it."""


def words_of(name: str) -> list[str]:
    """The words in a column's name, in lower case: `orderDate` and `order_date` are `order`, `date`."""
    return re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def says_excel(name: str) -> bool:
    """Whether a column's name says that it holds a spreadsheet's day numbers."""
    words = set(words_of(name))
    return "excel" in words or ("serial" in words and bool(words & {"date", "day", "time"}))
