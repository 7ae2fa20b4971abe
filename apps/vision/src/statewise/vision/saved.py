"""A trained classifier as a directory: it predicts in a fresh process, without the images of its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from statewise.core.config import config_class, from_dict, to_dict
from statewise.core.errors import DataError
from statewise.core.train import load_model, resolve_device, save_model
from statewise.vision.models import MODELS
from statewise.vision.models.image_model import ImageModel
from statewise.vision.pixels import Shape
from statewise.vision.task import Standard, probabilities

__all__ = ["Classifier", "load_classifier", "save_classifier"]

KIND = "vision/classifier"


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A network with all that it needs to read an image."""

    model: str
    """Its name in the registry."""
    network: ImageModel
    classes: tuple[str, ...]
    shape: Shape
    """What images were brought to in training."""
    standard: Standard
    converts: bool
    """Whether grey and colour were converted into each other in training."""
    fingerprint: str
    """Of the images it was trained on."""

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """(n, C, Y, X) pixels to (n, K)."""
        return probabilities(self.network, values, self.standard)

    def standardised(self, values: np.ndarray) -> torch.Tensor:
        """(n, C, Y, X) pixels as the network takes them, on its device."""
        device = next(self.network.parameters()).device
        return self.standard.apply(torch.from_numpy(np.ascontiguousarray(values)).to(device))

    def check_channels(self, found: int, place: str, *, convert: bool) -> None:
        """Refuse an image of other channels, unless they may be converted.

        Raises:
            DataError: they may not.
        """
        if found == self.shape.channels or convert or self.converts:
            return
        kinds = {1: "grey", 3: "colour"}
        raise DataError(
            "has other channels than the images the model was trained on",
            where=place,
            seen=f"{found} channels ({kinds.get(found, 'several')})",
            expected=f"{self.shape.channels} ({kinds.get(self.shape.channels, 'several')})",
            fix=f"add --convert to turn grey and colour into each other, or train with --channels {found}",
        )


def save_classifier(path: Path, classifier: Classifier) -> Path:
    """Write the directory; its path."""
    metadata = {
        "classes": list(classifier.classes),
        "shape": to_dict(classifier.shape),
        "standard": to_dict(classifier.standard),
        "converts": classifier.converts,
        "fingerprint": classifier.fingerprint,
    }
    config = {"model": classifier.model, "settings": to_dict(classifier.network.config)}
    return save_model(path, kind=KIND, config=config, metadata=metadata, network=classifier.network)


def load_classifier(path: str | Path, *, device: str = "auto") -> Classifier:
    """Read a model directory, or that of a run.

    Raises:
        CheckpointError: there is none, or it is damaged, of another app or too new.
    """
    saved = load_model(path, kind=KIND)
    where, facts = str(saved.path), saved.metadata
    target: Any = MODELS.load(saved.config["model"])
    network = target(from_dict(config_class(target), saved.config["settings"], where=where))
    saved.load_weights(network)
    return Classifier(
        model=saved.config["model"],
        network=network.to(resolve_device(device)).eval(),
        classes=tuple(facts["classes"]),
        shape=from_dict(Shape, facts["shape"], where=where),
        standard=from_dict(Standard, facts["standard"], where=where),
        converts=facts["converts"],
        fingerprint=facts["fingerprint"],
    )
