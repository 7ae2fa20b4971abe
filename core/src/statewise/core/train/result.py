"""What the loop tells while it runs and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["FitResult", "Row", "StopReason", "Tick"]

Row: TypeAlias = dict[str, float | None]
"""One line of metrics.jsonl: step, epoch, seconds, learning_rate, examples_per_second, train_loss and the
metrics of the task; one that is not finite is None."""

StopReason: TypeAlias = Literal[
    "epochs", "steps", "budget", "patience", "deadline", "should_stop", "interrupt"
]


@dataclass(frozen=True, kw_only=True)
class Tick:
    """The state of a run after a step, for a progress bar."""

    step: int
    """Optimiser steps done."""
    epoch: float
    """Passes over the examples done."""
    fraction: float
    """Part of the run that is done, from 0 to 1, by the bound that is nearest."""
    loss: float
    """Training loss of the step."""
    learning_rate: float
    """Learning rate of the step."""
    examples_per_second: float
    """Throughput since the last evaluation."""
    best: float | None
    """Best value of the monitored metric so far."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The outcome of `fit`; the best weights are in the task's model."""

    best: Row
    """The row of the evaluation whose weights were kept."""
    history: list[Row]
    """All evaluations, in order."""
    stopped_by: StopReason
    """What ended the run."""
    steps: int
    """Optimiser steps done."""
    epochs: float
    """Passes over the examples done."""
    seconds: float
    """Wall time of the whole run, resumed parts included."""
