"""What a run has to say on a terminal, and the same as JSON."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from statewise.core.cli.console import Console
from statewise.core.config import to_dict
from statewise.vision.api import Evaluation, Outcome, Prediction
from statewise.vision.metrics import Score

__all__ = [
    "COLUMNS",
    "predictions_csv",
    "score_cells",
    "tell_evaluation",
    "tell_predictions",
    "tell_training",
    "verdict",
]

COLUMNS = ("method", "accuracy %", "from", "to", "balanced %", "macro F1", "log loss", "seconds")
_MOST_CLASSES = 20
_FEW_IMAGES = 2_000


def tell_training(outcome: Outcome, console: Console) -> None:
    """The table of scores, the verdict, and where everything is."""
    rows = [score_cells(name, one, outcome.seconds[name]) for name, one in outcome.scores.items()]
    count = len(outcome.parts.test)
    console.table(COLUMNS, rows, title=f"{count:,} test images that chose nothing; from-to is 95 %")
    for line in verdict(outcome):
        console.show(line)
    _confusion_table(outcome.confusion, outcome.classifier.classes, console)
    run = outcome.run
    files = [run.path / name for name in ("report.html", "confusion.csv", "model")]
    console.show("\n".join(["", *(str(file) for file in files)]))
    console.result(
        {
            "run": str(run.path),
            "model": next(iter(outcome.scores)),
            "notes": list(outcome.notes),
            "scores": {name: to_dict(one) for name, one in outcome.scores.items()},
            "seconds": {name: round(value, 3) for name, value in outcome.seconds.items()},
            "classes": list(outcome.classifier.classes),
            "confusion": outcome.confusion.tolist(),
            "fingerprint": outcome.pixels.fingerprint,
            "skipped": list(outcome.pixels.skipped),
        }
    )


def tell_evaluation(found: Evaluation, path: str, console: Console) -> None:
    """Figures, the baseline and the confusion matrix."""
    for note in found.notes:
        console.say(note)
    shape = found.shape
    title = f"{found.score.images:,} images of {found.source.name} at {shape.height} x {shape.width}"
    rows: list[list[Any]] = [score_cells(path, found.score, None)]
    rows.append(["commonest class", round(100 * found.commonest, 2), *[None] * (len(COLUMNS) - 2)])
    console.table(COLUMNS, rows, title=title)
    _confusion_table(found.confusion, found.classifier.classes, console)
    console.result(
        {
            "model": path,
            "data": found.source.name,
            "size": [shape.height, shape.width],
            "score": to_dict(found.score),
            "commonest_class": found.commonest,
            "classes": list(found.classifier.classes),
            "confusion": found.confusion.tolist(),
            "notes": list(found.notes),
        }
    )


def tell_predictions(
    rows: list[Prediction], notes: list[str], console: Console, *, table: bool = True
) -> None:
    """One line per image, and what was left out."""
    for note in notes:
        console.say(note)
    if table:
        columns, cells = _cells(rows)
        console.table(columns, [[_rounded(cell) for cell in row] for row in cells])
    console.result({"predictions": [to_dict(row) for row in rows], "notes": notes})


def predictions_csv(rows: list[Prediction]) -> str:
    """One line per image: its path, then classes and probabilities."""
    columns, cells = _cells(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row] for row in cells)
    return out.getvalue()


def _cells(rows: list[Prediction]) -> tuple[list[str], list[list[Any]]]:
    top = len(rows[0].classes) if rows else 1
    columns = ["image", *(name for place in range(top) for name in _pair(place))]
    cells = [
        [row.image, *(cell for pair in zip(row.classes, row.probabilities, strict=True) for cell in pair)]
        for row in rows
    ]
    return columns, cells


def score_cells(name: str, one: Score, seconds: float | None) -> list[Any]:
    """A line of the table."""
    shares = [round(100 * value, 2) for value in (one.accuracy, one.low, one.high, one.balanced)]
    time = None if seconds is None else round(seconds, 1)
    return [name, *shares, round(one.macro_f1, 3), round(one.log_loss, 3), time]


def verdict(outcome: Outcome) -> list[str]:
    """Whether the model beats what it is compared with, and what may be done."""
    names = list(outcome.scores)
    model, others = names[0], names[1:]
    best = max(others, key=lambda name: outcome.scores[name].accuracy)
    gap = outcome.scores[model].accuracy - outcome.scores[best].accuracy
    lines = []
    if gap > 0:
        lines.append(f"{model} is {100 * gap:.1f} points above {best}")
        if outcome.scores[best].high > outcome.scores[model].low:
            lines.append("with so few test images that is within what chance may do")
    else:
        lines.append(f"{model} is no better than {best}: {100 * gap:+.1f} points")
    if len(outcome.parts.train) < _FEW_IMAGES and outcome.settings.start is None:
        lines.append(
            f"it learnt from {len(outcome.parts.train):,} images and nothing else: there are no pretrained "
            "weights here; more images help most"
        )
    return lines


def _confusion_table(table: np.ndarray, classes: tuple[str, ...], console: Console) -> None:
    if len(classes) > _MOST_CLASSES:
        console.show(f"confusion of {len(classes)} classes: see confusion.csv")
        return
    rows = [[name, *row] for name, row in zip(classes, table.tolist(), strict=True)]
    console.table(["true \\ named", *classes], rows)


def _pair(place: int) -> tuple[str, str]:
    suffix = "" if place == 0 else f" {place + 1}"
    return f"class{suffix}", f"probability{suffix}"


def _rounded(cell: Any) -> Any:
    return round(cell, 4) if isinstance(cell, float) else cell
