"""Lengths of time as people type them: `60`, `60s`, `10m`, `1h30m`, `2d`."""

from __future__ import annotations

import math
import re

from statewise.core.errors import UserError

__all__ = ["format_duration", "parse_duration"]

SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_PLAIN = re.compile(rf"{_NUMBER}(?:s|sec)?")
_PARTS = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in SECONDS))


def parse_duration(text: str, *, where: str = "duration") -> float:
    """Seconds from `60`, `60s`, `1.5h`, `10m`, `1h30m`, `2d 6h`.

    Raises:
        UserError: when `text` is none of these, or is not longer than nothing.
    """
    packed = text.strip().lower().replace(" ", "")
    if match := _PLAIN.fullmatch(packed):
        seconds = float(match[1])
    elif packed and (match := _PARTS.fullmatch(packed)):
        pairs = zip(match.groups(), SECONDS.values(), strict=True)
        seconds = sum(float(number) * unit for number, unit in pairs if number)
    else:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise UserError(
            "is not a length of time",
            where=where,
            seen=repr(text),
            expected="seconds, or numbers with d, h, m or s",
            fix="write 90, 90s, 10m, 1h30m or 2d",
        )
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest usual form: `0.4s`, `59s`, `10m`, `1h30m`, `2d6h`; only the two largest units are kept."""
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    left = round(seconds)
    parts: list[str] = []
    for unit, length in SECONDS.items():
        count, left = divmod(left, int(length))
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"
