"""What the commands have to say on a terminal, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from statewise.core.cli.console import Console
from statewise.core.errors import DataError
from statewise.core.train.atomic import write_text
from statewise.speech.api import Enhanced
from statewise.speech.audio import STREAM, writable_ending
from statewise.speech.enhancing import Outcome
from statewise.speech.fit_report import verdict
from statewise.speech.fitting import FitOutcome
from statewise.speech.scoring import Scores
from statewise.speech.separating import Separated
from statewise.speech.speed import Speed
from statewise.speech.streaming import Latency
from statewise.speech.vad import Segment

__all__ = [
    "output_of",
    "tell_enhanced",
    "tell_fit",
    "tell_latency",
    "tell_scores",
    "tell_segments",
    "tell_separated",
    "tell_speeds",
]

TITLES = {"pesq": "PESQ-WB", "stoi": "STOI", "si_sdr": "SI-SDR, dB"}

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


def tell_fit(outcome: FitOutcome, console: Console) -> None:
    """The model beside the baselines, and where everything is."""
    rows = [[one.method, one.stoi, one.si_sdr] for one in outcome.scores]
    console.table(["method", "STOI", "SI-SDR, dB"], rows, title="validation pairs, which chose the weights")
    console.show(verdict(outcome))
    run = outcome.run.path
    console.show("\n".join(["", str(run / "report.html"), str(run / "model")]))
    verb = "enhance NOISY.wav" if outcome.scores[0].method == "noisy" else "separate MIXTURE.wav"
    console.say(f"speech {verb} --model {run}")
    console.result(
        {
            "run": str(run),
            "model": outcome.settings.model,
            "steps": outcome.result.steps,
            "stopped_by": outcome.result.stopped_by,
            "seconds": round(outcome.result.seconds, 3),
            "hours_of_speech": outcome.hours,
            "scores": [vars(one) for one in outcome.scores],
        }
    )


def tell_scores(scores: Scores, console: Console, *, each: bool) -> None:
    """Means per method, every file if asked for."""
    columns = [TITLES.get(name, name) for name in scores.metrics]
    if each:
        lines = [
            [row.file, row.method, *(row.values[name] for name in scores.metrics)] for row in scores.rows
        ]
        console.table(["file", "method", *columns], lines)
        console.show("")
    rows = [[m, scores.count(m), *(scores.mean(m, name) for name in scores.metrics)] for m in scores.methods]
    console.table(["method", "files", *columns], rows)
    console.result(
        {
            "means": {m: {name: scores.mean(m, name) for name in scores.metrics} for m in scores.methods},
            "files": [{"method": row.method, "file": row.file} | row.values for row in scores.rows],
        }
    )


def tell_separated(done: Sequence[Separated], console: Console) -> None:
    """The outputs of every file."""
    for one in done:
        for target in one.targets:
            console.show(target)
    sound, spent = sum(one.seconds_of_sound for one in done), sum(one.seconds for one in done)
    console.say(f"{len(done)} files: {sound:.1f} s of sound in {spent:.1f} s")
    console.result({"files": [vars(one) for one in done]})


def tell_latency(latency: Latency, console: Console) -> None:
    """How long the blocks took, beside the stream."""
    console.say(
        f"{latency.blocks} blocks of {latency.hop:.0f} ms, delay {latency.delay:.0f} ms; computing took "
        f"{latency.p50:.2f} ms per block (median), {latency.p99:.2f} ms (99th percentile), "
        f"{latency.most:.2f} ms at most"
    )
    if not latency.keeps_up:
        console.warn("this machine does not keep up: the 99th percentile is above the length of a block")
    if not console.json:  # standard output belongs to the sound
        console.result(vars(latency))


def tell_segments(found: dict[str, list[Segment]], console: Console, out: Path | None) -> None:
    """A row per segment, printed or as CSV."""
    rows = [[file, one.start, one.end, one.level] for file, segments in found.items() for one in segments]
    header = ["file", "start", "end", "level_db"]
    if out is None:
        console.table(header, [[row[0], *(round(value, 3) for value in row[1:])] for row in rows])
    else:
        lines = [",".join(header)]
        lines += [f"{_quoted(row[0])},{row[1]:.3f},{row[2]:.3f},{row[3]:.1f}" for row in rows]
        write_text(out, "\n".join(lines) + "\n")
        console.say(f"{out}: {len(rows)} segments in {len(found)} files")
    console.result({file: [vars(one) for one in segments] for file, segments in found.items()})


def tell_speeds(speeds: Sequence[Speed], console: Console) -> None:
    """A row per model."""
    columns = ["model", "parameters", "CPU s per s", "delay ms", "block ms", "median ms", "99 % ms"]
    rows = [[one.model, one.parameters, one.factor, one.delay, one.hop, one.p50, one.p99] for one in speeds]
    console.table(columns, rows, title="one thread; a model keeps up while its 99 % stay below the block")
    console.result({"models": [vars(one) for one in speeds]})


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text
