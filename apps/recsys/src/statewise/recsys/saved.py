"""A fitted recommender as a directory: it recommends in a fresh process, without the data it was fitted on.

Beside the weights it holds the histories, since a recommendation starts from one, and the ids of users and
items. `config.json` and two safetensors files; nothing in them can run code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.config import from_dict, to_dict
from statewise.core.train import SavedModel, load_model, save_model
from statewise.recsys.events import EventLog
from statewise.recsys.models import MODELS
from statewise.recsys.models.blend import Blend
from statewise.recsys.options import ReadOptions
from statewise.recsys.ranking import Repeat
from statewise.recsys.recipes import Recipe
from statewise.recsys.scorer import Scorer
from statewise.recsys.splits import Split, make_split

__all__ = ["Recommender", "load_recommender", "save_recommender", "split_of"]

KIND = "recsys/recommender"
_LOG, _PART, _FEATURES = "log/", "part/", "features/"


@dataclass(frozen=True, kw_only=True)
class Recommender:
    """A scorer with all that is needed to use it."""

    scorer: Scorer
    log: EventLog
    """The histories that it starts from."""
    model: str
    """Name of the method."""
    recipe: Recipe | None
    """Of a network; None for counting methods."""
    read: ReadOptions
    """How its files were read."""
    repeat: Repeat
    """Whether items of the history may be recommended, unless asked otherwise."""
    facts: dict[str, Any]
    """Split, fingerprint, seed, columns of features."""

    @property
    def network(self) -> Any:
        """The network (`NetworkScorer`), alone or inside a blend; None for counting methods."""
        parts = self.scorer.parts if isinstance(self.scorer, Blend) else [self.scorer]
        return next((part for part in parts if hasattr(part, "network")), None)


def split_of(one: Recommender) -> Split:
    """Its log cut as it was for the fit."""
    facts = one.facts
    # runs that do not say how many periods test were made when one did
    return make_split(one.log, facts["split"], period=facts["period"], periods=facts.get("periods", 1))


def save_recommender(path: Path, one: Recommender) -> Path:
    """Write the directory; its path."""
    parts = one.scorer.parts if isinstance(one.scorer, Blend) else [one.scorer]
    arrays = {f"{_LOG}starts": one.log.starts, f"{_LOG}item": one.log.item}
    if one.log.time is not None:
        arrays[f"{_LOG}time"] = one.log.time
    described = []
    for place, part in enumerate(parts):
        described.append({"name": part.name, "facts": dict(part.facts()), "network": part is one.network})
        arrays |= {f"{_PART}{place}/{name}": array for name, array in part.state().items()}
    network = None if one.network is None else one.network.network
    if network is not None and network.config.items != "id":
        arrays |= {
            f"{_FEATURES}{name}": getattr(network.table, name).numpy() for name in ("hashes", "starts")
        }
    config = {
        "model": one.model,
        "recipe": None if one.recipe is None else to_dict(one.recipe),
        "parts": described,
        "weights": one.scorer.weights if isinstance(one.scorer, Blend) else None,
        "repeat": one.repeat,
    }
    metadata = {
        "users": one.log.users.to_list(),
        "items": one.log.items.to_list(),
        "clock": one.log.clock,
        "read": to_dict(one.read),
        "facts": one.facts,
    }
    return save_model(path, kind=KIND, config=config, metadata=metadata, arrays=arrays, network=network)


def load_recommender(path: str | Path) -> Recommender:
    """Read a model directory, or that of a run.

    Raises:
        CheckpointError: there is none, or it is damaged, of another app or too new.
    """
    saved = load_model(path, kind=KIND)
    config, metadata = saved.config, saved.metadata
    log = EventLog(
        users=pl.Series("user", metadata["users"], dtype=pl.String),
        items=pl.Series("item", metadata["items"], dtype=pl.String),
        starts=saved.arrays[f"{_LOG}starts"],
        item=saved.arrays[f"{_LOG}item"],
        time=saved.arrays.get(f"{_LOG}time"),
        clock=metadata["clock"],
    )
    recipe = None if config["recipe"] is None else from_dict(Recipe, config["recipe"], where=str(saved.path))
    parts = [
        _network(saved, recipe, log.n_items) if part["network"] else _counting(saved, place, part)
        for place, part in enumerate(config["parts"])
    ]
    return Recommender(
        scorer=Blend(parts, config["weights"]) if config["weights"] is not None else parts[0],
        log=log,
        model=config["model"],
        recipe=recipe,
        read=from_dict(ReadOptions, metadata["read"], where=str(saved.path)),
        repeat=config["repeat"],
        facts=metadata["facts"],
    )


def _counting(saved: SavedModel, place: int, part: dict[str, Any]) -> Scorer:
    prefix = f"{_PART}{place}/"
    arrays = {
        name.removeprefix(prefix): array for name, array in saved.arrays.items() if name.startswith(prefix)
    }
    return MODELS.load(part["name"]).restore(arrays, part["facts"])


def _network(saved: SavedModel, recipe: Recipe | None, n_items: int) -> Scorer:
    import torch

    from statewise.recsys.network.items import FeatureBags
    from statewise.recsys.network.model import Network
    from statewise.recsys.network.scorer import NetworkScorer

    recipe = recipe or Recipe()
    features = None
    if recipe.network.items != "id":
        hashes, starts = (
            torch.from_numpy(np.array(saved.arrays[f"{_FEATURES}{name}"])) for name in ("hashes", "starts")
        )
        features = FeatureBags(hashes, starts)
    network = Network(recipe.network, n_items, features)
    saved.load_weights(network)
    network.eval()
    return NetworkScorer(network, cloze=recipe.objective.name == "cloze", name=saved.config["model"])
