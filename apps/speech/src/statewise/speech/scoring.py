"""Score enhanced files against clean ones, with the noisy input and the baselines beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from statewise.core.errors import DataError
from statewise.speech import metrics
from statewise.speech.audio import read_sound
from statewise.speech.models.enhancer import Enhancer
from statewise.speech.pipeline import EnhanceOptions, Pipeline
from statewise.speech.places import find_sounds

__all__ = ["FileScore", "Scores", "score_files", "score_models"]

Progress = Callable[[float, str], None]
BLOCK = 1.0


@dataclass(frozen=True, kw_only=True)
class FileScore:
    """The measures of one file by one method."""

    method: str
    file: str
    values: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All measures."""

    metrics: tuple[str, ...]
    rows: list[FileScore]

    @property
    def methods(self) -> list[str]:
        """In the order in which they were measured."""
        return list(dict.fromkeys(row.method for row in self.rows))

    def mean(self, method: str, metric: str) -> float | None:
        """The mean of one measure over the files that have it."""
        values = [v for row in self.rows if row.method == method and (v := row.values[metric]) is not None]
        return float(np.mean(values)) if values else None

    def count(self, method: str) -> int:
        """Files measured."""
        return sum(row.method == method for row in self.rows)


def score_files(
    estimates: dict[str, str], clean: str, names: Sequence[str], progress: Progress | None = None
) -> Scores:
    """Measure folders (or files) of estimates against clean ones of the same names.

    Args:
        estimates: what to measure, by the name of the method.
        clean: the clean files.
        names: the measures.
        progress: told the fraction done.

    Raises:
        DataError: a file has no clean one of its name, or differs from it in length.
    """
    rows, total = [], sum(len(find_sounds([place])) for place in estimates.values())
    for method, place in estimates.items():
        for path, reference in pairs(place, clean):
            rows.append(_row(method, path.name, *_signals(path, reference), names))
            if progress is not None:
                progress(len(rows) / total, path.name)
    return Scores(metrics=tuple(names), rows=rows)


def score_models(
    models: dict[str, Enhancer],
    noisy: str,
    clean: str,
    names: Sequence[str],
    progress: Progress | None = None,
) -> Scores:
    """Run every model over the noisy files and measure what comes out; nothing is written."""
    rows, found = [], pairs(noisy, clean)
    for method, model in models.items():
        for path, reference in found:
            x, target, rate = _signals(path, reference)
            rows.append(_row(method, path.name, _enhanced(model, x, rate), target, rate, names))
            if progress is not None:
                progress(len(rows) / (len(models) * len(found)), f"{method}: {path.name}")
    return Scores(metrics=tuple(names), rows=rows)


def pairs(estimates: str, clean: str) -> list[tuple[Path, Path]]:
    """Files and the clean ones that belong to them: of the same place and name, whatever the ending.

    Raises:
        DataError: one has none.
    """
    found, references = find_sounds([estimates]), find_sounds([clean])
    if len(found) == len(references) == 1:
        return [(Path(found[0].path), Path(references[0].path))]
    known = {str(one.below.with_suffix("")): Path(one.path) for one in references}
    result = []
    for one in found:
        reference = known.get(str(one.below.with_suffix("")).removesuffix("-enhanced"))
        if reference is None:
            raise DataError(
                "has no clean file of the same name",
                where=one.path,
                expected=f"{Path(clean) / one.below}",
                fix="give both files the same name",
            )
        result.append((Path(one.path), reference))
    return result


def _signals(path: Path, reference: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """The first channel of both, at the rate of the clean one."""
    (x, info), (target, other) = read_sound(path), read_sound(reference)
    estimate, clean = x[:, 0], target[:, 0]
    if info.rate != other.rate:
        estimate = soxr.resample(estimate, info.rate, other.rate)
    return estimate, clean, other.rate


def _row(
    method: str, file: str, estimate: np.ndarray, clean: np.ndarray, rate: int, names: Sequence[str]
) -> FileScore:
    try:
        return FileScore(method=method, file=file, values=metrics.evaluate(estimate, clean, rate, names))
    except DataError as error:
        raise DataError(
            error.what, where=file, seen=error.seen, expected=error.expected, fix=error.fix
        ) from None


def _enhanced(model: Enhancer, x: np.ndarray, rate: int) -> np.ndarray:
    pipeline, size = Pipeline(model, rate, 1, EnhanceOptions()), max(1, round(BLOCK * rate))
    made = [pipeline.push(x[at : at + size, None]) for at in range(0, len(x), size)]
    return np.concatenate([*made, pipeline.finish()])[:, 0]
