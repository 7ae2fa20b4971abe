"""What a user asks of a fit, in one object: the command line makes it, a run keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from statewise.core.config import require, to_dict
from statewise.core.errors import ConfigError
from statewise.timeseries.options import ReadOptions

__all__ = ["AUTO", "FitSettings", "data_name"]

AUTO = "auto"
BUDGET = 60.0
"""Seconds of a fit unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """A fit as asked for."""

    data: tuple[str, ...]
    """Files, `-` for standard input."""
    model: str = AUTO
    """`auto`, or a method: `MODEL` or `MODEL-PRESET`."""
    horizon: int | None = None
    """Steps to forecast; None: the main season found."""
    period: int | None = None
    """Steps in the main season, 1 for none; None: found in the data."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """How to read the files."""
    intervals: Literal["residual", "quantile"] = "residual"
    """Where intervals come from: `residual`, from what a method has missed by; `quantile`, networks learn
    their bounds, which are then corrected by what they missed by."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Where networks are trained."""
    threads: int | None = None
    """CPU threads; None: one for small networks."""
    epochs: int | None = None
    """Passes over the data for networks; None: their own number."""
    budget: float | None = None
    """Seconds for everything; None: a minute, or no limit where `epochs` is given."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError(
                "no data file is named",
                expected="a CSV or parquet file",
                fix="name one: forecast fit data.csv",
            )
        for name in ("horizon", "period", "epochs", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "a whole number, 1 or more")
        require(self.budget is None or self.budget > 0, "budget", self.budget, "more than 0 seconds")

    @property
    def seconds(self) -> float | None:
        """The time limit in force."""
        return BUDGET if self.budget is None and self.epochs is None else self.budget

    @property
    def name(self) -> str:
        """`<data name>-<model>`, for the run directory."""
        return f"{data_name(self.data)}-{self.model}"

    def flags(self) -> dict[str, Any]:
        """The options that differ from their defaults, as a file for `--config` holds them."""
        default = FitSettings(data=self.data)
        values = {
            name: value
            for name, value in to_dict(self).items()
            if name not in ("data", "read") and value != getattr(default, name)
        }
        blank = to_dict(ReadOptions())
        return values | {name: value for name, value in to_dict(self.read).items() if value != blank[name]}


def data_name(data: Sequence[str]) -> str:
    """What a run on these files is called: the name of the first one without folder and ending."""
    return ("stdin" if data[0] == "-" else Path(data[0]).name.split(".")[0]) or "data"
