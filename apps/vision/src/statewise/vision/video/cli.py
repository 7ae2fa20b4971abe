"""The `vision video` program. The bodies import what they need: `--help` must not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from statewise.core.cli.app import App
from statewise.core.cli.options import (
    Budget,
    Device,
    Epochs,
    Out,
    Resume,
    Seed,
    Terminal,
    Threads,
    at_least,
)
from statewise.core.errors import ConfigError
from statewise.vision import __version__

__all__ = ["video_app"]

video_app = App("vision video", summary="Predict the next frames of clips.", version=__version__)

Count = Annotated[int, Parameter(validator=at_least(1))]


@video_app.command(alias="fit")
def train(
    data: Path | None = None,
    /,
    *,
    model: str = "convs5-nano",
    frames: Count = 20,
    given: int | None = None,
    forcing: Literal["given", "all"] = "given",
    size: str | None = None,
    channels: int | None = None,
    batch_size: Count = 8,
    learning_rate: float = 2e-3,
    precision: Literal["fp32", "bf16"] = "fp32",
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    epochs: Epochs = None,
    budget: Budget = None,
    resume: Resume = None,
    console: Terminal,
) -> None:
    """Train a model to predict the next frames of clips, with still pictures beside it.

    Example: vision video train clips/

    Args:
        data: a folder of GIF, MP4 or .npy clips or of folders of frames.
        model: one of `vision video models`, with its size.
        frames: Frames per training clip; longer clips are cut into pieces.
        given: Frames shown before a prediction; by default half.
        forcing: Feed in training the frames given, then the predictions; or all true frames, in parallel.
        size: Pixels a side, or HEIGHTxWIDTH, multiples of 4; by default those of the clips, at most 64.
        channels: Channels that all frames are brought to.
        batch_size: Clips per step.
        learning_rate: Peak learning rate.
        precision: Arithmetic of the forward pass; bf16 is faster where the processor has it.
        out: Run directory; by default runs/DATA-MODEL. No run is overwritten.
        seed: Seed of everything random.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: CPU threads; few on small work.
        epochs: Passes over the clips.
        budget: Wall time: 60, 60s, 10m, 1h30m; by default five minutes, with --epochs no limit.
        resume: Run directory to continue; its settings are taken over.
    """
    from statewise.vision.video.api import train_video
    from statewise.vision.video.settings import VideoSettings

    if data is None and resume is None:
        raise ConfigError("no clips are named", expected="a folder of clips", fix="name one: clips/")
    with console.progress("Training") as bar:
        settings = VideoSettings(
            data=str(data or ""),
            model=model,
            frames=frames,
            given=given,
            forcing=forcing,
            size=size,
            channels=channels,
            batch_size=batch_size,
            learning_rate=learning_rate,
            precision=precision,
            seed=seed,
            device=device,
            threads=threads,
            epochs=epochs,
            budget=budget,
        )
        outcome = train_video(settings, out=out, resume=resume, say=console.say, progress=bar.update)
    _tell(outcome, console)


@video_app.command(alias="score")
def evaluate(
    run: Path,
    data: Path,
    /,
    *,
    given: int | None = None,
    frames: int | None = None,
    console: Terminal,
) -> None:
    """Judge a model on clips, beside repeating the last frame and the mean frame.

    Example: vision video evaluate runs/clips-convs5-nano clips/ --given 10 --frames 90

    Args:
        run: Run directory.
        data: a folder of clips.
        given: Frames shown; by default those of training.
        frames: Frames per clip; by default those of training.
    """
    from statewise.vision.video.api import evaluate_video

    _tell(evaluate_video(run, data, given=given, frames=frames), console)


@video_app.command
def predict(
    run: Path,
    clip: Path,
    /,
    *,
    frames: Count = 20,
    out: Annotated[Path | None, Parameter(help="GIF to write; by default beside the clip.")] = None,
    console: Terminal,
) -> None:
    """Go on with a clip, one frame after the other in constant memory.

    Example: vision video predict runs/clips-convs5-nano clip.gif --frames 20

    Args:
        run: Run directory.
        clip: one clip.
        frames: How many to predict.
    """
    from statewise.core.train.atomic import replace_file
    from statewise.vision.video.api import predict_video
    from statewise.vision.video.report import moving

    seen, found = predict_video(run, clip, frames=frames)
    path = out or clip.with_name(f"{clip.stem}-predicted.gif")
    replace_file(path, lambda new: new.write_bytes(moving(found)))
    console.show(f"{path}: {len(found)} frames after {len(seen)}")
    console.result({"path": str(path), "seen": len(seen), "predicted": len(found)})


@video_app.command
def models(*, console: Terminal) -> None:
    """List the video models."""
    from statewise.core.cli.catalogue import list_models
    from statewise.vision.video.models import VIDEO_MODELS

    list_models(VIDEO_MODELS, console, facts=())


def _tell(outcome: object, console: Terminal) -> None:
    """The scores as a table and as JSON."""
    from statewise.vision.video.api import VideoOutcome
    from statewise.vision.video.report import score_rows

    assert isinstance(outcome, VideoOutcome)  # from our own functions
    rows = [[name, *(round(value, 3) for value in values)] for name, *values in score_rows(outcome)]
    title = f"{outcome.clips} clips, {outcome.given} frames shown; sums over the pixels of a frame"
    console.table(["method", "MSE", "MAE", "PSNR, dB", "SSIM"], rows, title=title)
    if outcome.run is not None:
        files = [outcome.run.path / name for name in ("report.html", "prediction.gif", "model")]
        console.show("\n".join(["", *map(str, files)]))
    console.result(
        {
            "run": None if outcome.run is None else str(outcome.run.path),
            "clips": outcome.clips,
            "given": outcome.given,
            "scores": outcome.scores,
            "by_frame": outcome.by_frame,
        }
    )
