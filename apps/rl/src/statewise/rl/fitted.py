"""What training came to, whatever was trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Fitted"]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The outcome of a training."""

    model: str
    rows: list[dict[str, Any]]
    """What was logged."""
    stopped_by: str
    seconds: float
    parameters: int
    steps: int
    """Steps in the environment, or of the optimiser."""
    playable: bool = True
    """Whether there is an environment to judge it in."""
    notes: list[str] = field(default_factory=list)
