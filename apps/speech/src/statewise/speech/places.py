"""Which files to read and where each output goes: files, folders with everything in them, patterns and lists.

A path that leads to nothing is an error, never a silent success. The tree of a folder is kept in the output.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from statewise.core.errors import DataError, UserError
from statewise.speech.audio import CODECS, STREAM, writable_ending
from statewise.speech.corpus import ENDINGS

__all__ = ["Job", "find_sounds", "jobs"]

LIST_ENDINGS = (".scp", ".lst")
MARK = "@"
"""A word that begins with it names a text file with a path per line."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file to read, and where its output goes."""

    source: str
    """`-` for standard input."""
    target: str
    """`-` for standard output."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file, and its place below the folder that was named."""

    path: str
    below: Path


def jobs(
    sources: Sequence[str], out: str | None, *, suffix: str = "-enhanced", ending: str | None = None
) -> list[Job]:
    """The files that `sources` name, each with its output.

    Args:
        sources: files, folders, patterns, `@list.txt`, or `-`.
        out: a file for a single input, else a folder; None for beside the input (or standard output for `-`).
        suffix: what is added to the name of an output that stands beside its input.
        ending: the ending of the outputs, `.wav`; None for that of the input.

    Raises:
        DataError: something does not exist or holds no sound file.
        UserError: several inputs were given one file to go to.
    """
    found = find_sounds(sources)
    single = len(found) == 1 and not any(Path(one).is_dir() for one in sources)
    if out is not None and not _is_folder(out, single=single):
        if len(found) > 1:
            raise UserError(
                "is one file, but there are several inputs",
                where=out,
                seen=f"{len(found)} inputs",
                expected="a folder",
                fix=f"name a folder: {Path(out).stem}/",
            )
        return [_distinct(Job(source=found[0].path, target=out))]
    done: dict[str, str] = {}
    result = []
    for one in found:
        job = Job(source=one.path, target=_target(one, out, suffix, ending))
        if job.target in done:
            raise UserError(
                "would be written twice",
                where=job.target,
                seen=f"{done[job.target]} and {one.path}",
                fix="give the outputs another ending with --format, or name the folders one by one",
            )
        done[job.target] = one.path
        result.append(_distinct(job))
    return result


def find_sounds(sources: Sequence[str]) -> list[Found]:
    """The sound files that `sources` name, in the order of their names within each."""
    found: list[Found] = []
    for source in sources:
        found += _expanded(source)
    if not found:
        raise DataError("no input is named", fix="name one: speech enhance in.wav")
    return found


def _expanded(source: str) -> list[Found]:
    path = Path(source)
    if source == STREAM:
        return [Found(path=source, below=Path(STREAM))]
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        if path.suffix.lower() in LIST_ENDINGS:
            return _in_list(path)
        return [Found(path=source, below=Path(path.name))]
    if source.startswith(MARK):
        return _in_list(Path(source[len(MARK) :]))
    if glob.has_magic(source):
        matches = sorted(one for one in glob.glob(source, recursive=True) if Path(one).is_file())
        if matches:
            return [Found(path=one, below=Path(Path(one).name)) for one in matches]
        raise DataError("no file fits this pattern", where=source, fix="check it, and quote it")
    raise DataError("there is no such file or folder", where=source, fix="check the path")


def _in_folder(folder: Path) -> list[Found]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    sounds = [path for path in files if path.suffix.lower() in ENDINGS]
    if not sounds:
        coded = [path.name for path in files if path.suffix.lower() in CODECS]
        raise DataError(
            "holds no sound file that can be read",
            where=str(folder),
            seen=", ".join(coded[:3]) if coded else f"{len(files)} other files",
            expected=f"files that end in {', '.join(ENDINGS)}",
            fix="convert them with ffmpeg" if coded else "check the folder",
        )
    return [Found(path=str(path), below=path.relative_to(folder)) for path in sounds]


def _in_list(path: Path) -> list[Found]:
    """The paths in a text file, one a line; a name in front of a path, as in Kaldi's lists, is dropped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError("there is no such list", where=str(path), fix="check the path") from None
    except (OSError, UnicodeDecodeError):
        raise DataError("cannot be read as text", where=str(path), expected="a path per line") from None
    found = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        entry = text if Path(text).is_file() else text.partition(" ")[2].strip() or text
        if not Path(entry).is_file():
            place = f"{path}, line {number}"
            raise DataError("there is no such file", where=place, seen=entry, fix="correct the line")
        found.append(Found(path=entry, below=Path(Path(entry).name)))
    return found


def _is_folder(out: str, *, single: bool) -> bool:
    """Whether `out` names a folder: it is one, ends like one, or has no ending that can be written."""
    if out == STREAM:
        return False
    if Path(out).is_dir() or out.endswith(("/", "\\")):
        return True
    return not single and not writable_ending(Path(out).suffix)


def _target(one: Found, out: str | None, suffix: str, ending: str | None) -> str:
    if one.path == STREAM:
        return STREAM if out is None else str(Path(out) / f"stdin{ending or '.wav'}")
    name = Path(one.path)
    last = ending or (name.suffix if writable_ending(name.suffix) else ".wav")
    if out is None:
        return str(name.with_name(f"{name.stem}{suffix}{last}"))
    return str(Path(out) / one.below.with_suffix(last))


def _distinct(job: Job) -> Job:
    """The job, unless it would overwrite what it reads."""
    source, target = Path(job.source), Path(job.target)
    if job.source != STREAM and target.exists() and source.resolve() == target.resolve():
        raise UserError(
            "the output would replace its own input",
            where=job.target,
            fix="choose another folder or file for the output",
        )
    return job
