"""`forecast classify`: fit on labelled series and judge on others, or label new ones with a saved model."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from statewise.core.config import from_dict, to_dict
from statewise.core.errors import ConfigError, DataError
from statewise.core.train import Run, load_model, save_model
from statewise.timeseries.classify.labelled import LabelledPanel
from statewise.timeseries.classify.methods import Classifier, ClassifyConfig, build
from statewise.timeseries.classify.reading import read_labelled

__all__ = ["ClassifyOutcome", "Labelled", "fit_classifier", "label_series", "load_classifier"]

KIND = "timeseries/classifier"
BASELINES = ("majority", "ridge")
"""Always beside the method."""
_HELD_OUT = 0.25  # share of each class, where no test file is given


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What a method said of series."""

    panel: LabelledPanel
    classes: tuple[str, ...]
    scores: np.ndarray
    """(S, K)"""

    @property
    def said(self) -> list[str]:
        """The most likely class of each series."""
        return [self.classes[k] for k in self.scores.argmax(axis=1)]

    @property
    def accuracy(self) -> float:
        """Share of series whose class was said."""
        return float(np.mean([a == b for a, b in zip(self.said, self.panel.labels, strict=True)]))

    def csv(self) -> str:
        """name, class said, label where there is one, and a column of probability per class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["series", "class", "label", *(f"p_{name}" for name in self.classes)])
        for name, said, label, row in zip(
            self.panel.names, self.said, self.panel.labels, self.scores, strict=True
        ):
            writer.writerow([name, said, label, *(f"{p:.4f}" for p in row)])
        return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class ClassifyOutcome:
    """A fitted classifier and how it did."""

    run: Run
    method: str
    train: LabelledPanel
    judged: dict[str, Labelled]
    """On the test series, by method; the baselines are always there."""
    split: str
    """Where the test series are from, in words."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": str(self.run.path),
            "method": self.method,
            "classes": self.train.classes,
            "train": len(self.train),
            "test": len(next(iter(self.judged.values())).panel),
            "split": self.split,
            "accuracy": {name: one.accuracy for name, one in self.judged.items()},
        }


def fit_classifier(
    train: str,
    test: str | None = None,
    *,
    model: str = "chimera",
    config: ClassifyConfig | None = None,
    id: str | None = None,
    label: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> ClassifyOutcome:
    """Fit a method beside the baselines, judge them, and write a run directory.

    Args:
        train: labelled series.
        test: others to judge on; None: a quarter of each class is held out.
        model: one of `methods.METHODS`.
        config: settings of the method.
        id: the column of a long table that tells its series apart.
        label: the column of labels.
        seed: of everything random.
        out: the run directory.
        progress: told the fraction done and a few words.

    Raises:
        UserError: the files cannot be read, or there are too few series to learn from.
    """
    config = config or ClassifyConfig()
    method = build(model, config)
    panel = read_labelled(train, id=id, label=label)
    if test is None:
        panel, other = _split(panel, seed)
        split = f"{_HELD_OUT:.0%} of each class, held out"
    else:
        other = read_labelled(test, id=id, label=label)
        split = Path(test).name
        _require_alike(panel, other)
    if len(panel.classes) < 2:
        raise DataError(
            "has series of one class only",
            where=panel.source,
            seen=panel.classes[0],
            expected="two classes or more",
        )
    run = Run.create(out, default=f"{Path(train).name.split('.')[0] or 'data'}-{model}")
    judged = {}
    for name in dict.fromkeys((*BASELINES, model)):
        one = method if name == model else build(name, config)
        one.fit(panel, seed=seed, progress=_told(progress, name))
        judged[name] = _label(one, other)
    save_model(
        run.path / "model",
        kind=KIND,
        config={"method": model, "settings": to_dict(config)},
        metadata={"classes": method.classes, "variates": panel.variates, "id": id, "label": label},
        arrays=method.state(),
    )
    run.write_text("predictions.csv", judged[model].csv())
    return ClassifyOutcome(run=run, method=model, train=panel, judged=judged, split=split)


def load_classifier(path: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """A saved classifier, and what was said about its files.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    saved = load_model(path, kind=KIND)
    settings = from_dict(ClassifyConfig, saved.config["settings"], where=str(saved.path))
    method = build(saved.config["method"], settings)
    method.restore(saved.arrays, saved.metadata["classes"])
    return method, saved.metadata


def label_series(
    path: str | Path, source: str, *, id: str | None = None, label: str | None = None
) -> Labelled:
    """Label the series of a file with a saved classifier; labels in the file are compared, not needed.

    Raises:
        UserError: the model or the file cannot be read, or the series have other variates.
    """
    method, facts = load_classifier(path)
    panel = read_labelled(source, id=id or facts["id"], label=label or facts["label"], labels=False)
    if panel.variates != facts["variates"]:
        raise DataError(
            "has another number of variates than the model was fitted on",
            where=panel.source,
            seen=str(panel.variates),
            expected=str(facts["variates"]),
            fix="give series of the same kind",
        )
    return _label(method, panel)


def _label(method: Classifier, panel: LabelledPanel) -> Labelled:
    return Labelled(panel=panel, classes=tuple(method.classes), scores=method.scores(panel))


def _split(panel: LabelledPanel, seed: int) -> tuple[LabelledPanel, LabelledPanel]:
    """Train and test series, the same share of each class in both."""
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for name in panel.classes:
        own = np.flatnonzero(np.array(panel.labels) == name)
        held += rng.permutation(own)[: round(_HELD_OUT * len(own))].tolist()
    rest = sorted(set(range(len(panel))) - set(held))
    if not held or len(rest) < 4:
        raise ConfigError(
            "has too few series to hold some out",
            where=panel.source,
            seen=f"{len(panel)} series of {len(panel.classes)} classes",
            fix="give a file of others with --test",
        )
    return panel.select(rest), panel.select(sorted(held))


def _require_alike(train: LabelledPanel, test: LabelledPanel) -> None:
    if train.variates != test.variates:
        raise DataError(
            f"has another number of variates than {train.source}",
            where=test.source,
            seen=str(test.variates),
            expected=str(train.variates),
        )
    if unknown := sorted(set(test.labels) - set(train.labels)):
        raise DataError(
            f"has classes that {train.source} has not",
            where=test.source,
            seen=", ".join(unknown[:5]),
            expected=", ".join(train.classes),
        )


def _told(progress: Callable[[float, str], None] | None, name: str) -> Callable[[float], None] | None:
    return None if progress is None else lambda fraction: progress(fraction, f"fitting {name}")
