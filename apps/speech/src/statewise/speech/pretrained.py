"""Models by name, from a run, or with the weights that come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from statewise.core.config import config_class, from_dict, to_dict
from statewise.core.errors import UserError
from statewise.core.registry import canonical
from statewise.core.train import load_model, save_model
from statewise.speech.models import DEFAULT, MODELS, build

__all__ = ["DEFAULT", "Loaded", "load", "save", "shipped"]

KIND = "speech"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model that is ready to be used."""

    name: str
    """What it is called: `recurrent-mask-gru`, or the directory it came from."""
    model: nn.Module
    metadata: dict[str, Any]
    """What was saved beside the weights: training data, hours, scores."""


def shipped() -> dict[str, Path]:
    """The models whose weights come with the package, by name."""
    folder = Path(str(resources.files("statewise.speech") / "weights"))
    if not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir()) if (path / "config.json").is_file()}


def load(name: str) -> Loaded:
    """The model called `name`: one with weights in the package, a baseline, or a run or model directory.

    Raises:
        UnknownNameError: there is no such model.
        UserError: the model exists but has no weights.
        CheckpointError: the directory is damaged or holds something else.
    """
    known = shipped()
    if canonical(name) in known and not Path(name).is_dir():
        return _read(known[canonical(name)], canonical(name))
    if Path(name).is_dir() or "/" in name:
        return _read(Path(name), name)
    entry, _ = MODELS.resolve(name)
    if MODELS.load(entry).trains:
        raise UserError(
            f"'{name}' has no weights in the package",
            expected=f"one of {', '.join(known)}, a baseline or the directory of a run",
            fix=f"train it: speech fit --model {name} --clean DIR",
        )
    _, model = build(name)
    return Loaded(name=entry, model=model.eval(), metadata={})


def save(path: str | Path, name: str, model: nn.Module, metadata: dict[str, Any]) -> Path:
    """Write a model directory."""
    return save_model(
        path, kind=f"{KIND}/{name}", config=to_dict(model.config), metadata=metadata, network=model
    )


def _read(path: Path, name: str) -> Loaded:
    saved = load_model(path, kind=KIND)
    entry = saved.kind.partition("/")[2]
    cls = MODELS.load(entry)
    model = cls(from_dict(config_class(cls), saved.config, where=str(saved.path)))
    saved.load_weights(model)
    return Loaded(name=name, model=model.eval(), metadata=saved.metadata)
