"""What a user asks of a fit, in one object: the command line makes it, a run keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from statewise.core.config import require, to_dict
from statewise.core.errors import ConfigError
from statewise.recsys.options import ReadOptions

__all__ = ["FitSettings", "Tuning"]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Settings of a network that differ from its recipe; None: as in the recipe."""

    loss: str | None = None
    """`ce`, `chunked-ce`, `sampled`, `in-batch`, `bce` or `gbce`."""
    objective: str | None = None
    """`next` (every place) or `cloze` (masked places)."""
    items: Literal["id", "features", "text"] = "id"
    """What an item is to the network: its id, id and features, or its words and categories alone."""
    windows: str | None = None
    """Long histories: their `last` window, or `all`."""
    width: int | None = None
    """Features of an item's vector."""
    depth: int | None = None
    """Blocks."""
    length: int | None = None
    """Longest window of events."""
    dropout: float | None = None
    """Probability of dropping an element, in training."""
    negatives: int | None = None
    """Sampled items of losses that sample."""
    products: str | None = None
    """Matrix products of `chunked-ce`: `bf16` where the processor has it, or `fp32`."""
    gated: bool | None = None
    """Attention: gate each branch (LiGR)."""
    learning_rate: float | None = None
    """Peak learning rate."""
    batch_size: int | None = None
    """Windows in a step."""

    def changes(self) -> dict[str, Any]:
        """As settings of a recipe."""
        encoder = {
            "d_model": self.width,
            "depth": self.depth,
            "length": self.length,
            "dropout": self.dropout,
            "gated": self.gated,
        }
        tables = {
            "network": {"encoder": _given(encoder)},
            "objective": _given({"name": self.objective, "windows": self.windows}),
            "loss": _given({"name": self.loss, "negatives": self.negatives, "products": self.products}),
            "fit": _given({"learning_rate": self.learning_rate, "batch_size": self.batch_size}),
        }
        if self.objective is not None:
            tables["network"]["masked"] = self.objective == "cloze"
        return tables


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """A fit as asked for."""

    data: tuple[str, ...]
    """Files of events, `-` for standard input."""
    model: str = "causal"
    """An encoder, a preset or a counting method."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """How to read the files."""
    tuning: Tuning = field(default_factory=Tuning)
    """Settings of a network."""
    features: str | None = None
    """File with a row for each item: its id, then categories and text."""
    split: str = "leave-one-out"
    """Which events train and which judge."""
    period: str = "month"
    """Period of the split `next-period`."""
    periods: int = 3
    """Periods that test, one after the other, at most."""
    repeat: Literal["auto", "exclude", "allow", "only"] = "auto"
    """Whether items of a user's history may be recommended; auto: where the data repeat."""
    blend: tuple[str, ...] = ()
    """Counting methods to mix into the network, weights chosen on validation."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """Where networks are trained."""
    threads: int | None = None
    """CPU threads; None: one for small networks."""
    epochs: int | None = None
    """Passes over the data; None: those of the recipe."""
    budget: float | None = None
    """Seconds of training; None: no limit."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError(
                "no data file is named",
                expected="a CSV or parquet file of events",
                fix="name one: recsys fit events.csv",
            )
        for name in ("epochs", "threads", "periods"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "a whole number, 1 or more")
        require(self.budget is None or self.budget > 0, "budget", self.budget, "more than 0 seconds")
        if self.tuning.items != "id" and self.features is None:
            raise ConfigError(
                f"items '{self.tuning.items}' need features",
                where="--items",
                fix="name a file with a row for each item: --features items.csv",
            )

    @property
    def name(self) -> str:
        """`<data name>-<model>`, for the run directory."""
        first = "stdin" if self.data[0] == "-" else Path(self.data[0]).name.split(".")[0]
        return f"{first or 'data'}-{self.model}"

    def flags(self) -> dict[str, Any]:
        """The options that differ from their defaults, as a file for `--config` holds them."""
        default = FitSettings(data=self.data)
        values = {
            name: value
            for name, value in to_dict(self).items()
            if name not in ("data", "read", "tuning") and value != to_dict(default)[name]
        }
        for part, blank in ((self.read, ReadOptions()), (self.tuning, Tuning())):
            plain = to_dict(blank)
            values |= {name: value for name, value in to_dict(part).items() if value != plain[name]}
        return {name: value for name, value in values.items() if value is not None}
