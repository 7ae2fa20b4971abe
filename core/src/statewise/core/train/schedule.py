"""The learning rate over the course of a run, as a factor of its peak."""

from __future__ import annotations

import math
from dataclasses import dataclass

from statewise.core.train.config import FitConfig

__all__ = ["Schedule"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A pure function of the step, so that a resumed run needs no memory of it."""

    config: FitConfig
    steps_per_epoch: int

    @property
    def total_steps(self) -> int | None:
        """Steps after which the run has ended at the latest; None when only the budget bounds it."""
        epochs, steps = self.config.epochs, self.config.steps
        bounds = [epochs * self.steps_per_epoch] if epochs else []
        return min([*bounds, *([steps] if steps else [])], default=None)

    def fraction(self, step: int, seconds: float) -> float:
        """Part of the run that `step` steps are: by steps, or by time where only the budget bounds it."""
        if self.total_steps is not None:
            return min(1.0, step / self.total_steps)
        return min(1.0, seconds / (self.config.budget or math.inf))

    def factor(self, step: int, seconds: float) -> float:
        """The factor of the step that follows `step` steps done.

        Warm-up: (step + 1) / warmup_steps. Then cosine: floor + (1 - floor)(1 + cos(pi u)) / 2 with u from 0
        at the end of the warm-up to 1 at the end of the run (Loshchilov and Hutter, SGDR, 2017, without
        restarts); exponential: decay^max(0, e + 1 - hold_epochs) after e whole epochs; constant: 1.
        """
        config = self.config
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.schedule == "exponential":
            return config.decay ** max(0, step // self.steps_per_epoch + 1 - config.hold_epochs)
        if config.schedule == "constant":
            return 1.0
        if self.total_steps is None:
            done = self.fraction(step, seconds)
        else:
            done = (step - config.warmup_steps) / max(1, self.total_steps - config.warmup_steps)
        return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * min(1.0, done))) / 2
