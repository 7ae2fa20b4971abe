"""What `vision video` does, as functions: train, evaluate, predict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from statewise.core.config import config_class, from_dict, to_dict
from statewise.core.errors import DataError
from statewise.core.train import FitConfig, Run, Tick, fit, load_model, resolve_device, save_model, seeded
from statewise.core.train.settings import keep_settings, kept_settings, require_same_data
from statewise.vision.pixels import Shape
from statewise.vision.settings import parse_size
from statewise.vision.video.clips import ClipSet, open_clips, read_clip, shaped
from statewise.vision.video.models import VIDEO_MODELS, build_video, check_video_name
from statewise.vision.video.models.frame_model import FrameModel, rollout
from statewise.vision.video.settings import VideoSettings
from statewise.vision.video.task import VideoTask, baseline_scores, rollout_scores

__all__ = ["VideoModel", "VideoOutcome", "evaluate_video", "load_video", "predict_video", "train_video"]

KIND = "vision/video"
_LARGEST = 64
Progress = Callable[[float, str], None]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class VideoModel:
    """A network with all that it needs to read a clip."""

    model: str
    network: FrameModel
    shape: Shape
    given: int
    """Frames that evaluations show."""
    frames: int
    """Frames per training clip."""


@dataclass(frozen=True, kw_only=True)
class VideoOutcome:
    """Figures on clips: mean over the frames that were predicted, and by frame."""

    video: VideoModel
    clips: int
    given: int
    scores: dict[str, dict[str, float]]
    """By method (the model first, then the baselines), then by figure."""
    by_frame: dict[str, dict[str, list[float]]]
    notes: tuple[str, ...]
    examples: np.ndarray
    """(k, T, C, Y, X) bytes: true clips to draw."""
    mean: np.ndarray
    """(C, Y, X), the mean frame of the training clips, from 0 to 1."""
    run: Run | None = None


def train_video(
    settings: VideoSettings,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> VideoOutcome:
    """Read clips, train, judge and write a run directory.

    Args:
        settings: what is asked for.
        out: the run directory; None for `runs/<data>-<model>`.
        resume: a run to finish with its own settings instead.
        say: told what is assumed.
        progress: told the fraction done.

    Raises:
        UserError: the clips cannot be read or the settings do not fit them.
    """
    from statewise.vision.video.report import write_video_report

    kept = None
    if resume is not None:
        settings, kept = kept_settings(Run.open(resume), VideoSettings)
    name, _ = check_video_name(settings.model)
    source = open_clips(Path(settings.data))
    shape = _shape_of(source, settings)
    clips, sizes = _pieces(source, shape, settings.frames)
    parts = _parts(sizes, settings.seed)
    digest = hashlib.blake2b(clips.tobytes(), digest_size=6).hexdigest()
    given = settings.given or settings.frames // 2
    notes = (
        f"{len(source)} clips, {len(clips)} pieces of {settings.frames} frames, "
        f"{shape.height} x {shape.width} pixels, {shape.channels} channels",
        f"{len(parts[0])} train, {len(parts[1])} choose the weights, {len(parts[2])} judge; pieces of one "
        "clip stay together where there are ten clips or more",
        f"{given} frames are shown, {settings.frames - given} predicted; training feeds "
        + ("those and then its predictions" if settings.forcing == "given" else "all true frames"),
    )
    for note in notes:
        if say is not None:
            say(note)
    if resume is not None:
        run = Run.open(resume)
        require_same_data(run, kept or "", digest, [settings.data])
    else:
        run = Run.create(out, default=settings.name)
        keep_settings(run, settings, fingerprint=digest)
    with seeded(settings.seed):
        network = build_video(settings.model, channels=shape.channels)
    task = VideoTask(network, clips, parts[0], parts[1], given, settings.forcing)
    fit(task, _fit_config(settings, len(parts[0])), run, progress=_ticker(settings.model, progress))
    video = VideoModel(model=name, network=network.eval(), shape=shape, given=given, frames=settings.frames)
    save_model(
        run.path / "model",
        kind=KIND,
        config={"model": name, "settings": to_dict(network.config)},
        metadata={
            "shape": to_dict(shape),
            "given": given,
            "frames": settings.frames,
            "mean": (clips[parts[0]].mean((0, 1)) / 255).round(6).tolist(),
        },
        network=network,
    )
    mean = clips[parts[0]].mean((0, 1)) / 255
    outcome = _judged(video, clips[parts[2]], mean, given, notes, run)
    run.write_json("scores.json", outcome.scores)
    write_video_report(outcome, run)
    return outcome


def evaluate_video(
    path: Path, data: Path, *, given: int | None = None, frames: int | None = None
) -> VideoOutcome:
    """Judge a model on clips, also on longer ones than it was trained on.

    Args:
        path: the run or model directory.
        data: a folder of clips, or one.
        given: frames to show; None: those of training.
        frames: frames per piece; None: those of training.

    Raises:
        DataError: there are no clips, or all are too short.
    """
    video, mean = load_video(path)
    given, frames = given or video.given, frames or video.frames
    if not 1 <= given < frames:
        raise DataError(
            "leaves no frame to predict",
            where="--given",
            seen=f"{given} of {frames} frames",
            expected=f"1 to {frames - 1}",
            fix="show fewer frames, or set --frames",
        )
    clips, _ = _pieces(open_clips(data), video.shape, frames)
    return _judged(video, clips, mean, given, (), None)


def predict_video(path: Path, clip: Path, *, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Go on with a clip: the frames seen (T, C, Y, X) and those predicted, bytes.

    Args:
        path: the run or model directory.
        clip: one clip.
        frames: how many to predict.

    Raises:
        DataError: it cannot be read.
    """
    video, _ = load_video(path)
    source = open_clips(clip)
    if len(source) != 1:
        raise DataError("is a folder of several clips", where=str(clip), fix="name one of them")
    seen = shaped(read_clip(source.paths[0]), video.shape, str(clip))
    device = next(video.network.parameters()).device
    given = torch.from_numpy(seen)[None].float().to(device) / 255
    found = rollout(video.network, given, frames)[0]
    return seen, (255 * found).round().to(torch.uint8).cpu().numpy()


