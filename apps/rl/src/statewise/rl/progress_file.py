"""The checkpoint of a run in an environment: one file, the one before kept until the new one is whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from statewise.core.errors import CheckpointError
from statewise.core.train.tensors import read_tensors, write_tensors

__all__ = ["read_progress", "write_progress"]

CURRENT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"

logger = logging.getLogger("statewise")


def write_progress(directory: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Replace the checkpoint of a run directory; the one before is kept beside it."""
    write_tensors(directory / CURRENT, tensors, note, keep=directory / PREVIOUS)


def read_progress(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint of a run directory; None when the run has none yet.

    Raises:
        CheckpointError: there is one, but neither it nor the one before can be read.
    """
    there = [path for name in (CURRENT, PREVIOUS) if (path := directory / name).exists()]
    for path in there[:-1]:
        try:
            return read_tensors(path)
        except CheckpointError as error:
            first = error.render().splitlines()[0]
            logger.warning("%s; the run goes on from the checkpoint before it", first)
    return read_tensors(there[-1]) if there else None
