"""What the commands have to say on a terminal, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from statewise.core.cli.console import Console
from statewise.core.errors import DataError
from statewise.speech.api import Enhanced
from statewise.speech.audio import STREAM, writable_ending
from statewise.speech.enhancing import Outcome

__all__ = ["output_of", "tell_enhanced"]

LISTED = 20
"""Files told one by one."""


def output_of(sources: Sequence[str], out: str | None) -> tuple[list[str], str | None]:
    """`in out`: of exactly two words, the second is the output if it is no input that exists."""
    words = list(sources)
    if out is not None or len(words) != 2 or words[1].startswith("@"):
        return words, out
    second = Path(words[1])
    named = writable_ending(second.suffix) or not second.suffix
    output = words[1] == STREAM or (not second.exists() and named)
    existing = second.is_dir() and not any(second.iterdir())
    if output or existing or (Path(words[0]).is_dir() and not second.is_file()):
        return words[:1], words[1]
    return words, out


def tell_enhanced(result: Enhanced, console: Console, report: Path | None) -> None:
    """A line per file, a summary, and an error if a file failed."""
    streams = any(one.target == STREAM for one in result.outcomes)
    say = console.say if streams else console.show  # standard output belongs to the sound then
    for one in result.outcomes[:LISTED]:
        for line in _lines(one):
            say(line)
    if len(result.outcomes) > LISTED:
        say(f"and {len(result.outcomes) - LISTED} more")
    done = [one for one in result.outcomes if one.status == "done"]
    sound = sum(one.info.seconds for one in done if one.info is not None)
    spent = sum(one.seconds for one in done)
    words = ("done", "skipped", "failed")
    counts = {word: sum(one.status == word for one in result.outcomes) for word in words}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    console.say(f"{told}: {sound:.1f} s of sound in {spent:.1f} s with {result.model}")
    if counts["skipped"]:
        console.say("what was there already was skipped; --overwrite does it again")
    if report is not None:
        say(str(report))
    if not streams or not console.json:
        console.result(_document(result, sound, spent))
    if result.failed:
        first = result.failed[0].error
        raise DataError(
            f"{len(result.failed)} of {len(result.outcomes)} files could not be enhanced",
            where=result.failed[0].source,
            seen=None if first is None else first.what,
            fix="see the lines above; the others are done",
        )


def _lines(one: Outcome) -> list[str]:
    if one.status == "skipped":
        return [f"{one.source}: {one.target} is there already"]
    if one.error is not None:
        return [f"{one.source}: failed: {one.error.what}"]
    info = one.info
    if info is None:
        return []
    change = one.level_out - one.level_in
    level = f", level {change:+.1f} dB" if math.isfinite(change) else ""
    lines = [f"{one.target}: {info.text}{level}"]
    return lines + [f"  remark: {one.source} {remark}" for remark in one.remarks]


def _document(result: Enhanced, sound: float, spent: float) -> dict[str, Any]:
    files = []
    for one in result.outcomes:
        row: dict[str, Any] = {"source": one.source, "target": one.target, "status": one.status}
        if one.info is not None:
            row |= {"rate": one.info.rate, "channels": one.info.channels, "frames": one.info.frames}
            row |= {"format": one.info.format, "subtype": one.info.subtype}
            levels = {"level_in": one.level_in, "level_out": one.level_out}
            row |= {name: value if math.isfinite(value) else None for name, value in levels.items()}
            row |= {"seconds": one.seconds, "remarks": list(one.remarks)}
        if one.error is not None:
            row["error"] = one.error.as_dict()
        files.append(row)
    return {"model": result.model, "files": files, "sound_seconds": sound, "wall_seconds": spent}
