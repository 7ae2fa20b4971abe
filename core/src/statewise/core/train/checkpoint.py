"""The state of an unfinished run, in one file: after a crash the run goes on as if nothing had happened.

One safetensors file holds the weights, the best weights, the optimiser's moments and, in its header, the
position and the history, so that they can never disagree. The file before it is kept until the new one is
whole, and is what a damaged new one is replaced by. There is no state of random generators: every step seeds
them from (seed, step).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from statewise.core.errors import CheckpointError
from statewise.core.train.result import Row
from statewise.core.train.tensors import read_tensors, write_tensors

__all__ = [
    "Checkpoint",
    "Position",
    "best_weights",
    "read_checkpoint",
    "refuse_changes",
    "write_checkpoint",
]

CURRENT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"

logger = logging.getLogger("statewise")


@dataclass
class Position:
    """How far a run has come: everything but tensors."""

    step: int = 0
    """Optimiser steps done."""
    seconds: float = 0.0
    """Wall time spent."""
    loss_sum: float = 0.0
    """Sum of the training loss over the examples seen since the last evaluation."""
    examples: int = 0
    """Number of those examples."""
    best_value: float | None = None
    """Best monitored metric; None before the first evaluation."""
    waited: int = 0
    """Evaluations since the best one."""
    history: list[Row] = field(default_factory=list)
    """All evaluations."""
    best_row: Row = field(default_factory=dict)
    """The evaluation of the best weights."""


@dataclass
class Checkpoint:
    """All that a run needs to go on."""

    position: Position
    facts: dict[str, Any]
    """What must be the same when the run goes on: plain values by name."""
    weights: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    """The best weights; empty before the first evaluation."""
    moments: Mapping[str, torch.Tensor]
    """The optimiser's state, by `parameter name:key`."""


def write_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a run directory; the one before is kept beside it."""
    tensors = {
        f"{part}/{name}": tensor
        for part in ("weights", "best", "moments")
        for name, tensor in getattr(checkpoint, part).items()
    }
    note = {"position": dataclasses.asdict(checkpoint.position), "facts": checkpoint.facts}
    write_tensors(directory / CURRENT, tensors, note, keep=directory / PREVIOUS)


def read_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run directory; None when the run has none yet.

    Raises:
        CheckpointError: there is one, but neither it nor the one before can be read.
    """
    there = [path for name in (CURRENT, PREVIOUS) if (path := directory / name).exists()]
    for path in there[:-1]:
        try:
            return _read(path)
        except CheckpointError as error:
            logger.warning(
                "%s; the run goes on from the checkpoint before it", error.render().splitlines()[0]
            )
    return _read(there[-1]) if there else None


def best_weights(directory: Path) -> dict[str, torch.Tensor]:
    """The best weights so far of an unfinished run.

    Raises:
        CheckpointError: the run has not been saved yet.
    """
    checkpoint = read_checkpoint(directory)
    if checkpoint is None:
        raise CheckpointError(
            "the run has no weights yet",
            where=str(directory),
            expected=f"a file {CURRENT}",
            fix="let it go on with --resume",
        )
    return dict(checkpoint.best or checkpoint.weights)


def refuse_changes(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Raise unless the facts of a run are still the same: else it would not be the same run."""
    changed = [
        f"{name} {saved.get(name)!r}, now {value!r}"
        for name, value in now.items()
        if saved.get(name) != value
    ]
    if changed:
        raise CheckpointError(
            "the run was started with other settings or data",
            where=where,
            seen="; ".join(changed),
            expected="the same as at the start",
            fix="resume with the settings of the run, or start a new one in another --out",
        )


def _read(path: Path) -> Checkpoint:
    tensors, note = read_tensors(path)
    parts: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "best": {}, "moments": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    return Checkpoint(position=Position(**note["position"]), facts=note["facts"], **parts)
