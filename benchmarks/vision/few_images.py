"""A folder of 200 images, from scratch: what the default model reaches there, beside a CNN.

The images are Fashion-MNIST's, written as files, twenty of each class; 2,000 of the test images judge. Two
draws of the folder.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.results import Column, Ledger, Result, Table, fingerprint, publish, versions
from statewise.vision.api import TrainSettings, evaluate_run, train_run
from statewise.vision.datasets import DATASETS
from statewise.vision.sources import ImageSource, open_images

NAME = "vision/few_images"
EACH, JUDGES, EPOCHS = 20, 200, 30
DRAWS = (0, 1)
MODELS = ("vig-nano", "cnn-nano")
PROTOCOL = {
    "folder": f"{EACH} images of each of the ten classes of Fashion-MNIST's training part, as PNG files; "
    "`vision train` draws 15 % of them to choose the weights and 15 % to judge",
    "judging": f"{JUDGES} images of each class of the test part",
    "training": f"`vision train FOLDER --model MODEL --epochs {EPOCHS}`, otherwise as it comes",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    source = open_images(["fashion-mnist"])
    ledger = Ledger(NAME, key=("draw", "model"))
    for draw in DRAWS:
        if any(ledger.find(draw=draw, model=model) is None for model in MODELS):
            with tempfile.TemporaryDirectory() as folder:
                write_images(source, Path(folder), draw)
                for model in MODELS:
                    if ledger.find(draw=draw, model=model) is None:
                        ledger.add(measure(Path(folder), draw, model))
                        print(ledger.rows[-1], flush=True)
    publish(report([row for d in DRAWS for m in MODELS if (row := ledger.find(draw=d, model=m)) is not None]))


def write_images(source: ImageSource, folder: Path, draw: int) -> None:
    """`few` and `judges` below the folder, class folders of PNG files each."""
    assert source.array is not None  # it is a set of IDX files
    rng = np.random.default_rng((draw, 3))
    for name, part, count in (("few", "train", EACH), ("judges", "test", JUDGES)):
        inside = np.array([one == part for one in source.parts])
        for label in range(len(source.classes)):
            members = np.flatnonzero(inside & (source.labels == label))
            place = folder / name / f"class {label}"
            place.mkdir(parents=True)
            for number in rng.permutation(members)[:count]:
                Image.fromarray(source.array[number, :, :, 0]).save(place / f"{number:05d}.png")


def measure(folder: Path, draw: int, model: str) -> dict[str, Any]:
    """Train as the command does; accuracy on the judges."""
    settings = TrainSettings(
        data=(str(folder / "few"),), model=model, epochs=EPOCHS, seed=draw, device="cpu", threads=1, cnn=False
    )
    begun = time.process_time()
    outcome = train_run(settings, out=folder / f"run-{model}")
    seconds = time.process_time() - begun
    found = evaluate_run(outcome.run.path, [str(folder / "judges")])
    return {
        "draw": draw,
        "model": model,
        "accuracy": found.score.accuracy,
        "cpu_seconds": round(seconds, 1),
    }


def report(rows: list[dict[str, Any]]) -> Result:
    table = [summarised([row for row in rows if row["model"] == model]) for model in MODELS]
    means = {row["model"]: row["accuracy"] for row in table}
    sets = [one for name, one in DATASETS.items() if name.startswith("fashion")]
    folder = Path("/usr/share/datasets/fashion-mnist")
    return Result(
        benchmark=NAME,
        title="A folder of 200 images, from scratch",
        summary=f"With {EACH} images of each of ten classes, trained from scratch, the default model names "
        f"{means['vig-nano']:.1%} of new images rightly, a small CNN {means['cnn-nano']:.1%}. There are no "
        "pretrained weights for these models: on a folder of this size take the one that the report shows to "
        "be better, and do not expect what pretrained networks reach.",
        versions=versions("statewise-core", "statewise-vision", "torch", "torchvision", "numpy"),
        data=tuple(
            fingerprint(folder / one.file, origin=one.credit, licence=one.licence)
            for one in sets
            if (folder / one.file).is_file()
        ),
        protocol=PROTOCOL,
        seeds=DRAWS,
        rows=tuple(rows),
        tables=(
            Table(
                title="Accuracy on 2,000 new images",
                columns=(
                    Column(key="model", label="model"),
                    Column(key="draws", label="draws"),
                    Column(key="accuracy", label="accuracy", format=".1%"),
                    Column(key="least", label="least", format=".1%"),
                    Column(key="most", label="most", format=".1%"),
                    Column(key="cpu_seconds", label="CPU s", format=".0f"),
                ),
                rows=tuple(table),
                note="least and most are over the draws of the folder.",
            ),
        ),
    )


def summarised(rows: list[dict[str, Any]]) -> dict[str, Any]:
    shares = [row["accuracy"] for row in rows]
    return {
        "model": rows[0]["model"],
        "draws": len(rows),
        "accuracy": fmean(shares),
        "least": min(shares),
        "most": max(shares),
        "cpu_seconds": fmean(row["cpu_seconds"] for row in rows),
    }


if __name__ == "__main__":
    main()
