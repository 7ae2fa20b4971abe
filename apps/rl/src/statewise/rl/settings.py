"""What a user asks of a fit, in one object: the command line makes it, a run keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from statewise.core.config import require, to_dict
from statewise.core.errors import ConfigError
from statewise.core.registry import canonical

__all__ = ["DATA_ENDINGS", "FitSettings", "columns_from"]

DATA_ENDINGS = (".npz", ".hdf5", ".h5")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """A fit as asked for."""

    what: str
    """An environment to learn in, or a data file to learn from."""
    model: str | None = None
    """`MODEL` or `MODEL-PRESET` of `rl models`; None: s5-ppo for an environment, ds4 for data."""
    env: str | None = None
    """The environment in which a model that learns from data is judged; None: the one the data name."""
    env_options: dict[str, Any] = field(default_factory=dict)
    """What the environment's constructor is given."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Settings of the model and of its training, by name."""
    columns: tuple[int, ...] = ()
    """Elements of recorded observations that are used; empty for all."""
    steps: int | None = None
    """Steps in the environment, or gradient steps on data; None: the model's own number."""
    until: float | None = None
    """Return at which training may end; None: what gymnasium says solves the environment, if it does."""
    target: float | None = None
    """Return that a model conditioned on returns is asked for; None: the best of the data."""
    init: str | None = None
    """Run whose weights training starts from."""
    episodes: int = 20
    """Episodes that judge the result."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Where networks are trained."""
    threads: int | None = None
    """CPU threads; None: one for small networks."""
    budget: float | None = None
    """Seconds of training; None: no limit."""

    save_every: float = 20.0
    """Least number of seconds between two checkpoints."""

    def __post_init__(self) -> None:
        if not self.what:
            raise ConfigError(
                "nothing is named to learn from",
                expected="an environment or a data file",
                fix="name one: rl fit CartPole-v1",
            )
        require(self.steps is None or self.steps >= 1, "steps", self.steps, "a whole number, 1 or more")
        require(self.episodes >= 1, "episodes", self.episodes, "a whole number, 1 or more")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")
        require(self.budget is None or self.budget > 0, "budget", self.budget, "more than 0 seconds")

    @property
    def from_data(self) -> bool:
        """Whether `what` is data rather than an environment."""
        path = Path(self.what)
        return path.suffix in DATA_ENDINGS or path.exists()

    @property
    def model_name(self) -> str:
        """The model in force."""
        return self.model or ("ds4" if self.from_data else "s5-ppo")

    @property
    def name(self) -> str:
        """`<data name>-<model>`, for the run directory."""
        if self.from_data:
            path = Path(self.what)
            first = path.parent.parent.name if path.name == "main_data.hdf5" else path.name.split(".")[0]
        else:
            first = self.what.replace("/", "-").replace(":", "-")
        return f"{first or 'data'}-{canonical(self.model_name)}"

    def flags(self) -> dict[str, Any]:
        """The options that differ from their defaults, as a file for `--config` holds them."""
        default = FitSettings(what=self.what)
        values = {
            name: value
            for name, value in to_dict(self).items()
            if name not in ("what", "env_options", "overrides") and value != getattr(default, name)
        }
        for option, table in (("env-set", self.env_options), ("set", self.overrides)):
            if table:
                values[option] = [f"{name}={_written(value)}" for name, value in table.items()]
        return values


def columns_from(text: str | None) -> tuple[int, ...]:
    """`"0,2"` as numbers.

    Raises:
        ConfigError: something in it is no whole number.
    """
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        raise ConfigError(
            "is no list of whole numbers", where="--columns", seen=str(text), expected="numbers such as 0,2"
        ) from None


def _written(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)
