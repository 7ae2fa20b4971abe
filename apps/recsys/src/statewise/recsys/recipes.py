"""Recipes: encoder x objective x loss x training, named after papers or after their encoder.

A recipe is a table of settings; nothing is multiplied out into classes. `--model` takes the name of an
encoder (trained with its default objective and loss) or a preset. What a preset changes against its paper is
on its page in docs/models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from statewise.core.config import from_dict, merge
from statewise.core.train import FitConfig
from statewise.recsys.network.losses import LossConfig
from statewise.recsys.network.model import NetworkConfig
from statewise.recsys.network.objectives import ObjectiveConfig

__all__ = ["DENSE_ITEMS", "PRESETS", "Recipe", "recipe"]

DENSE_ITEMS = 50_000
"""Catalogue up to which the loss is full cross-entropy unless asked otherwise; above it is sampled."""

_FIT = FitConfig(
    epochs=60,
    batch_size=64,
    learning_rate=2e-3,
    warmup_steps=100,
    betas=(0.9, 0.98),
    clip=5.0,
    patience=8,
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is built and trained."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    fit: FitConfig = _FIT
    eval_epochs: int = 1
    """Epochs between validations."""


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "sasrec": {
        "network": {"encoder": {"name": "causal", "heads": 1, "mlp_ratio": 1.0}},
        "loss": {"name": "bce", "negatives": 1},
        "fit": {"batch_size": 128, "learning_rate": 1e-3, "epochs": 200},
    },
    "sasrec-plus": {
        "network": {"encoder": {"name": "causal", "heads": 1, "mlp_ratio": 1.0, "dropout": 0.1}},
        "objective": {"windows": "all"},
    },
    "gsasrec": {
        "network": {
            "encoder": {"name": "causal", "d_model": 128, "heads": 1, "mlp_ratio": 1.0, "dropout": 0.5}
        },
        "loss": {"name": "gbce", "negatives": 256, "calibration": 0.75},
        "fit": {"batch_size": 128, "learning_rate": 1e-3, "epochs": 200},
    },
    "bert4rec": {
        "network": {
            "encoder": {"name": "bidir", "heads": 2, "mlp_ratio": 4.0, "gelu": True, "dropout": 0.2},
            "masked": True,
            "embedding_norm": True,
        },
        "objective": {"name": "cloze", "rho": 0.2},
        "fit": {"weight_decay": 0.01, "epochs": 300, "patience": 20},
    },
    "gru4rec": {
        "network": {"encoder": {"name": "gru", "depth": 1, "mlp_ratio": 1.0, "dropout": 0.2}},
        "loss": {"name": "in-batch", "negatives": 2048},
    },
    "lrurec": {
        "network": {
            "encoder": {"name": "lru", "depth": 2, "mlp_ratio": 2.0, "dropout": 0.2},
            "embedding_norm": True,
        },
        "objective": {"windows": "all"},
        "fit": {"weight_decay": 0.01},
    },
    "mamba4rec": {
        "network": {
            "encoder": {"name": "mamba", "depth": 1, "mlp_ratio": 2.0, "dropout": 0.2},
            "embedding_norm": True,
        },
        "objective": {"windows": "all"},
    },
}
"""Settings of each preset that differ from the defaults."""

_CLOZE = {
    "network": {"masked": True, "embedding_norm": True, "encoder": {"gelu": True}},
    "objective": {"name": "cloze"},
    "fit": {"epochs": 200, "patience": 20},
}

_RECURRENT = {"network": {"embedding_norm": True, "encoder": {"mlp_ratio": 2.0}}}


def recipe(name: str, changes: Mapping[str, Any] | None = None, *, n_items: int | None = None) -> Recipe:
    """The recipe of a preset or of an encoder.

    Args:
        name: key of `PRESETS`, or an encoder.
        changes: settings that win over those of the name.
        n_items: V; a large catalogue takes a sampled loss where neither the name nor `changes` has one.
    """
    base = Recipe()
    if name in PRESETS:
        settings = PRESETS[name]
        base = merge(base, settings, where=name)
    else:
        settings = {"network": {"encoder": {"name": name}}}
        base = merge(base, settings, where=name)
        if name == "bidir":
            base = merge(base, _CLOZE, where=name)
        elif name != "causal":
            base = merge(
                base, {"network": {"embedding_norm": True, "encoder": {"mlp_ratio": 2.0}}}, where=name
            )
        if name == "hybrid":
            base = merge(base, {"network": {"encoder": {"depth": 4}}}, where=name)
    if n_items is not None and n_items > DENSE_ITEMS and base.loss.name in ("ce", "chunked-ce"):
        base = replace(base, loss=replace(base.loss, name="sampled", negatives=1024))
    return base if not changes else merge(base, changes, where="settings")


def recipe_from(values: Mapping[str, Any], where: str) -> Recipe:
    """A recipe that was kept as plain values."""
    return from_dict(Recipe, values, where=where)
