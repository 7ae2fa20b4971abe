"""A lone `-`, which stands for standard input or output.

The parser takes every word that begins with a hyphen for an option, so this one goes through it behind a
character without a shape: a message that quotes the word still reads right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["covered", "uncovered"]

_COVERED = "\N{WORD JOINER}-"


def covered(words: Sequence[str]) -> list[str]:
    """The words of a command line, as the parser may see them."""
    return [_COVERED if word == "-" else word for word in words]


def uncovered(value: Any) -> Any:
    """An argument as the user typed it: text, a path, or a list or tuple of them."""
    if isinstance(value, str):
        return "-" if value == _COVERED else value
    if isinstance(value, Path):
        return Path("-") if str(value) == _COVERED else value
    if type(value) in (list, tuple):
        return type(value)(uncovered(item) for item in value)
    return value
