"""The settings of the supervised loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from statewise.core.config import require
from statewise.core.errors import ConfigError

__all__ = ["FitConfig"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a model is fitted. The first of `epochs`, `steps` and `budget` that is reached ends the run."""

    epochs: int | None = 10
    """Passes over the training examples; none for no such bound."""
    steps: int | None = None
    """Optimiser steps; none for no such bound."""
    budget: float | None = None
    """Seconds of wall time of the whole run, resumed parts included; none for no such bound."""
    batch_size: int = 32
    """Examples per process and micro-batch; a step sees batch_size x accumulate x devices of them."""
    accumulate: int = 1
    """Micro-batches whose gradients are averaged before one optimiser step."""
    drop_last: bool = False
    """Leave out what is left of an epoch when it fills no whole step: other examples in each epoch."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    slow_rate: float = 0.25
    """Rate of state-space parameters (`Layer.slow`) as a fraction of learning_rate (S5: ssm_lr / lr)."""
    weight_decay: float = 0.0
    """Decoupled weight decay; never applied to biases, norms, vectors and state-space parameters."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's first and second moment."""
    schedule: Literal["constant", "cosine", "exponential"] = "cosine"
    """Course of the learning rate after the warm-up; cosine ends with the run."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly to its peak."""
    decay: float = 0.9
    """Factor per epoch of the exponential schedule."""
    hold_epochs: int = 1
    """Epochs at the peak before the exponential schedule starts to fall."""
    floor: float = 0.0
    """Fraction of the peak learning rate at which the cosine schedule ends."""
    clip: float | None = 1.0
    """Largest norm of the whole gradient; none leaves it alone."""
    patience: int | None = None
    """Evaluations without a better monitored metric before the run stops; none never stops early."""
    eval_every: int | None = None
    """Steps between evaluations; none evaluates after each epoch."""
    save_every: float = 20.0
    """Least number of seconds between two checkpoints (one is always written at the end)."""
    seed: int = 0
    """Seed of the order of the examples and of everything random in a step."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    devices: int = 1
    """Processes with one device each (Lightning Fabric, DDP); torchrun sets it by itself."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass; weights stay in fp32."""
    threads: int | None = None
    """CPU threads; none takes one for small models, where more are slower, else all cores."""
    log: Literal["tensorboard"] | None = None
    """A further place for the metrics, beside metrics.jsonl."""

    def __post_init__(self) -> None:
        _refuse_boundless(self)
        for name in ("epochs", "steps", "patience", "eval_every", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "at least 1")
        for name in ("batch_size", "accumulate", "devices"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.budget is None or self.budget > 0, "budget", self.budget, "more than 0 seconds")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        require(0 < self.slow_rate <= 1, "slow_rate", self.slow_rate, "more than 0, at most 1")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        require(
            all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "two numbers from 0 to below 1"
        )
        require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")
        require(0 < self.decay <= 1, "decay", self.decay, "more than 0, at most 1")
        require(self.hold_epochs >= 1, "hold_epochs", self.hold_epochs, "at least 1")
        require(0 <= self.floor <= 1, "floor", self.floor, "from 0 to 1")
        require(self.clip is None or self.clip > 0, "clip", self.clip, "more than 0")
        require(self.save_every >= 0, "save_every", self.save_every, "0 seconds or more")


def _refuse_boundless(config: FitConfig) -> None:
    if config.epochs is None and config.steps is None and config.budget is None:
        raise ConfigError(
            "a run without epochs, steps and budget would never end",
            where="epochs",
            seen="none of the three",
            expected="at least one bound",
            fix="set --epochs, --steps or --budget",
        )
