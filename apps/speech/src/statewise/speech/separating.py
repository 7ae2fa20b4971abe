"""Separate files: one output per speaker beside each input, at its rate and of its length."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from statewise.core.errors import UserError
from statewise.speech.audio import STREAM, SoundReader, SoundWriter, writable_ending
from statewise.speech.models.separator import Separator
from statewise.speech.places import find_sounds
from statewise.speech.separation import separated_blocks

__all__ = ["Separated", "separate_files"]

BLOCK = 1.0


@dataclass(frozen=True, kw_only=True)
class Separated:
    """What came of one file."""

    source: str
    targets: tuple[str, ...]
    seconds_of_sound: float
    seconds: float
    """Wall time."""


def separate_files(
    sources: Sequence[str],
    out: str | None,
    model: Separator,
    *,
    progress: Callable[[float, str], None] | None = None,
) -> list[Separated]:
    """Write `NAME-speaker1`, `NAME-speaker2`, ... for every file, from the mean of its channels.

    Args:
        sources: files, folders, patterns or lists.
        out: a folder; None for beside each input.
        model: the separator.
        progress: told the fraction done.

    Raises:
        UserError: an input cannot be read or an output cannot be written.
    """
    found, done = find_sounds(sources), []
    for number, one in enumerate(found):
        if one.path == STREAM:
            raise UserError("cannot be separated: there are several outputs", where="-", fix="name a file")
        if progress is not None:
            progress(number / len(found), one.below.name)
        place = Path(one.path) if out is None else Path(out) / one.below
        done.append(_separate(one.path, place, model))
    return done


def _separate(source: str, place: Path, model: Separator) -> Separated:
    begun, speakers = time.monotonic(), model.speakers
    ending = place.suffix if writable_ending(place.suffix) else ".wav"
    targets = tuple(str(place.with_name(f"{place.stem}-speaker{s + 1}{ending}")) for s in range(speakers))
    with ExitStack() as stack:
        reader = stack.enter_context(SoundReader(source))
        rate = reader.info.rate
        writers = [
            stack.enter_context(SoundWriter(target, rate=rate, channels=1, like=reader.info))
            for target in targets
        ]
        inner, written = model.sample_rate, 0
        blocks = separated_blocks(model, _resampled(_mono(reader), rate, inner, 1))
        for block in _resampled((block.T for block in blocks), inner, rate, speakers):
            part = block[: reader.info.frames - written] if reader.info.frames else block
            for s, writer in enumerate(writers):
                writer.write(part[:, s : s + 1])
            written += len(part)
        for writer in writers:  # what two resamplings may have lost at the end
            writer.write(np.zeros((max(0, reader.read - written), 1), dtype=np.float32))
        seconds = reader.read / rate
    return Separated(
        source=source, targets=targets, seconds_of_sound=seconds, seconds=time.monotonic() - begun
    )


def _mono(reader: SoundReader) -> Iterator[np.ndarray]:
    for block in reader.blocks(max(1, round(BLOCK * reader.info.rate))):
        yield block.mean(axis=1, keepdims=True)


def _resampled(blocks: Iterator[np.ndarray], before: int, after: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks (n, C) at another rate; (n,) where C is 1 and they go to the model."""
    if before == after:
        yield from (block[:, 0] if channels == 1 else block for block in blocks)
        return
    stream = soxr.ResampleStream(before, after, channels, dtype="float32", quality="HQ")
    for block in blocks:
        made = stream.resample_chunk(np.ascontiguousarray(block, dtype=np.float32))
        yield made.reshape(-1) if channels == 1 else made
    made = stream.resample_chunk(np.zeros((0, channels), dtype=np.float32), last=True)
    yield made.reshape(-1) if channels == 1 else made
