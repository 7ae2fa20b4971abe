"""What the `vision` command does with images, as functions: train, resume, evaluate, predict.

from statewise.vision.api import TrainSettings, train_run, predict_run

outcome = train_run(TrainSettings(data=("photos",)), out="runs/photos")
rows, notes = predict_run("runs/photos", ["new.jpg"])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tomli_w

from statewise.core.config import to_dict
from statewise.core.errors import DataError
from statewise.core.train import FitConfig, FitResult, Run, Tick, fit, seeded
from statewise.core.train.settings import keep_settings, kept_settings, require_same_data
from statewise.vision.augment import AugmentConfig, Augmenter
from statewise.vision.baselines import commonest, linear
from statewise.vision.decode import UnreadableImage
from statewise.vision.metrics import Score, confusion, score
from statewise.vision.models import build, check_name
from statewise.vision.models.image_model import ImageModel
from statewise.vision.pixels import PixelSet, Shape, find_shape, load_pixels, resized, with_channels
from statewise.vision.saved import Classifier, load_classifier, save_classifier
from statewise.vision.settings import AUTO, NATIVE, TrainSettings, parse_size
from statewise.vision.sources import ImageSource, open_images
from statewise.vision.splits import Parts, divide, shared_images
from statewise.vision.task import ImageTask, Standard
from statewise.vision.transfer import taken_over

__all__ = [
    "Evaluation",
    "Outcome",
    "Prediction",
    "TrainSettings",
    "evaluate_run",
    "predict_run",
    "resume_run",
    "train_run",
]

Say = Callable[[str], None]
Progress = Callable[[float, str], None]
_SHARES = {"cnn": 0.2, "model": 0.65}
"""Of the time limit; reading, baselines and the report come on top."""
_SMALL, _TINY = 64, 16
_FEW_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a training run."""

    settings: TrainSettings
    classifier: Classifier
    pixels: PixelSet
    parts: Parts
    notes: tuple[str, ...]
    """What was assumed."""
    scores: dict[str, Score]
    """On the test images: the model first, then the baselines."""
    seconds: dict[str, float]
    """Of training, by the same names."""
    confusion: np.ndarray
    """(K, K) counts of the model: row the true class, column the named one."""
    wrong: tuple[int, ...]
    """Test images that the model is most surely wrong about."""
    probabilities: np.ndarray
    """(n, K) of the test images."""
    history: list[dict[str, float | None]]
    run: Run


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of judging a model on labelled images."""

    classifier: Classifier
    source: ImageSource
    shape: Shape
    score: Score
    confusion: np.ndarray
    commonest: float
    """Accuracy of naming the commonest class of these images."""
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One image and its most probable classes."""

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def train_run(
    settings: TrainSettings,
    *,
    out: str | Path | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Read, train, judge and write a run directory.

    Args:
        settings: what is asked for.
        out: the run directory; None for `runs/<data>-<model>`.
        say: told what is assumed, line by line.
        progress: told the fraction done and a few words.

    Raises:
        UserError: the images cannot be read or the settings do not fit them.
    """
    job = _Job(settings, say, progress)
    run = Run.create(out, default=settings.name)
    if run.notice and say is not None:
        say(run.notice)
    keep_settings(run, settings, fingerprint=job.pixels.fingerprint)
    run.write_text("config.toml", tomli_w.dumps(settings.flags()))
    return job.finish(run)


def resume_run(
    path: str | Path,
    *,
    data: Sequence[str] | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Finish a run that was cut off: same settings, same images, from its last checkpoint.

    Args:
        path: the run directory.
        data: where the images are now, if they have moved.
        say: told what is assumed.
        progress: told the fraction done.

    Raises:
        CheckpointError: there is no such run, or the images are not those it began with.
    """
    run = Run.open(path)
    settings, fingerprint = kept_settings(run, TrainSettings)
    if data:
        settings = replace(settings, data=tuple(data))
    job = _Job(settings, say, progress)
    require_same_data(run, fingerprint, job.pixels.fingerprint, settings.data)
    return job.finish(run)


class _Job:
    """One training run on its way: everything that follows from the settings and the images."""

    def __init__(self, settings: TrainSettings, say: Say | None, progress: Progress | None) -> None:
        self.settings, self.progress = settings, progress
        self.started = time.monotonic()
        if settings.model != AUTO:
            check_name(settings.model)  # a wrong name should not wait for the images
        source = open_images(settings.data)
        size = None if settings.size is None else parse_size(settings.size)
        shape, assumed = find_shape(source, channels=settings.channels, size=size, fit=settings.fit)
        self.pixels = load_pixels(source, shape, progress)
        self.parts = divide(self.pixels.source, settings.seed)
        self.standard = Standard.of(self.pixels.values[self.parts.train])
        self.mirror = settings.mirror
        if self.mirror is None:
            self.mirror = not all(len(name) == 1 for name in source.classes)
        self.model, self.own = _model_for(settings.model, shape)
        self.notes = (*self.pixels.source.notes, *assumed, *self._assumed())
        for note in self.notes:
            if say is not None:
                say(note)

    def finish(self, run: Run) -> Outcome:
        """Train, judge, and write all of it."""
        from statewise.vision.report import write_report

        network, result = self._trained(self.model, self.own, run, "model")
        classifier = Classifier(
            model=check_name(self.model)[0],
            network=network,
            classes=self.pixels.source.classes,
            shape=self.pixels.shape,
            standard=self.standard,
            converts=self.settings.channels is not None or any("are read as colour" in n for n in self.notes),
            fingerprint=self.pixels.fingerprint,
        )
        save_classifier(run.path / "model", classifier)
        outcome = self._judged(classifier, result, run)
        run.write_json("scores.json", {name: to_dict(one) for name, one in outcome.scores.items()})
        run.write_text("confusion.csv", confusion_csv(outcome.confusion, classifier.classes))
        write_report(outcome, run)
        return outcome

    def _judged(self, classifier: Classifier, result: FitResult, run: Run) -> Outcome:
        """Figures on the test images, of the model and of what it is compared with."""
        values, labels = self.pixels.values[self.parts.test], self.pixels.source.labels[self.parts.test]
        found = classifier.probabilities(values)
        scores = {self.model: score(labels, found)}
        seconds = {self.model: result.seconds}
        if self.settings.cnn and not self.model.startswith("cnn"):
            name = (
                "cnn-nano"
                if max(self.pixels.shape.height, self.pixels.shape.width) <= _SMALL
                else "cnn-micro"
            )
            network, beside = self._trained(name, {}, run.part("cnn"), "cnn")
            other = replace(classifier, model="cnn", network=network)
            scores[name], seconds[name] = score(labels, other.probabilities(values)), beside.seconds
        for name, baseline in (("linear on pixels", linear), ("commonest class", commonest)):
            begun = time.monotonic()
            scores[name] = score(labels, baseline(self.pixels, self.parts))
            seconds[name] = time.monotonic() - begun
        sure = np.where(found.argmax(1) != labels, found.max(1), -1.0)
        wrong = [int(i) for i in np.argsort(-sure, kind="stable")[:12] if sure[i] > 0]
        return Outcome(
            settings=self.settings,
            classifier=classifier,
            pixels=self.pixels,
            parts=self.parts,
            notes=self.notes,
            scores=scores,
            seconds=seconds,
            confusion=confusion(labels, found),
            wrong=tuple(wrong),
            probabilities=found,
            history=result.history,
            run=run,
        )

    def _trained(self, spec: str, own: dict[str, int], run: Run, share: str) -> tuple[ImageModel, FitResult]:
        """A network with the weights that did best on the validation images."""
        settings, shape = self.settings, self.pixels.shape
        classes = len(self.pixels.source.classes)
        with seeded(settings.seed):
            network = build(
                spec, **own, channels=shape.channels, classes=classes, height=shape.height, width=shape.width
            )
        if settings.start is not None and share == "model":
            taken_over(network, load_classifier(settings.start), freeze=settings.freeze)
        augment = AugmentConfig(level=settings.augment, mirror=bool(self.mirror))
        task = ImageTask(
            network,
            self.pixels,
            self.standard,
            self.parts.train,
            self.parts.validation,
            augment=Augmenter(augment, classes),
            smoothing=settings.smoothing,
            average=settings.average if share == "model" else 0.0,
        )
        result = fit(task, self._fit_config(share), run, progress=self._ticker(spec))
        best = task.averaged.best
        assert isinstance(best, ImageModel)  # what went in
        return best.eval(), result

    def _fit_config(self, share: str) -> FitConfig:
        settings, limit = self.settings, self.settings.seconds
        batch = settings.batch_size or _batch_size(len(self.parts.train))
        return FitConfig(
            epochs=settings.epochs,
            budget=None if limit is None else _SHARES[share] * limit,
            batch_size=batch,
            learning_rate=settings.learning_rate,
            weight_decay=0.05,
            warmup_steps=min(100, 5 * -(-len(self.parts.train) // batch)),
            precision=settings.precision,
            seed=settings.seed,
            device=settings.device,
            threads=settings.threads,
        )

    def _assumed(self) -> list[str]:
        shape, settings = self.pixels.shape, self.settings
        counts = [len(part) for part in (self.parts.train, self.parts.validation, self.parts.test)]
        kind = {1: "grey", 3: "colour"}.get(shape.channels, f"{shape.channels} channels")
        lines = [
            f"{len(self.pixels.source):,} images of {len(self.pixels.source.classes)} classes, {kind}, "
            f"{shape.height} x {shape.width} pixels",
            f"{counts[0]:,} train, {counts[1]:,} choose the weights, {counts[2]:,} judge: {self.parts.note}",
        ]
        if same := shared_images(self.pixels, self.parts):
            lines.append(f"{same} test images also train, pixel by pixel: the scores are too good")
        if settings.mirror is None and not self.mirror:
            lines.append("classes are single letters or digits, so images are not mirrored (--mirror)")
        if settings.model == AUTO:
            lines.append(f"model {self.model} for images of this size (--model)")
        if settings.seconds is not None:
            lines.append(f"at most {settings.seconds:.0f} s (--budget, --epochs)")
        return lines

    def _ticker(self, name: str) -> Callable[[Tick], None] | None:
        report = self.progress
        if report is None:
            return None

        def tell(tick: Tick) -> None:
            best = "" if tick.best is None else f", validation error {tick.best:.1%}"
            report(tick.fraction, f"{name}: epoch {int(tick.epoch) + 1}{best}")

        return tell


def evaluate_run(
    path: str | Path,
    sources: Sequence[str],
    *,
    size: str | None = None,
    convert: bool = False,
    part: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a model on labelled images, at its own resolution or another.

    Args:
        path: the run or model directory.
        sources: labelled images.
        size: `64` or `40x72`; None: that of training.
        convert: turn grey and colour into each other.
        part: only images of this part, where the source names parts.
        progress: told the fraction done.

    Raises:
        DataError: the images have no labels, or classes that the model does not know.
    """
    classifier = load_classifier(path)
    source = open_images(sources)
    if not source.classes:
        raise DataError(
            "the images have no labels",
            where=source.name,
            expected="one folder per class, or a table with a column of labels",
            fix="use `vision predict` for images without labels",
        )
    source = _of_part(_with_classes(source, classifier.classes), part)
    shape = _shape_for(classifier, size)

    def check(channels: int, place: str) -> None:
        classifier.check_channels(channels, place, convert=convert)

    pixels = load_pixels(source, shape, progress, check)
    found, labels = classifier.probabilities(pixels.values), pixels.source.labels
    return Evaluation(
        classifier=classifier,
        source=pixels.source,
        shape=shape,
        score=score(labels, found),
        confusion=confusion(labels, found),
        commonest=float(np.bincount(labels).max() / len(labels)),
        notes=pixels.source.notes,
    )


def predict_run(
    path: str | Path,
    sources: Sequence[str],
    *,
    top: int = 1,
    size: str | None = None,
    convert: bool = False,
    progress: Progress | None = None,
) -> tuple[list[Prediction], list[str]]:
    """Name the classes of images.

    Args:
        path: the run or model directory.
        sources: images, or a folder of them.
        top: classes per image.
        size: `64`, `40x72`, or `native` for each image's own; None: that of training.
        convert: turn grey and colour into each other.
        progress: told the fraction done.

    Returns:
        One row per image that can be read, and notes on the others.

    Raises:
        DataError: none can be read, or one has other channels than the model.
    """
    classifier = load_classifier(path)
    source = open_images(sources)
    rows, notes, first = [], [*source.notes], None
    for index in range(len(source)):
        try:
            pixels = source.read(index)
        except UnreadableImage as error:
            first = first or error
            notes.append(f"left out: {error.where}: {error.what}")
            continue
        classifier.check_channels(pixels.shape[2], source.place(index), convert=convert)
        pixels = with_channels(pixels, classifier.shape.channels, source.place(index))
        shape = _native(classifier, pixels) if size == NATIVE else _shape_for(classifier, size)
        found = classifier.probabilities(resized(pixels, shape)[None])[0]
        best = np.argsort(-found, kind="stable")[: max(1, top)]
        rows.append(
            Prediction(
                image=source.place(index),
                classes=tuple(classifier.classes[i] for i in best),
                probabilities=tuple(float(found[i]) for i in best),
            )
        )
        if progress is not None:
            progress((index + 1) / len(source), f"{index + 1:,} of {len(source):,} images")
    if not rows and first is not None:
        raise first
    return rows, notes


def confusion_csv(table: np.ndarray, classes: Sequence[str]) -> str:
    """Rows are true classes, columns named ones."""
    quoted = [f'"{name}"' if "," in name or '"' in name else name for name in classes]
    lines = [",".join(["true", *quoted])]
    lines += [",".join([name, *map(str, row)]) for name, row in zip(quoted, table.tolist(), strict=True)]
    return "\n".join(lines) + "\n"


def _model_for(spec: str, shape: Shape) -> tuple[str, dict[str, int]]:
    """The model for images of a size, and settings that depend on it."""
    if spec != AUTO:
        return spec, {}
    side = _side(shape)
    if side <= _TINY:
        return "vig-nano", {"patch": 2}
    return ("vig-nano" if side <= _SMALL else "vig-micro"), {}


def _side(shape: Shape) -> int:
    return max(shape.height, shape.width)


def _batch_size(images: int) -> int:
    """A power of two from 8 to 64 that leaves an epoch a few steps."""
    size = 8
    while size < 64 and images >= 2 * size * _FEW_STEPS:
        size *= 2
    return size


def _shape_for(classifier: Classifier, size: str | None) -> Shape:
    if size is None:
        return classifier.shape
    height, width = parse_size(size)
    return replace(classifier.shape, height=height, width=width)


def _native(classifier: Classifier, pixels: np.ndarray) -> Shape:
    return replace(classifier.shape, height=pixels.shape[0], width=pixels.shape[1])


def _with_classes(source: ImageSource, classes: tuple[str, ...]) -> ImageSource:
    """The source with its labels as indices into the classes of the model."""
    unknown = [name for name in source.classes if name not in classes]
    if unknown:
        raise DataError(
            f"holds a class that the model does not know: '{unknown[0]}'",
            where=source.name,
            seen=", ".join(source.classes[:12]),
            expected=", ".join(classes[:12]),
            fix="rename or remove it, or train a model on these classes",
        )
    index = np.array([classes.index(name) for name in source.classes])
    return replace(source, classes=classes, labels=index[source.labels])


def _of_part(source: ImageSource, part: str | None) -> ImageSource:
    """Only the images of a part; without a wish the test part, where there is one."""
    named = set(source.parts)
    part = part or ("test" if "test" in named and len(named) > 1 else None)
    if part is None:
        return source
    kept = [i for i, one in enumerate(source.parts) if one == part]
    if not kept:
        raise DataError(
            f"has no part '{part}'",
            where=source.name,
            seen=", ".join(sorted(named - {""})) or "no parts",
            expected="train, validation or test",
            fix="leave --part out",
        )
    return replace(
        source,
        labels=source.labels[kept],
        parts=tuple(source.parts[i] for i in kept),
        paths=tuple(source.paths[i] for i in kept) if source.paths else (),
        array=None if source.array is None else source.array[kept],
    )
