"""The version of everything that training writes."""

from __future__ import annotations

from pathlib import Path

from statewise.core.errors import CheckpointError

__all__ = ["FORMAT", "refuse_newer"]

FORMAT = 1
"""Raised when an older statewise could no longer read what is written."""


def refuse_newer(path: Path, seen: int) -> None:
    """Raise when a file was written in a later format than this program knows."""
    if seen > FORMAT:
        raise CheckpointError(
            "was written by a newer statewise",
            where=str(path),
            seen=f"format {seen}",
            expected=f"format {FORMAT} or older",
            fix="pip install --upgrade statewise",
        )
