"""Enhance many files: one after the other in constant memory, with a row of facts about each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from statewise.core.errors import UserError
from statewise.speech.audio import STREAM, SoundInfo, SoundReader, SoundWriter
from statewise.speech.models.enhancer import Enhancer
from statewise.speech.pipeline import EnhanceOptions, Pipeline
from statewise.speech.places import Job

__all__ = ["Outcome", "enhance_file", "enhance_files"]

BLOCK = 1.0
"""Seconds read at once."""
FAINT = -90.0
"""dB below full scale under which a signal counts as silence."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one file."""

    source: str
    target: str
    status: str
    """done, skipped or failed."""
    info: SoundInfo | None = None
    seconds: float = 0.0
    """Wall time."""
    level_in: float = -math.inf
    """dB below full scale."""
    level_out: float = -math.inf
    remarks: tuple[str, ...] = field(default=())
    error: UserError | None = None

    @property
    def real_time_factor(self) -> float | None:
        """Wall time per second of sound."""
        return self.seconds / self.info.seconds if self.info is not None and self.info.frames else None


def enhance_files(
    todo: Sequence[Job],
    model: Enhancer,
    options: EnhanceOptions,
    *,
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> list[Outcome]:
    """Enhance all of `todo`; a file that fails does not keep the others from being done.

    Args:
        todo: inputs and outputs.
        model: in evaluation mode.
        options: how.
        overwrite: write outputs that exist already again; else they are skipped.
        progress: told the fraction done and the name of the file.
    """
    outcomes = []
    for number, job in enumerate(todo):

        def report(fraction: float, number: int = number, job: Job = job) -> None:
            if progress is not None:
                progress((number + fraction) / len(todo), Path(job.source).name)

        report(0.0)
        if not overwrite and job.target != STREAM and Path(job.target).exists():
            outcomes.append(Outcome(source=job.source, target=job.target, status="skipped"))
            continue
        try:
            outcomes.append(enhance_file(job, model, options, progress=report))
        except UserError as error:
            outcomes.append(Outcome(source=job.source, target=job.target, status="failed", error=error))
    return outcomes


def enhance_file(
    job: Job,
    model: Enhancer,
    options: EnhanceOptions,
    *,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Enhance one file.

    Raises:
        UserError: it cannot be read or its output cannot be written.
    """
    begun = time.monotonic()
    with SoundReader(job.source) as reader:
        info = reader.info
        pipeline = Pipeline(model, info.rate, info.channels, options)
        loudness = [_Level(), _Level()]
        with SoundWriter(job.target, rate=info.rate, channels=pipeline.outputs, like=info) as writer:
            for block in reader.blocks(max(1, round(BLOCK * info.rate))):
                loudness[0].add(block)
                made = pipeline.push(block)
                loudness[1].add(made)
                writer.write(made)
                if progress is not None and info.frames:
                    progress(min(1.0, reader.read / info.frames))
            made = pipeline.finish()
            loudness[1].add(made)
            writer.write(made)
        remarks = _remarks(reader, writer, loudness)
    return Outcome(
        source=job.source,
        target=job.target,
        status="done",
        info=info,
        seconds=time.monotonic() - begun,
        level_in=loudness[0].decibels,
        level_out=loudness[1].decibels,
        remarks=tuple(remarks),
    )


def _remarks(reader: SoundReader, writer: SoundWriter, loudness: list[_Level]) -> list[str]:
    found = reader.remarks()
    if reader.read == 0:
        found.append("holds no samples; the output holds none either")
    elif loudness[0].decibels < FAINT:
        found.append("is silent")
    if abs(loudness[0].offset) > 0.02:
        found.append(f"has a constant offset of {loudness[0].offset:+.3f}")
    if writer.clipped:
        found.append(f"{writer.clipped} samples of the output were cut at full scale")
    return found


class _Level:
    """Mean and power of a signal that passes by."""

    def __init__(self) -> None:
        self._sum, self._squares, self._count = 0.0, 0.0, 0

    def add(self, block: np.ndarray) -> None:
        """Take (n, C) samples."""
        self._sum += float(block.sum(dtype=np.float64))
        self._squares += float(np.square(block, dtype=np.float64).sum())
        self._count += block.size

    @property
    def offset(self) -> float:
        return self._sum / max(1, self._count)

    @property
    def decibels(self) -> float:
        power = self._squares / max(1, self._count)
        return 10 * math.log10(power) if power > 0 else -math.inf
