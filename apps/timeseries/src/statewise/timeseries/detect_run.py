"""`forecast detect` from files to a table, scores and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from statewise.core.errors import DataError
from statewise.core.report import PALETTE, Report, drawing
from statewise.core.train import Run
from statewise.timeseries.data import Reading, read
from statewise.timeseries.detect import DetectConfig, Detected, detect
from statewise.timeseries.detection_scores import DetectionScore, with_labels
from statewise.timeseries.options import ReadOptions
from statewise.timeseries.output import stamp_texts

__all__ = ["DetectOutcome", "detect_run", "write_detection"]

_DRAWN = 12
"""Series drawn; of larger panels the first ones."""


@dataclass(frozen=True, kw_only=True)
class DetectOutcome:
    """What was found."""

    reading: Reading
    config: DetectConfig
    found: tuple[Detected, ...]
    scores: dict[str, DetectionScore]
    """By series, where labels were given."""

    EVENTS = ("series", "from", "to", "steps", "score")
    """Titles of the columns of `events`."""

    def events(self) -> list[list[Any]]:
        """One row per stretch of anomalies; its score is the largest residual over the threshold."""
        rows = []
        for one in self.found:
            stamps = self._stamps(one)
            rows += [
                [one.series.id, stamps[a], stamps[b], b - a + 1, round(float(one.score[a : b + 1].max()), 2)]
                for a, b in one.events
            ]
        return rows

    def csv(self) -> str:
        """Every judged step: series, stamp, value, what was expected, score, and 1 for an anomaly."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["unique_id", "ds", "value", "expected", "score", "anomaly"])
        for one in self.found:
            columns = (one.series.values, one.expected, one.score)
            for step, stamp in enumerate(self._stamps(one)):
                if step >= one.trained:
                    numbers = [f"{column[step]:.6g}" for column in columns]
                    writer.writerow([one.series.id, stamp, *numbers, int(one.score[step] > 1)])
        return text.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "events": [dict(zip(self.EVENTS, row, strict=True)) for row in self.events()],
            "scores": {
                name: {key: None if value != value else value for key, value in asdict(score).items()}
                for name, score in self.scores.items()
            },
            "train": self.config.train,
            "margin": self.config.margin,
        }

    def _stamps(self, one: Detected) -> list[str]:
        panel = self.reading.panel
        return stamp_texts(one.series.times, panel.frequency, panel.zone)


def detect_run(
    sources: Sequence[Any],
    options: ReadOptions | None = None,
    config: DetectConfig | None = None,
    *,
    labels: str | None = None,
) -> DetectOutcome:
    """Read files and judge their values.

    Args:
        sources: files or frames.
        options: how to read them.
        config: what counts as an anomaly.
        labels: a column of 0 and 1 to compare with; it decides nothing.

    Raises:
        UserError: the data cannot be read, are too short, or the labels are not 0 and 1.
    """
    options, config = options or ReadOptions(), config or DetectConfig()
    if labels is not None:
        options = replace(options, covariates=(labels,))
    reading = read(sources, options)
    if labels is not None:
        # the labels are read as a column beside the series, whose future is of no interest
        kept = tuple(note for note in reading.notes if note.kind != "covariates")
        reading = replace(reading, notes=kept)
    found = tuple(detect(reading.panel, config))
    scores = {}
    if labels is not None:
        scores = {
            one.series.id: with_labels(one.score, _labels_of(one, labels), one.trained) for one in found
        }
    return DetectOutcome(reading=reading, config=config, found=found, scores=scores)


def write_detection(outcome: DetectOutcome, run: Run) -> None:
    """Write `anomalies.csv` and `report.html` into the run."""
    panel = outcome.reading.panel
    page = Report(f"Anomalies in {', '.join(panel.sources)}", f"{len(panel)} series, {panel.frequency.label}")
    config = outcome.config
    page.paragraph(
        f"A forecast one step ahead was fitted on the first {config.train:.0%} of each series, which is not "
        f"judged. A value is an anomaly when it misses by more than {config.margin:g} times the largest miss "
        "there."
    )
    for one in outcome.found[:_DRAWN]:
        page.figure(_drawn(one), caption=f"{one.series.id}: {len(one.events)} stretches of anomalies")
    if outcome.events():
        page.table(outcome.EVENTS, outcome.events(), caption="anomalies that follow each other are one row")
    for name, score in outcome.scores.items():
        page.heading(f"Against the labels of {name}")
        page.facts({key.replace("_", " "): f"{value:.4g}" for key, value in asdict(score).items()})
        page.paragraph("best f1 is that of the threshold which suits the labels best: nobody can set it.")
    page.heading("What was assumed")
    for note in outcome.reading.notes:
        page.paragraph(note.text)
    run.write_text("anomalies.csv", outcome.csv())
    run.write_text("report.html", page.render())


def _labels_of(one: Detected, name: str) -> np.ndarray:
    """The labels (n,) bool of a series."""
    assert one.series.covariates is not None
    values = one.series.covariates[: len(one.series), 0]
    if not np.isin(values, (0.0, 1.0)).all():
        odd = values[~np.isin(values, (0.0, 1.0))][0]
        raise DataError(
            "the labels are not 0 and 1",
            where=f"column '{name}'",
            seen=f"{odd:g}",
            expected="1 for an anomaly, else 0",
            fix="name another column with --labels",
        )
    return values == 1


def _drawn(one: Detected) -> Any:
    times, values = one.series.times, one.series.values
    with drawing(width=8.0, height=2.4) as (figure, axes):
        axes.plot(times, values, color=PALETTE[0], linewidth=0.7, label="value")
        axes.axvspan(times[0], times[one.trained - 1], color=PALETTE[0], alpha=0.08, label="training rows")
        at = np.flatnonzero(one.anomalies)
        axes.plot(times[at], values[at], ".", color=PALETTE[1], markersize=5, label="anomaly")
        axes.set_title(one.series.id)
        axes.legend(loc="upper left", ncols=3)
        axes.margins(x=0.01)
    return figure
