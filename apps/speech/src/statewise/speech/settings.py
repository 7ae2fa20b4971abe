"""What a user asks of a fit, in one object: the command line makes it, a run keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from statewise.core.config import require
from statewise.core.errors import ConfigError
from statewise.core.train.config import FitConfig
from statewise.speech.mixing import MixingConfig
from statewise.speech.models import DEFAULT

__all__ = ["BUDGET", "EPOCH", "FitSettings", "Loss"]

Loss: TypeAlias = Literal["compressed", "paper"]
BUDGET = 600.0
"""Seconds of a fit unless the user says otherwise."""
EPOCH = 1000
"""Mixtures that count as an epoch: they are drawn anew, so there is no pass over files."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """A fit as asked for."""

    clean: tuple[str, ...]
    """Folders of clean speech."""
    noise: tuple[str, ...] = ()
    """Folders of noise; without any, noise is computed."""
    rooms: tuple[str, ...] = ()
    """Folders of room responses."""
    valid_clean: tuple[str, ...] = ()
    """Clean speech that chooses the weights; without any, speakers are held out."""
    valid_noise: tuple[str, ...] = ()
    """Noise for it."""
    pairs: tuple[str, str] | None = None
    """A folder of clean and one of noisy files of the same names, which choose the weights too."""
    model: str = DEFAULT
    """`MODEL` or `MODEL-PRESET`."""
    start: str | None = None
    """A model of the same settings, by name or directory, whose weights are trained further."""
    loss: Loss = "compressed"
    """The compressed spectral loss with SI-SNR, or that of the paper; PIT for separation."""
    mixing: MixingConfig = field(default_factory=MixingConfig)
    """How examples are put together."""
    batch_size: int = 6
    """Examples per step."""
    learning_rate: float | None = None
    """Peak learning rate; None: that of the model."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network in training."""
    eval_every: int = 200
    """Steps between evaluations."""
    held_out: float = 0.1
    """Share of speakers and kinds of noise that are held out, where nothing is named for validation."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Where it is trained."""
    threads: int | None = None
    """CPU threads; None: one for small models."""
    epochs: int | None = None
    """Thousands of mixtures."""
    budget: float | None = None
    """Seconds; None: ten minutes, or no limit where `epochs` is given."""

    def __post_init__(self) -> None:
        if not self.clean:
            raise ConfigError(
                "no clean speech is named", expected="a folder", fix="name one: speech fit --clean DIR"
            )
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        rate = self.learning_rate
        require(rate is None or rate > 0, "learning_rate", rate, "more than 0")
        require(self.eval_every >= 1, "eval_every", self.eval_every, "at least 1")
        require(0 < self.held_out < 1, "held_out", self.held_out, "between 0 and 1")
        for name in ("epochs", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "at least 1")
        require(self.budget is None or self.budget > 0, "budget", self.budget, "more than 0 seconds")

    @property
    def seconds(self) -> float | None:
        """The time limit in force."""
        return BUDGET if self.budget is None and self.epochs is None else self.budget

    @property
    def name(self) -> str:
        """`<data name>-<model>`, for the run directory."""
        return f"{Path(self.clean[0]).resolve().name or 'speech'}-{self.model}"

    def loop(self, learning_rate: float) -> FitConfig:
        """The settings of the shared training loop."""
        return FitConfig(
            epochs=self.epochs,
            budget=self.seconds,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate or learning_rate,
            warmup_steps=50,
            floor=0.02,
            weight_decay=1e-4,
            clip=3.0,
            eval_every=self.eval_every,
            seed=self.seed,
            precision=self.precision,
            device=self.device,
            threads=self.threads,
        )
