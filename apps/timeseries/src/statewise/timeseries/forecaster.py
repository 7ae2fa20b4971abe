"""The contract of every forecasting method: what the backtest, `auto` and the model directory need of it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from statewise.timeseries.frequency import Frequency
from statewise.timeseries.panel import Panel

__all__ = ["Context", "Forecaster"]


@dataclass(frozen=True, kw_only=True)
class Context:
    """The circumstances of a fit."""

    horizon: int
    """Steps to forecast, H."""
    period: int
    """Steps in the main season; 1 when there is none."""
    frequency: Frequency
    seed: int = 0
    epochs: int | None = None
    """Passes over the data for methods that iterate; None: their own default."""
    deadline: float | None = None
    """`time.monotonic()` at which the fit must have stopped; None: no limit."""
    progress: Callable[[float, str], None] | None = None
    """Called with the fraction done (0..1) and a few words."""
    device: str = "cpu"
    """Where networks are trained."""
    threads: int | None = None
    """CPU threads; None: as many as the work is worth."""
    quantiles: tuple[float, ...] = ()
    """Coverages whose bounds networks learn, ascending; none: their intervals come from residuals alone."""
    run: Any = None
    """A `statewise.core.train` run directory, for methods that checkpoint; None: nothing is written."""

    def part(self, name: str) -> Context:
        """The same for one of several fits, which checkpoints in a part of the run of its own."""
        return self if self.run is None else replace(self, run=self.run.part(name))

    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()


class Forecaster(ABC):
    """A forecasting method.

    Its life: construct from a config, `fit` on histories, `predict` from any histories of the same kind,
    `state` to save, `restore` to load. Missing observations (NaN) are the method's own business.
    """

    local: ClassVar[bool] = False
    """True when `fit` learns nothing that series share: it can forecast a series never seen."""
    joint: ClassVar[bool] = False
    """True when a forecast reads the other series of the panel at the same time. Such a method forecasts the
    series of its fit and no others, and needs all of them (`companions`)."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def companions(self) -> tuple[str, ...]:
        """The series that a joint method needs in the panel to forecast any of them; empty for others."""
        return ()

    @abstractmethod
    def minimum(self, context: Context) -> int:
        """The shortest history, in steps, that `fit` and `predict` can work with."""

    def memory(self) -> int | None:
        """How many steps before an origin a fitted method reads, gaps filled; None: all there are."""
        return None

    @abstractmethod
    def fit(self, panel: Panel, context: Context) -> None:
        """Learn from every series of `panel`; nothing after its last step is ever seen."""

    @abstractmethod
    def predict(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Point forecasts.

        Args:
            panel: the series, at least as long as their largest origin.
            origins: per series, (O,) int: an origin o sees `values[:o]` and known covariates, and forecasts
                steps o .. o+H-1. Nothing at or after o is read from `values`.

        Returns:
            Per series, (O, H) float64, finite.
        """

    def spreads(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        """How far the bounds of its intervals should lie from its forecasts, as far as it has learnt that.

        Args:
            panel: as for `predict`.
            origins: as for `predict`.

        Returns:
            Per series, (O, 2, Q, H) positive, below and above, in units that calibration finds; None for a
            method whose intervals are as wide everywhere.
        """
        return None

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Everything `fit` has learnt, as named arrays (for safetensors)."""

    @abstractmethod
    def restore(self, state: dict[str, np.ndarray], context: Context) -> None:
        """Become the fitted method that `state` describes."""
