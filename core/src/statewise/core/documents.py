"""JSON that any reader accepts: no NaN, no Infinity, plain values only, keys in the order they were given."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

__all__ = ["dumps", "plain"]


def plain(value: Any) -> Any:
    """`value` in terms of dict, list, str, int, finite float, bool and None.

    NaN and the infinities become None. Dataclasses become dicts, sets sorted lists, paths and dates strings;
    whatever offers `tolist` (numpy scalars and arrays, tensors) is taken by its plain values.

    Raises:
        TypeError: for anything else; it names the type.
    """
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return _from_object(value)


def dumps(value: Any, *, indent: int | None = 2) -> str:
    """The JSON text of `value`, pure ASCII, so that no console encoding can damage it."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def _from_object(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
