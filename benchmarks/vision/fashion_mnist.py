"""Fashion-MNIST: small models of equal size and equal epochs, three seeds for ViG and ViT.

Every finished (model, seed) is kept in a ledger, so that the script can be stopped and started again.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks.results import ROOT, Column, Ledger, Result, Table, fingerprint, publish, versions
from statewise.core.train import FitConfig, Run, fit, seeded
from statewise.vision.datasets import DATASETS
from statewise.vision.macs import multiply_adds, parameter_count
from statewise.vision.metrics import score
from statewise.vision.models import build
from statewise.vision.pixels import PixelSet, find_shape, load_pixels
from statewise.vision.sources import open_images
from statewise.vision.splits import Parts, divide
from statewise.vision.task import ImageTask, Standard, probabilities

NAME = "vision/fashion_mnist"
EPOCHS = 4
SIZES: dict[str, dict[str, Any]] = {
    "vig": {"depth": 2},
    "vit": {"depth": 2, "mlp_ratio": 5.8},
    "cnn": {"base": 22},
    "lightnet": {"depth": 2, "mlp_multiple": 56},
    "plstm": {"depth": 2, "d_model": 72, "heads": 3},
}
"""What differs from the presets `nano`, so that all have about the same number of parameters."""
RUNS = [
    *(("vig", 0), ("vit", 0), ("cnn", 0), ("vig", 1), ("vit", 1)),
    *(("lightnet", 0), ("vig", 2), ("vit", 2), ("plstm", 0)),
]
PROTOCOL = {
    "data": "54,000 training images train, 6,000 of them drawn class by class are for validation, the 10,000 "
    "test images judge",
    "images": "28 x 28 grey, standardised by the mean and deviation of the training images, never changed",
    "models": "patch 4 (49 tokens), 64 features (pLSTM 72), 2 blocks; the CNN has 3 stages",
    "training": "AdamW, peak rate 0.003 for every model, cosine to zero with 100 steps of warm-up, batch 64, "
    f"weight decay 0.05, gradients clipped at 1, {EPOCHS} epochs; the last weights count",
    "seconds": "CPU time of training on one thread of a busy machine, with validation",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    pixels, parts = load()
    standard = Standard.of(pixels.values[parts.train])
    ledger = Ledger(NAME, key=("model", "seed"))
    wanted = sys.argv[1:]
    for model, seed in RUNS:
        if ledger.find(model=model, seed=seed) is None and (not wanted or model in wanted):
            ledger.add(measure(model, seed, pixels, parts, standard))
            print(ledger.rows[-1], flush=True)
    rows = [row for model, seed in RUNS if (row := ledger.find(model=model, seed=seed)) is not None]
    publish(report(rows))


def load() -> tuple[PixelSet, Parts]:
    source = open_images(["fashion-mnist"])
    shape, _ = find_shape(source, channels=None, size=None, fit="crop")
    return load_pixels(source, shape), divide(source, seed=0)


def measure(model: str, seed: int, pixels: PixelSet, parts: Parts, standard: Standard) -> dict[str, Any]:
    """Train with one seed; test figures and what they took. A run that was cut off goes on."""
    with seeded(seed):
        network = build(f"{model}-nano", channels=1, classes=10, height=28, width=28, **SIZES[model])
    task = ImageTask(network, pixels, standard, parts.train, parts.validation)
    place = ROOT / "runs" / "benchmarks" / NAME.replace("/", "-") / f"{model}-{seed}"
    run = Run.open(place) if place.exists() else Run.create(place, default=model)
    started: list[int] = []
    before = time.process_time()
    result = fit(task, recipe(seed), run, progress=lambda tick: started.append(tick.step))
    seconds = (time.process_time() - before) * result.steps / max(1, len(started))
    found = probabilities(network, pixels.values[parts.test], standard)
    scores = score(pixels.source.labels[parts.test], found)
    return {
        "model": model,
        "seed": seed,
        "parameters": parameter_count(network),
        "multiply_adds": multiply_adds(network, 1, 1, 28, 28),
        "accuracy": scores.accuracy,
        "low": scores.low,
        "high": scores.high,
        "macro_f1": scores.macro_f1,
        "log_loss": scores.log_loss,
        "validation_error": result.history[-1]["val_error"],
        "cpu_seconds": round(seconds, 1),
    }


def recipe(seed: int) -> FitConfig:
    return FitConfig(
        epochs=EPOCHS,
        eval_every=1_000_000,  # at the end only
        batch_size=64,
        learning_rate=3e-3,
        warmup_steps=100,
        weight_decay=0.05,
        seed=seed,
        device="cpu",
        threads=1,
    )


def report(rows: list[dict[str, Any]]) -> Result:
    table = [summarise([row for row in rows if row["model"] == model]) for model in ordered(rows)]
    means = {row["model"]: row["accuracy"] for row in table}
    lead = means["vig"] - means["vit"] if {"vig", "vit"} <= means.keys() else None
    lead_text = "" if lead is None else f"ViG is {100 * lead:+.1f} points from the ViT of equal size. "
    folder = Path("/usr/share/datasets/fashion-mnist")
    sets = [one for name, one in DATASETS.items() if name.startswith("fashion")]
    return Result(
        benchmark=NAME,
        title="Fashion-MNIST, small models",
        summary=f"Test accuracy after {EPOCHS} epochs, means over the seeds. {lead_text}This compares models "
        "of one size on one short budget and one recipe; it says nothing about what any of them reaches with "
        "more training. A convolutional network is beside them: on images this small it is the one to beat.",
        versions=versions("statewise-core", "statewise-vision", "torch", "torchvision", "numpy"),
        data=tuple(
            fingerprint(folder / one.file, origin=one.credit, licence=one.licence)
            for one in sets
            if (folder / one.file).is_file()
        ),
        protocol=PROTOCOL,
        seeds=tuple(sorted({row["seed"] for row in rows})),
        rows=tuple(rows),
        tables=(
            Table(
                title="Test accuracy",
                columns=(
                    Column(key="model", label="model"),
                    Column(key="seeds", label="seeds"),
                    Column(key="accuracy", label="accuracy", format=".2%"),
                    Column(key="least", label="least", format=".2%"),
                    Column(key="most", label="most", format=".2%"),
                    Column(key="log_loss", label="log loss", format=".3f"),
                    Column(key="parameters", label="parameters", format=","),
                    Column(key="megamacs", label="multiply-adds (M)", format=".1f"),
                    Column(key="cpu_seconds", label="CPU s", format=".0f"),
                ),
                rows=tuple(table),
                note="least and most are over the seeds; one test set of 10,000 images leaves about "
                "0.6 points either way.",
            ),
        ),
    )


def ordered(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["model"] for row in rows))


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    shares = [row["accuracy"] for row in rows]
    return {
        "model": rows[0]["model"],
        "seeds": len(rows),
        "accuracy": fmean(shares),
        "least": min(shares),
        "most": max(shares),
        "log_loss": fmean(row["log_loss"] for row in rows),
        "parameters": rows[0]["parameters"],
        "megamacs": rows[0]["multiply_adds"] / 1e6,
        "cpu_seconds": float(np.mean([row["cpu_seconds"] for row in rows])),
    }


if __name__ == "__main__":
    main()
