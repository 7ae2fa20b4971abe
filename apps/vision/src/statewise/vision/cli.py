"""The `vision` command. The bodies import what they need: `--help` must not wait for it.

`vision video ...` and `vision data make ...` are programs of their own, in `video.cli` and `generators.cli`.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from statewise.core.cli.app import App
from statewise.core.cli.options import (
    Anything,
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
from statewise.vision import __version__
from statewise.vision.generators.cli import make_app
from statewise.vision.video.cli import video_app

__all__ = ["app", "main"]

app = App(
    "vision",
    summary="Image and clip models with linear cost in resolution.",
    version=__version__,
    extras={"onnx": "statewise-core[export]", "onnxscript": "statewise-core[export]"},
)

IMAGES = Group("Images", sort_key=5)
Sources = Annotated[list[str], Parameter(show_default=False)]
Size = Annotated[str | None, Parameter(group=IMAGES)]
Convert = Annotated[bool, Parameter(group=IMAGES, negative=(), help="Turn grey and colour into each other.")]
Count = Annotated[int, Parameter(validator=at_least(1))]


@app.command(alias="fit")
def train(
    data: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    /,
    *,
    model: str = "auto",
    size: Size = None,
    channels: Annotated[int | None, Parameter(group=IMAGES)] = None,
    fit: Annotated[Literal["crop", "pad", "stretch"], Parameter(group=IMAGES)] = "crop",
    augment: Annotated[Literal["none", "light", "strong"], Parameter(group=IMAGES)] = "light",
    mirror: Annotated[bool | None, Parameter(group=IMAGES)] = None,
    smoothing: float = 0.0,
    average: float = 0.0,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    precision: Literal["fp32", "bf16"] = "fp32",
    start: Path | None = None,
    freeze: bool = False,
    cnn: bool = True,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    epochs: Epochs = None,
    budget: Budget = None,
    resume: Resume = None,
    console: Terminal,
) -> None:
    """Train a classifier on a folder of images, with baselines beside it.

    Without any flag: each folder is a class; size, channels, mean and deviation are found in the images;
    parts are taken from folders called train, validation and test, or drawn class by class; a small ViG
    learns for five minutes at most, and a small convolutional network beside it. Written are report.html,
    confusion.csv and the model.

    Example: vision train photos/

    Args:
        data: a folder of class folders, a table of paths and labels, or the name of a public set.
        model: auto, or one of `vision models`, with its size: vig-t.
        size: Pixels a side, or HEIGHTxWIDTH; found in the images.
        channels: Channels that all images are brought to; found in the images.
        fit: How images of another aspect are brought to the size.
        augment: Random changes to training images; strong adds TrivialAugment, erasing, mixup and cutmix.
        mirror: Mirror half of the training images; by default unless classes are single letters.
        smoothing: Label smoothing.
        average: Decay of a running average of the weights, such as 0.999, which then predicts; 0 for none.
        batch_size: Images per step; 64, fewer on small sets.
        learning_rate: Peak learning rate of AdamW.
        precision: Arithmetic of the forward pass.
        start: Run whose weights are taken over, all but the head.
        freeze: Train only the head on top of --start.
        cnn: Train a small convolutional network beside the model.
        out: Run directory; by default runs/DATA-MODEL. No run is overwritten.
        seed: Seed of everything random.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: CPU threads; few on small work.
        epochs: Passes over the training images; there is then no time limit unless --budget sets one.
        budget: Wall time: 60, 60s, 10m, 1h30m; by default five minutes, with --epochs no limit.
        resume: Run directory to continue; its settings are taken over.
    """
    from statewise.vision.api import TrainSettings, resume_run, train_run
    from statewise.vision.narrate import tell_training

    with console.progress("Training") as bar:
        if resume is not None:
            outcome = resume_run(resume, data=data, say=console.say, progress=bar.update)
        else:
            settings = TrainSettings(
                data=tuple(data or ()),
                model=model,
                size=size,
                channels=channels,
                fit=fit,
                augment=augment,
                mirror=mirror,
                smoothing=smoothing,
                average=average,
                batch_size=batch_size,
                learning_rate=learning_rate,
                precision=precision,
                start=None if start is None else str(start),
                freeze=freeze,
                cnn=cnn,
                seed=seed,
                device=device,
                threads=threads,
                epochs=epochs,
                budget=budget,
            )
            outcome = train_run(settings, out=out, say=console.say, progress=bar.update)
    tell_training(outcome, console)


@app.command(alias="score")
def evaluate(
    run: Path,
    data: Sources,
    /,
    *,
    size: Size = None,
    convert: Convert = False,
    part: Literal["train", "validation", "test"] | None = None,
    console: Terminal,
) -> None:
    """Judge a trained model on labelled images, at any resolution.

    Example: vision evaluate runs/photos-auto more-photos/ --size 40x72

    Args:
        run: Run directory.
        data: a folder of class folders, a table, or the name of a public set.
        size: Pixels a side, or HEIGHTxWIDTH; by default those of training.
        part: Only this part; by default the test part, where the images have parts.
    """
    from statewise.vision.api import evaluate_run
    from statewise.vision.narrate import tell_evaluation

    with console.progress("Evaluating") as bar:
        found = evaluate_run(run, data, size=size, convert=convert, part=part, progress=bar.update)
    tell_evaluation(found, str(run), console)


@app.command
def predict(
    run: Path,
    images: Sources,
    /,
    *,
    top: Count = 1,
    size: Size = None,
    convert: Convert = False,
    out: Annotated[Path | None, Parameter(help="CSV file to write; by default the table is printed.")] = None,
    console: Terminal,
) -> None:
    """Name the classes of images.

    Example: vision predict runs/photos-auto new.jpg --top 3

    Args:
        run: Run directory.
        images: files, or a folder of them.
        top: Classes per image, most probable first.
        size: Pixels a side, HEIGHTxWIDTH, or native for each image's own; by default those of training.
    """
    from statewise.vision.api import predict_run
    from statewise.vision.narrate import predictions_csv, tell_predictions

    with console.progress("Predicting") as bar:
        rows, notes = predict_run(run, images, top=top, size=size, convert=convert, progress=bar.update)
    if out is not None:
        from statewise.core.train.atomic import write_text

        write_text(out, predictions_csv(rows))
        console.say(f"{out}: classes of {len(rows)} images")
    tell_predictions(rows, notes, console, table=out is None)


@app.command
def info(
    model: str,
    /,
    *,
    res: str = "224,512,1024",
    channels: Count = 3,
    classes: Count = 1000,
    console: Terminal,
) -> None:
    """Parameters, multiply-adds and memory of a model by resolution; nothing is trained or timed.

    Example: vision info vig-t --json

    Args:
        model: one of `vision models`, with its size.
        res: Resolutions, joined by commas: 224,512x768.
        channels: of the images.
        classes: Number of classes.
    """
    from statewise.vision.info import describe
    from statewise.vision.settings import parse_sizes

    found = describe(model, parse_sizes(res), channels=channels, classes=classes)
    console.show(f"{found.model}: {found.parameters:,} parameters")
    columns = ["height", "width", "multiply-adds (G)", "memory (MB)"]
    rows = [
        [cost.height, cost.width, round(cost.multiply_adds / 1e9, 3), round(cost.memory / 1e6, 1)]
        for cost in found.costs
    ]
    console.table(columns, rows, title="one image, forward, float32; memory beside the weights")
    console.result(asdict(found))


@app.command
def bench(
    *,
    models: str = "vig-t,lightnet-t,vit-t",
    res: str = "224,512,1024",
    precision: Literal["fp32", "bf16"] = "fp32",
    rounds: Count = 3,
    console: Terminal,
) -> None:
    """Time models on this machine: batch 1, one thread, CPU time, in turns.

    The least time of several rounds counts, since interruptions only ever add.

    Example: vision bench --res 224,512,1024

    Args:
        models: Names joined by commas; the last one is what the others are compared with.
        res: Resolutions, joined by commas.
        precision: Arithmetic.
        rounds: Forward passes of each.
    """
    from statewise.vision.settings import parse_sizes
    from statewise.vision.speed import race_models

    names = [name.strip() for name in models.split(",") if name.strip()]
    with console.progress("Timing") as bar:
        timings = race_models(
            names, parse_sizes(res), precision=precision, rounds=rounds, progress=bar.update
        )
    columns = ["model", "height", "width", "ms", "images/s", "extra MB", f"times {names[-1]}"]
    rows = [
        [
            one.model,
            one.height,
            one.width,
            round(1e3 * one.seconds, 1),
            round(1 / one.seconds, 2),
            round(one.memory / 1e6, 1),
            round(one.speed_up, 2),
        ]
        for one in timings
    ]
    console.table(columns, rows, title=f"batch 1, {precision}, one thread, CPU time")
    console.result({"precision": precision, "timings": [asdict(one) for one in timings]})


@app.command
def explain(
    run: Path,
    image: Path,
    /,
    *,
    class_name: Annotated[str | None, Parameter(name="--class")] = None,
    size: Size = None,
    convert: Convert = False,
    out: Annotated[Path | None, Parameter(help="PNG to write; by default beside the image.")] = None,
    console: Terminal,
) -> None:
    """Show where a model looks: Grad-CAM, and for ViG how far each token remembers.

    Example: vision explain runs/photos-auto new.jpg

    Args:
        run: Run directory.
        image: one image.
        class_name: The class to explain; by default the most probable one.
        size: Pixels a side, HEIGHTxWIDTH or native; by default those of training.
    """
    from statewise.vision.explain import explain_image

    found = explain_image(run, image, class_name=class_name, size=size, convert=convert, out=out)
    console.show(f"{found.path}: {found.class_name}, probability {found.probability:.3f}")
    console.result(asdict(found))


@app.command
def export(
    run: Path,
    out: Path,
    /,
    *,
    size: Size = None,
    console: Terminal,
) -> None:
    """Write a trained model as .onnx or .pt2 (torch.export), compared with the model before it is kept.

    Example: vision export runs/photos-auto photos.onnx --size 64

    Args:
        run: Run directory.
        out: File to write, ending in .onnx or .pt2.
        size: Pixels a side, or HEIGHTxWIDTH; by default those of training.
    """
    from statewise.vision.exporting import export_classifier

    found = export_classifier(run, out, size=size)
    console.show(f"{found.path}: {found.height} x {found.width}, largest difference {found.difference:.1e}")
    console.result(asdict(found))


@app.command
def models(*, console: Terminal) -> None:
    """List the image models: sizes, how their cost grows, source."""
    from statewise.core.cli.catalogue import list_models
    from statewise.vision.models import MODELS

    list_models(MODELS, console, facts=("cost",))


@app.command
def data(name: str | None = None, path: Path | None = None, /, *, console: Terminal) -> None:
    """List the named public files, check a local copy of one, or make a set: `vision data make arrow`.

    Example: vision data mnist-test-images ~/Downloads/t10k-images-idx3-ubyte.gz

    Args:
        name: Name of a file.
        path: A local copy to check against its sha256.
    """
    from statewise.core.cli.catalogue import list_datasets
    from statewise.vision.datasets import DATASETS

    list_datasets(DATASETS, console, name, path)


@app.command
def video(*words: Anything, console: Terminal) -> None:
    """Predict the next frames of clips: `vision video train CLIPS`, `vision video --help`."""
    raise RuntimeError("`main` hands these words to the video program")


def main() -> int:
    """Run the command line; the exit code."""
    words = sys.argv[1:]
    if words[:1] == ["video"]:
        return video_app.run(words[1:])
    if words[:2] == ["data", "make"]:
        return make_app.run(words[2:])
    return app.run(words)


if __name__ == "__main__":  # for `torchrun -m statewise.vision.cli`
    raise SystemExit(main())
