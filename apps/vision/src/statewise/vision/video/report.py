"""The report of a video run: figures by frame, a sheet of truth beside prediction, and a moving one."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from statewise.core.report import Report, drawing, png
from statewise.core.train import Run
from statewise.vision.macs import parameter_count
from statewise.vision.report import picture
from statewise.vision.video.api import VideoOutcome
from statewise.vision.video.models.frame_model import rollout

__all__ = ["FIGURES", "contact_sheet", "moving", "moving_picture", "score_rows", "write_video_report"]

FIGURES = ("mse", "mae", "psnr", "ssim")
_MOST = 10


def write_video_report(outcome: VideoOutcome, run: Run) -> None:
    """Write `report.html`, `frames.png` and `prediction.gif` into the run."""
    video, given = outcome.video, outcome.given
    page = Report(f"{video.model} on clips", f"{outcome.clips} clips judged, {given} frames shown")
    scores = outcome.scores
    best = min((name for name in scores if name != video.model), key=lambda name: scores[name]["mse"])
    page.paragraph(
        f"mean squared error {scores[video.model]['mse']:.1f} per frame, {best} {scores[best]['mse']:.1f}"
        + ("" if scores[video.model]["mse"] < scores[best]["mse"] else ": the model is no better")
    )
    page.table(
        ["method", "MSE", "MAE", "PSNR, dB", "SSIM"],
        score_rows(outcome),
        caption="sums over the pixels of a frame, means over predicted frames; pixels from 0 to 1",
        strong=[0],
    )
    with drawing() as (figure, axes):
        for method, figures in outcome.by_frame.items():
            axes.plot(range(given + 1, given + 1 + len(figures["mse"])), figures["mse"], label=method)
        axes.set(title="squared error by frame", xlabel="frame", ylim=(0, None))
        axes.legend()
    page.figure(figure, caption="mean squared error of each predicted frame")
    predicted = _continued(outcome)
    true = outcome.examples[0]
    rows = {"truth": true, video.model: predicted[0]} | _still(true, outcome.mean, given)
    sheet = contact_sheet(rows, given)
    run.write_bytes("frames.png", png(sheet))
    caption = f"truth, {video.model}, the last frame repeated and the mean frame; {given} frames were shown"
    page.figure(sheet, caption=caption, kind="png")
    run.write_bytes("prediction.gif", moving_picture(outcome.examples[0], predicted[0]))
    for note in outcome.notes:
        page.paragraph(note)
    page.facts({"model": video.model, "parameters": parameter_count(video.network)})
    run.write_text("report.html", page.render())


def score_rows(outcome: VideoOutcome) -> list[list[Any]]:
    """A line per method."""
    return [[name, *(figures[key] for key in FIGURES)] for name, figures in outcome.scores.items()]


def contact_sheet(rows: dict[str, np.ndarray], given: int) -> Any:
    """Frames spread over a clip, one row per clip.

    Args:
        rows: clips (T, C, Y, X) of bytes by name; their first frames are those given.
        given: how many.
    """
    length = len(next(iter(rows.values())))
    chosen = np.unique(np.linspace(0, length - 1, min(_MOST, length)).round().astype(int))
    height = 1.0 * len(rows) + 0.3
    with drawing(width=9, height=height, rows=len(rows), columns=len(chosen)) as (figure, axes):
        for row, (name, clip) in enumerate(rows.items()):
            for column, frame in enumerate(chosen):
                axis = axes[row, column]
                axis.imshow(picture(clip[frame]), interpolation="nearest", vmin=0, vmax=255)
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
                if row == 0:
                    axis.set_title(f"{frame + 1}" + (" shown" if frame < given else ""), fontsize=7)
            axes[row, 0].set_ylabel(name, fontsize=7)
    return figure


def _still(true: np.ndarray, mean: np.ndarray, given: int) -> dict[str, np.ndarray]:
    """The clip with its later frames replaced by the last one shown, and by the mean frame."""
    last, average = true.copy(), true.copy()
    last[given:] = true[given - 1]
    average[given:] = np.round(255 * mean).astype(np.uint8)
    return {"last frame": last, "mean frame": average}


def moving_picture(true: np.ndarray, predicted: np.ndarray) -> bytes:
    """A GIF with the truth at the left and the prediction at the right; (T, C, Y, X) bytes each."""
    line = np.full((*true.shape[:3], 2), 128, np.uint8)
    return moving(np.concatenate([true, line, predicted], axis=3))


def moving(clip: np.ndarray) -> bytes:
    """A clip (T, C, Y, X) of bytes as a GIF at twice its size."""
    frames = []
    for frame in clip:
        image = Image.fromarray(picture(frame))
        frames.append(image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST))
    out = io.BytesIO()
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=120, loop=0)
    return out.getvalue()


def _continued(outcome: VideoOutcome) -> np.ndarray:
    """The examples with what follows the frames given replaced by the prediction."""
    device = next(outcome.video.network.parameters()).device
    true = torch.from_numpy(outcome.examples).float().to(device) / 255
    found = rollout(outcome.video.network, true[:, : outcome.given], true.shape[1] - outcome.given)
    later = (255 * found).round().to(torch.uint8).cpu().numpy()
    return np.concatenate([outcome.examples[:, : outcome.given], later], axis=1)
