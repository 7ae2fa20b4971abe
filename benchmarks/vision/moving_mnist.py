"""Moving MNIST: ConvS5 against ConvLSTM of equal size, 10 frames to 10, and a rollout to 80.

Every finished model is kept in a ledger and every training in a run directory, so that the script can be
stopped and started again.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks.results import ROOT, Column, Ledger, Result, Table, data_file, fingerprint, publish, versions
from statewise.core.train import FitConfig, Run, fit, seeded
from statewise.vision.datasets import DATASETS
from statewise.vision.idx import read_idx
from statewise.vision.macs import parameter_count
from statewise.vision.video.models import build_video
from statewise.vision.video.moving import moving_clips
from statewise.vision.video.settings import Forcing
from statewise.vision.video.task import VideoTask, baseline_scores, rollout_scores

NAME = "vision/moving_mnist"
SET = "mnist-test-images"
DIGITS = "vision/mnist/t10k-images-idx3-ubyte.gz"
SIZES: dict[str, dict[str, Any]] = {"convs5": {"d_state": 96}, "convlstm": {}}
"""What differs from the presets `nano`, so that both have about the same number of parameters."""
FORCINGS: tuple[Forcing, ...] = ("all", "given")
STEPS, BATCH = 2500, 8
CLIPS = {"train": 2000, "validation": 40, "test": 100}
SHOWN, PREDICTED, NEAR = 10, 80, 10
ROUNDS = 4
PROTOCOL = {
    "data": "two MNIST digits of 28 x 28 in frames of 64 x 64, a tenth of the way per frame; the digits are "
    "the 10,000 test images of MNIST, 7,000 of them in training clips, 1,500 each in validation and test "
    "clips, so that no test digit was seen in training (the published split shares digits)",
    "clips": f"{CLIPS['train']:,} of 20 frames train, {CLIPS['validation']} choose the weights, "
    f"{CLIPS['test']} of {SHOWN + PREDICTED} frames judge",
    "forcing": "all: each frame is predicted from the true ones before it; given: in training too ten true "
    "frames are shown and the predictions fed back behind them",
    "training": "divergence of pixels taken as chances; AdamW, peak rate 0.002, "
    f"cosine to zero, 50 steps of warm-up, {STEPS:,} steps of {BATCH} clips, bf16 products, states in fp32",
    "judging": f"{SHOWN} frames shown, {PREDICTED} predicted, each fed back; in fp32; squared error summed "
    "over the pixels of a frame, pixels from 0 to 1",
    "step": f"least CPU time of {ROUNDS} steps (forward and backward, {BATCH} clips of 20 frames), the "
    "models in turns in one process",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    clips = {part: drawn(part) for part in CLIPS}
    mean = clips["train"].mean((0, 1), dtype=np.float64) / 255
    ledger = Ledger(NAME, key=("method", "forcing"))
    parts = [(model, forcing) for forcing in FORCINGS for model in SIZES]
    for model, forcing in parts:
        if ledger.find(method=model, forcing=forcing) is None:
            ledger.add(trained(model, forcing, clips))
            print(ledger.rows[-1]["mse"][:NEAR], flush=True)
    rows = [
        row for model, forcing in parts if (row := ledger.find(method=model, forcing=forcing)) is not None
    ]
    for name, figures in baseline_scores(clips["test"], SHOWN, mean).items():
        rows.append({"method": name, "mse": by_frame(figures["mse"]), "ssim": by_frame(figures["ssim"])})
    for forcing in FORCINGS:
        if ledger.find(method="step", forcing=forcing) is None:
            ledger.add({"method": "step", "forcing": forcing, "milliseconds": raced(forcing, clips["train"])})
    publish(report(rows, [row for row in ledger.rows if row["method"] == "step"]))


def drawn(part: str) -> np.ndarray:
    """(n, T, 1, Y, X) bytes of one part, whose digits are in no other."""
    digits = read_idx(data_file(DIGITS))
    order = np.random.default_rng((0, 5)).permutation(len(digits))
    bounds = {"train": (0, 7_000), "validation": (7_000, 8_500), "test": (8_500, 10_000)}
    chosen = digits[order[slice(*bounds[part])]]
    frames = SHOWN + PREDICTED if part == "test" else 2 * SHOWN
    return moving_clips(chosen, count=CLIPS[part], frames=frames, seed=list(CLIPS).index(part))[:, :, None]


def trained(model: str, forcing: Forcing, clips: dict[str, np.ndarray]) -> dict[str, Any]:
    """Train one model and roll it out; figures by frame and what they took."""
    with seeded(0):
        network = build_video(f"{model}-nano", channels=1, **SIZES[model])
    both = np.concatenate([clips["train"], clips["validation"]])
    count = len(clips["train"])
    task = VideoTask(network, both, np.arange(count), np.arange(count, len(both)), SHOWN, forcing)
    place = ROOT / "runs" / "benchmarks" / NAME.replace("/", "-") / f"{model}-{forcing}"
    run = Run.open(place) if place.exists() else Run.create(place, default=model)
    here: list[int] = []
    before = time.process_time()
    result = fit(task, recipe(), run, progress=lambda tick: here.append(tick.step))
    seconds = (time.process_time() - before) * result.steps / max(1, len(here))
    found = rollout_scores(network.eval(), clips["test"], SHOWN)
    return {
        "method": model,
        "forcing": forcing,
        "parameters": parameter_count(network),
        "mse": by_frame(found["mse"]),
        "ssim": by_frame(found["ssim"]),
        "validation_mse": [row["val_mse"] for row in result.history],
        "cpu_seconds": round(seconds),
    }


def recipe() -> FitConfig:
    return FitConfig(
        epochs=None,
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=2e-3,
        warmup_steps=50,
        eval_every=STEPS // 5,
        precision="bf16",
        seed=0,
        device="cpu",
        threads=1,
    )


def by_frame(figures: torch.Tensor) -> list[float]:
    """The mean over clips of each predicted frame."""
    return [round(value, 5) for value in figures.mean(0).tolist()]


def raced(forcing: Forcing, clips: np.ndarray) -> dict[str, dict[str, float]]:
    """CPU milliseconds of a training step by precision and model."""
    found: dict[str, dict[str, float]] = {}
    nets = {model: build_video(f"{model}-nano", channels=1, **own) for model, own in SIZES.items()}
    batch = torch.from_numpy(clips[:BATCH]).float() / 255
    for kind in ("fp32", "bf16"):
        least = dict.fromkeys(nets, float("inf"))
        for turn in range(ROUNDS + 1):
            for model, network in nets.items():
                task = VideoTask(network, clips, np.arange(1), np.arange(1), SHOWN, forcing)
                begun = time.thread_time()
                with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
                    loss = task.loss(network, batch)
                loss.backward()
                if turn:  # the first step of each warms up
                    least[model] = min(least[model], time.thread_time() - begun)
        found[kind] = {model: round(1e3 * seconds, 1) for model, seconds in least.items()}
    return found


def report(rows: list[dict[str, Any]], steps: list[dict[str, Any]]) -> Result:
    table = [
        {
            "method": row["method"],
            "forcing": row.get("forcing"),
            "parameters": row.get("parameters"),
            "near": float(np.mean(row["mse"][:NEAR])),
            "ten": row["mse"][NEAR - 1],
            "far": row["mse"][PREDICTED - 1],
            "ssim": float(np.mean(row["ssim"][:NEAR])),
            "cpu_seconds": row.get("cpu_seconds"),
        }
        for row in rows
    ]
    lines = {(line["method"], line["forcing"]): line for line in table}
    ours, theirs = lines["convs5", "all"], lines["convlstm", "all"]
    ours_fed, theirs_fed, floor = (
        lines["convs5", "given"],
        lines["convlstm", "given"],
        lines["mean frame", None],
    )
    races = [
        {"forcing": step["forcing"], "kind": kind, **times, "ratio": times["convlstm"] / times["convs5"]}
        for step in steps
        for kind, times in step["milliseconds"].items()
    ]
    return Result(
        benchmark=NAME,
        title="Moving MNIST: ConvS5 against ConvLSTM",
        summary="Squared error of ConvS5 and of ConvLSTM, trained on true frames: "
        f"{ours['near']:.1f} and {theirs['near']:.1f} over ten predicted frames, {ours['ten']:.1f} and "
        f"{theirs['ten']:.1f} at the tenth, {ours['far']:.1f} and {theirs['far']:.1f} at the eightieth. With "
        f"predictions fed back in training: {ours_fed['near']:.1f} and {theirs_fed['near']:.1f}, "
        f"{ours_fed['ten']:.1f} and {theirs_fed['ten']:.1f}, {ours_fed['far']:.1f} and "
        f"{theirs_fed['far']:.1f}. The mean frame has {floor['near']:.1f}. Feeding back lowers the error and "
        "makes vaguer pictures, which SSIM likes less. Small models that see a few thousand clips: published "
        "figures come from far larger ones and hundreds of epochs.",
        versions=versions("statewise-core", "statewise-vision", "torch", "numpy"),
        data=(fingerprint(data_file(DIGITS), origin=DATASETS[SET].credit, licence=DATASETS[SET].licence),),
        protocol=PROTOCOL,
        seeds=(0,),
        rows=(*rows, *steps),
        tables=(
            Table(
                title="Rollout",
                columns=(
                    Column(key="method", label="method"),
                    Column(key="forcing", label="forcing"),
                    Column(key="parameters", label="parameters", format=","),
                    Column(key="near", label="MSE, frames 1 to 10", format=".1f"),
                    Column(key="ten", label="MSE, frame 10", format=".1f"),
                    Column(key="far", label="MSE, frame 80", format=".1f"),
                    Column(key="ssim", label="SSIM, frames 1 to 10", format=".3f"),
                    Column(key="cpu_seconds", label="training, CPU s", format=".0f"),
                ),
                rows=tuple(table),
                note="One seed each; the mean frame is that of the training clips.",
            ),
            Table(
                title="A training step",
                columns=(
                    Column(key="forcing", label="forcing"),
                    Column(key="kind", label="precision"),
                    Column(key="convs5", label="ConvS5, ms", format=".0f"),
                    Column(key="convlstm", label="ConvLSTM, ms", format=".0f"),
                    Column(key="ratio", label="times ConvLSTM's speed", format=".2f"),
                ),
                rows=tuple(races),
            ),
        ),
    )


if __name__ == "__main__":
    main()
