"""Where a model looks: Grad-CAM over the last grid, and for ViG how far each token remembers.

Grad-CAM (Selvaraju et al., 2017): the gradient of the class's logit, averaged over the grid, weighs the
features; what is positive of the weighted sum is the map. Of a ViG the second map is the mean over heads,
keys, directions and blocks of the number of tokens after which a memory has halved, log(1/2) / log a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from statewise.core.errors import UnknownNameError
from statewise.core.report import drawing, png
from statewise.vision.decode import decode
from statewise.vision.models.vig import ViGMixer
from statewise.vision.pixels import resized, with_channels
from statewise.vision.report import picture
from statewise.vision.saved import Classifier, load_classifier
from statewise.vision.settings import NATIVE, parse_size

__all__ = ["Explanation", "attention_map", "explain_image", "memory_map"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What was written, and for which class."""

    path: str
    class_name: str
    probability: float
    map: list[list[float]]
    """Grad-CAM on the grid of the last features, from 0 to 1."""


def explain_image(
    run: str | Path,
    image: Path,
    *,
    class_name: str | None = None,
    size: str | None = None,
    convert: bool = False,
    out: Path | None = None,
) -> Explanation:
    """Draw the maps of one image.

    Args:
        run: the run or model directory.
        image: the file.
        class_name: the class; None: the most probable one.
        size: `64`, `40x72`, `native`, or None for that of training.
        convert: turn grey and colour into each other.
        out: PNG to write; None: beside the image.

    Raises:
        UserError: the image cannot be read, or the model knows no such class.
    """
    classifier = load_classifier(run)
    pixels = decode(image)
    classifier.check_channels(pixels.shape[2], str(image), convert=convert)
    pixels = with_channels(pixels, classifier.shape.channels, str(image))
    height, width = classifier.shape.height, classifier.shape.width
    if size is not None:
        height, width = pixels.shape[:2] if size == NATIVE else parse_size(size)
    values = resized(pixels, replace(classifier.shape, height=height, width=width))
    found = classifier.probabilities(values[None])[0]
    index = _index(classifier, class_name, found)
    heat = attention_map(classifier, values, index)
    memory = memory_map(classifier, values)
    path = out or image.with_name(f"{image.stem}-explained.png")
    name = classifier.classes[index]
    _draw(path, picture(values), heat, memory, f"{name}, {100 * found[index]:.1f} %")
    return Explanation(
        path=str(path), class_name=name, probability=float(found[index]), map=np.round(heat, 4).tolist()
    )


def attention_map(classifier: Classifier, values: np.ndarray, index: int) -> np.ndarray:
    """Grad-CAM of a class on the last grid, (y, x), the largest value 1; zeros where nothing speaks for it.

    Args:
        classifier: the model.
        values: pixels (C, Y, X).
        index: the class.
    """
    network = classifier.network
    grid = network.grid(classifier.standardised(values[None])).detach().requires_grad_()
    logit = network.head(network.pool(grid))[0, index]
    (gradient,) = torch.autograd.grad(logit, grid)
    heat = torch.relu((gradient.mean((1, 2), keepdim=True) * grid).sum(-1))[0].detach()
    return (heat / heat.max().clamp(min=1e-12)).cpu().numpy()


@torch.no_grad()
def memory_map(classifier: Classifier, values: np.ndarray) -> np.ndarray | None:
    """Tokens after which a ViG's memory has halved, (y, x); None for other models and for a ViG-H."""
    mixers = [module for module in classifier.network.modules() if isinstance(module, ViGMixer)]
    seen: list[Tensor] = []

    def listen(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.append(output)

    hooks = [mixer.decay_out.register_forward_hook(listen) for mixer in mixers]
    try:
        grid = classifier.network.grid(classifier.standardised(values[None]))
    finally:
        for hook in hooks:
            hook.remove()
    size = grid.shape[1:3]
    if not seen or any(part.shape[1] != size[0] * size[1] for part in seen):
        return None
    # log a = logsigmoid(z) / 16, and a memory halves after log(1/2) / log a tokens
    lives = [16 * math.log(2) / nn.functional.softplus(-part.float()).clamp(min=1e-6) for part in seen]
    return torch.stack(lives).mean((0, 1, 3)).view(size).cpu().numpy()


def _index(classifier: Classifier, class_name: str | None, found: np.ndarray) -> int:
    if class_name is None:
        return int(found.argmax())
    if class_name not in classifier.classes:
        raise UnknownNameError("class", class_name, classifier.classes)
    return classifier.classes.index(class_name)


def _draw(path: Path, image: np.ndarray, heat: np.ndarray, memory: np.ndarray | None, title: str) -> None:
    from statewise.core.train.atomic import replace_file

    columns = 2 if memory is None else 3
    extent = (0, image.shape[1], image.shape[0], 0)
    ratio = image.shape[0] / image.shape[1]
    width = 3.2 * columns
    with drawing(width=width, height=min(12, max(2.0, 3.0 * ratio + 0.6)), columns=columns) as (figure, axes):
        for axis in axes:
            axis.axis("off")
        axes[0].imshow(image, extent=extent)
        axes[0].set_title(title)
        axes[1].imshow(image, extent=extent)
        axes[1].imshow(
            heat, extent=extent, cmap="inferno", alpha=0.6, vmin=0, vmax=1, interpolation="bilinear"
        )
        axes[1].set_title("what speaks for it")
        if memory is not None:
            shown = axes[2].imshow(memory, extent=extent, cmap="viridis")
            axes[2].set_title("memory halves after")
            figure.colorbar(shown, ax=axes[2], shrink=0.8, label="tokens", format="%.3g")
    data = png(figure)
    replace_file(path, lambda new: new.write_bytes(data))
