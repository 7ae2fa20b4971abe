"""A trained classifier as a file for other runtimes: ONNX, or torch.export's .pt2.

    images (B, C, Y, X) float32, standardised inside  ->  probabilities (B, K)

The file is made for one resolution and any B. Our operators are written out in plain operations, so that the
file needs nothing of this project; it is compared with the model on random images before it is kept. Class
names, channels and size are stored in it as JSON, under "statewise".
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from statewise.core.errors import ConfigError, MissingExtraError, UserError
from statewise.core.ops.dispatch import written_out
from statewise.core.train.atomic import replace_file
from statewise.vision.saved import Classifier, load_classifier
from statewise.vision.settings import parse_size

__all__ = ["ExportedClassifier", "export_classifier"]

OPSET = 20
LARGEST_DIFFERENCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class ExportedClassifier:
    """What was written."""

    path: str
    format: str
    channels: int
    height: int
    width: int
    classes: tuple[str, ...]
    pixels: str
    """What the file takes."""
    difference: float
    """Largest difference of a probability from the model's own, over random images."""


class _Whole(nn.Module):
    """Standardise, classify, normalise."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network = classifier.network
        self.standard = classifier.standard

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.network(self.standard.apply(images)), -1)


def export_classifier(run: str | Path, path: Path, *, size: str | None = None) -> ExportedClassifier:
    """Write a trained model as a file.

    Args:
        run: the run or model directory.
        path: the file, ending in .onnx or .pt2.
        size: `64` or `40x72`; None: that of training.

    Raises:
        ConfigError: the ending is another one.
        MissingExtraError: ONNX is asked for and its packages are not installed.
        UserError: ONNX has no form for an operation of this model.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("onnx", "pt2"):
        raise ConfigError(
            "has no ending of an export",
            where=str(path),
            seen=path.suffix or "no ending",
            expected=".onnx or .pt2",
            fix=f"name it {path.stem}.onnx",
        )
    classifier = load_classifier(run, device="cpu")
    shape = classifier.shape
    height, width = (shape.height, shape.width) if size is None else parse_size(size)
    whole = _Whole(classifier).eval().requires_grad_(False)
    example = torch.rand(2, shape.channels, height, width, generator=torch.Generator().manual_seed(0))
    with written_out():
        program = torch.export.export(whole, (example,), dynamic_shapes=({0: Dim("B")},), strict=False)
    facts = ExportedClassifier(
        path=str(path),
        format=kind,
        channels=shape.channels,
        height=height,
        width=width,
        classes=classifier.classes,
        pixels="float32 from 0 to 1",
        difference=0.0,
    )
    note = json.dumps({name: value for name, value in asdict(facts).items() if name != "difference"})
    data, run_file = _onnx(program, note) if kind == "onnx" else _pt2(program, note)
    images = torch.rand(3, shape.channels, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = whole(images).numpy()
    difference = float(np.abs(run_file(images) - wanted).max())
    if not difference < LARGEST_DIFFERENCE:
        raise RuntimeError(f"the exported {classifier.model} differs from the model by {difference:.2g}")
    replace_file(path, lambda new: new.write_bytes(data))
    return replace(facts, difference=difference)


def _pt2(program: ExportedProgram, note: str) -> tuple[bytes, Callable[[Tensor], np.ndarray]]:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"statewise.json": note})

    def run(images: Tensor) -> np.ndarray:
        loaded = torch.export.load(io.BytesIO(buffer.getvalue()))
        return loaded.module()(images).detach().numpy()

    return buffer.getvalue(), run


def _onnx(program: ExportedProgram, note: str) -> tuple[bytes, Callable[[Tensor], np.ndarray]]:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        package = error.name or "onnxscript"
        raise MissingExtraError(package, "statewise-core[export]", "export to ONNX") from None
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        converted: Any = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["probabilities"],
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            "ONNX has no form for an operation of this model",
            where="--out",
            seen=str(error.__cause__ or error).splitlines()[0],
            fix="export it as .pt2",
        ) from error
    finally:
        logger.setLevel(level)
    converted.model.metadata_props["statewise"] = note
    data = converted.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda images: np.asarray(session.run(None, {"images": images.numpy()})[0])