def load_video(path: Path) -> tuple[VideoModel, np.ndarray]:
    """A saved model, and the mean frame of its training clips.

    Raises:
        CheckpointError: there is none, or it is damaged, of another app or too new.
    """
    saved = load_model(path, kind=KIND)
    where, facts = str(saved.path), saved.metadata
    target = VIDEO_MODELS.load(saved.config["model"])
    network = target(from_dict(config_class(target), saved.config["settings"], where=where))
    saved.load_weights(network)
    video = VideoModel(
        model=saved.config["model"],
        network=network.to(resolve_device("auto")).eval(),
        shape=from_dict(Shape, facts["shape"], where=where),
        given=facts["given"],
        frames=facts["frames"],
    )
    return video, np.array(facts["mean"])


def _judged(
    video: VideoModel,
    clips: np.ndarray,
    mean: np.ndarray,
    given: int,
    notes: tuple[str, ...],
    run: Run | None,
) -> VideoOutcome:
    found = {video.model: rollout_scores(video.network, clips, given)} | baseline_scores(clips, given, mean)
    return VideoOutcome(
        video=video,
        clips=len(clips),
        given=given,
        scores={
            method: {name: float(values.mean()) for name, values in figures.items()}
            for method, figures in found.items()
        },
        by_frame={
            method: {name: values.mean(0).tolist() for name, values in figures.items()}
            for method, figures in found.items()
        },
        notes=notes,
        examples=clips[:2],
        mean=mean,
        run=run,
    )


def _shape_of(source: ClipSet, settings: VideoSettings) -> Shape:
    first = source.first()
    channels = settings.channels or first.shape[3]
    if settings.size is not None:
        height, width = parse_size(settings.size)
    else:
        scale = min(1.0, _LARGEST / min(first.shape[1:3]))
        height, width = (max(4, round(side * scale) // 4 * 4) for side in first.shape[1:3])
    return Shape(channels=channels, height=height, width=width, fit="stretch")


def _pieces(source: ClipSet, shape: Shape, frames: int) -> tuple[np.ndarray, list[int]]:
    """Clips cut into pieces of equal length (n, T, C, Y, X), and how many each clip gave."""
    pieces, sizes, longest = [], [], 0
    for path in source.paths:
        clip = shaped(read_clip(path), shape, str(path))
        longest = max(longest, len(clip))
        count = len(clip) // frames
        sizes.append(count)
        pieces += [clip[i * frames : (i + 1) * frames] for i in range(count)]
    if not pieces:
        raise DataError(
            "has no clip that is long enough",
            where=source.name,
            seen=f"at most {longest} frames",
            expected=f"{frames} frames",
            fix=f"set --frames {max(3, longest)}" if longest >= 3 else "give longer clips",
        )
    return np.stack(pieces), sizes


def _parts(sizes: list[int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pieces that train, choose and judge; by whole clips where there are enough of them."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    units = owner if len(np.unique(owner)) >= 10 else np.arange(len(owner))
    groups = np.unique(units)
    if len(groups) < 3:
        raise DataError(
            "there are too few clips",
            seen=f"{len(groups)} pieces",
            expected="3 or more: one each to train, to choose and to judge",
            fix="give more or longer clips, or set --frames lower",
        )
    order = np.random.default_rng((seed, 11)).permutation(groups)
    held = max(1, round(0.15 * len(groups)))
    chosen = order[:held], order[held : 2 * held]
    validation, test = (np.flatnonzero(np.isin(units, one)) for one in chosen)
    train = np.setdiff1d(np.arange(len(owner)), np.concatenate([validation, test]))
    return train, validation, test


def _fit_config(settings: VideoSettings, clips: int) -> FitConfig:
    limit = settings.seconds
    steps = -(-clips // settings.batch_size)
    return FitConfig(
        epochs=settings.epochs,
        budget=None if limit is None else 0.9 * limit,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=min(50, 3 * steps),
        precision=settings.precision,
        seed=settings.seed,
        device=settings.device,
        threads=settings.threads,
    )


def _ticker(name: str, progress: Progress | None) -> Callable[[Tick], None] | None:
    if progress is None:
        return None

    def tell(tick: Tick) -> None:
        best = "" if tick.best is None else f", validation MSE {tick.best:.4g}"
        progress(tick.fraction, f"{name}: epoch {int(tick.epoch) + 1}{best}")

    return tell
