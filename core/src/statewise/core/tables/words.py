"""How values, names and time stamps are written in notes and messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["named", "ordinal", "shown", "stamp"]


def shown(value: object) -> str:
    """A value on one line, of at most 40 characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:36]}... ({len(text):,} characters)"


def named(names: Sequence[str], most: int = 6) -> str:
    """Names in quotation marks, at most `most` of them."""
    head = ", ".join(f"'{shown(name)}'" for name in names[:most])
    return head if len(names) <= most else f"{head} and {len(names) - most:,} more"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def stamp(time: Any) -> str:
    """A time stamp as short as it can be said: `2016-07-01`, `2016-07-01 05:00`, `17`."""
    if not isinstance(time, np.datetime64):
        return f"{time:g}" if time % 1 else f"{int(time)}"
    if time == time.astype("datetime64[D]"):
        return str(time.astype("datetime64[D]"))
    unit = "s" if time == time.astype("datetime64[s]") else "us"
    text = str(time.astype(f"datetime64[{unit}]")).replace("T", " ")
    return text.removesuffix(":00") if unit == "s" else text
