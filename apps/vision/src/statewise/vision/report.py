"""The report of a training run on one page: scores, curves, the confusion matrix, the surest mistakes."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from statewise.core.report import Report, drawing, png
from statewise.core.train import Run
from statewise.vision.api import Outcome
from statewise.vision.macs import parameter_count
from statewise.vision.narrate import COLUMNS, score_cells, verdict

__all__ = ["write_report"]

_MOST_CLASSES = 30


def write_report(outcome: Outcome, run: Run) -> None:
    """Write `report.html` and its figures into the run."""
    name = next(iter(outcome.scores))
    source, shape = outcome.pixels.source, outcome.pixels.shape
    page = Report(
        f"{name} on {source.name}",
        f"{len(source):,} images, {len(source.classes)} classes, {shape.height} x {shape.width} pixels",
    )
    for line in verdict(outcome):
        page.paragraph(line)
    page.heading("Scores")
    page.paragraph(
        "Test images chose nothing: the weights are those with the fewest errors on the validation images. "
        "From and to are Wilson's 95 % interval of the accuracy; balanced is the mean over the classes of "
        "the share found."
    )
    rows = [score_cells(key, one, outcome.seconds[key]) for key, one in outcome.scores.items()]
    page.table(COLUMNS, rows, caption=f"{len(outcome.parts.test):,} test images", strong=[0])
    page.heading("Training")
    page.figure(_curves(outcome), caption="training loss, and the share of validation images named wrongly")
    page.heading("Confusion")
    if len(source.classes) <= _MOST_CLASSES:
        figure = _matrix(outcome)
        run.write_bytes("confusion.png", png(figure))
        page.figure(figure, caption="rows are true classes, columns named ones; shares of each row")
    page.table(*_by_class(outcome), caption="by class, test images")
    if outcome.wrong:
        figure = _mistakes(outcome)
        run.write_bytes("mistakes.png", png(figure))
        page.heading("Surest mistakes")
        page.figure(figure, caption="named class (true class), its probability", kind="png")
    page.heading("What was assumed")
    for note in outcome.notes:
        page.paragraph(note)
    page.facts(
        {
            "model": name,
            "parameters": parameter_count(outcome.classifier.network),
            "seed": str(outcome.settings.seed),
            "data": outcome.pixels.fingerprint,
        }
    )
    page.code(f"vision predict {shlex.quote(str(run.path))} NEW.jpg")
    run.write_text("report.html", page.render())


def _curves(outcome: Outcome) -> Any:
    history = outcome.history
    epochs = [row["epoch"] for row in history]
    with drawing(columns=2, height=2.6) as (figure, axes):
        axes[0].plot(epochs, [row["train_loss"] for row in history], marker="o", markersize=3)
        axes[0].set(title="training loss", xlabel="epoch")
        errors = [row.get("val_error") for row in history]
        axes[1].plot(epochs, [np.nan if e is None else 100 * e for e in errors], marker="o", markersize=3)
        axes[1].set(title="validation error, %", xlabel="epoch", ylim=(0, None))
    return figure


def _matrix(outcome: Outcome) -> Any:
    """The confusion matrix, coloured by the share of each row."""
    table, names = outcome.confusion, outcome.classifier.classes
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    side = max(3.2, 0.42 * len(names) + 1.4)
    with drawing(width=side + 0.8, height=side) as (figure, axes):
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.grid(False)
        axes.set(xlabel="named", ylabel="true")
        for i, row in enumerate(table):
            for j, count in enumerate(row):
                if count:
                    ink = "white" if shares[i, j] > 0.55 else "#2b2e34"
                    axes.text(j, i, f"{count}", ha="center", va="center", fontsize=7, color=ink)
    return figure


def _mistakes(outcome: Outcome) -> Any:
    """The images that the model is most surely wrong about."""
    columns = 6
    rows = -(-len(outcome.wrong) // columns)
    names, labels = outcome.classifier.classes, outcome.pixels.source.labels[outcome.parts.test]
    with drawing(width=8, height=1.75 * rows, rows=rows, columns=columns) as (figure, axes):
        for place, axis in enumerate(np.atleast_1d(axes).flat):
            axis.axis("off")
            if place >= len(outcome.wrong):
                continue
            index = outcome.wrong[place]
            found = outcome.probabilities[index]
            axis.imshow(picture(outcome.pixels.values[outcome.parts.test[index]]), interpolation="nearest")
            title = f"{names[found.argmax()]}\n({names[labels[index]]}) {100 * found.max():.0f} %"
            axis.set_title(title, fontsize=7, loc="center", fontweight="normal")
    return figure


def picture(values: np.ndarray) -> np.ndarray:
    """(C, Y, X) pixels as (Y, X, 3) bytes for drawing; of other numbers of channels the first."""
    pixels = values if values.dtype == np.uint8 else np.round(255 * values).astype(np.uint8)
    if len(pixels) != 3:
        pixels = np.repeat(pixels[:1], 3, axis=0)
    return pixels.transpose(1, 2, 0)


def _by_class(outcome: Outcome) -> tuple[list[str], list[list[Any]]]:
    table = outcome.confusion
    header = ["class", "images", "found %", "right when named %", "most often taken for"]
    rows: list[list[Any]] = []
    for i, name in enumerate(outcome.classifier.classes):
        true, named, right = int(table[i].sum()), int(table[:, i].sum()), int(table[i, i])
        others = table[i].copy()
        others[i] = 0
        taken = outcome.classifier.classes[int(others.argmax())] if others.any() else "-"
        recall = 100 * right / true if true else None
        precision = 100 * right / named if named else None
        rows.append([name, true, recall, precision, taken])
    return header, rows
