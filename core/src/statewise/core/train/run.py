"""A run directory: everything one training run writes, in one place that is never overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from statewise.core import __version__
from statewise.core.errors import CheckpointError, ConfigError
from statewise.core.train.atomic import replace_file, unwritable, write_text
from statewise.core.train.checkpoint import best_weights
from statewise.core.train.formats import FORMAT, refuse_newer
from statewise.core.train.launch import process_rank
from statewise.core.train.tensors import load_into, read_tensors, write_tensors

__all__ = ["Run"]

MARKER, METRICS, WEIGHTS = "run.json", "metrics.jsonl", "weights.safetensors"


class Run:
    """One run directory. Use `Run.create` for a new run and `Run.open` for one that exists.

    Files are replaced atomically. Of several processes (torchrun) only the first writes; in the others every
    writing method does nothing.
    """

    def __init__(self, path: Path, *, notice: str | None = None) -> None:
        self.path = path
        self.notice = notice
        """What to tell the user about the choice of the directory; None when it is the one asked for."""
        self.writes = process_rank() == 0
        """False in all processes but the first."""

    @classmethod
    def create(cls, out: str | Path | None, *, default: str) -> Run:
        """Make a new run directory.

        A directory that holds anything is left alone: a number is added to the name and `notice` says so.

        Args:
            out: the directory asked for; None for `runs/<default>`.
            default: `<data name>-<model>`.

        Raises:
            ConfigError: the directory cannot be made.
        """
        wanted = Path(out).expanduser() if out is not None else Path("runs") / default
        if process_rank() != 0:
            return cls(wanted)
        try:
            path = _claim(wanted)
        except OSError as error:
            raise ConfigError(
                f"cannot be made a run directory ({error.strerror or error})",
                where=str(error.filename or wanted),
                fix="choose a directory you may write to with --out",
            ) from None
        notice = None if path == wanted else f"{wanted} holds something else, so this run goes to {path}"
        return cls(path, notice=notice)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run, to be resumed or read.

        Raises:
            CheckpointError: there is no run here, or a newer statewise wrote it.
        """
        path = Path(path).expanduser()
        _check_marker(path)
        run = cls(path)
        if run.writes:
            for left_over in [*path.glob(".*.tmp"), *path.glob(".tmp*")]:  # ours and those of safetensors
                left_over.unlink(missing_ok=True)
        return run

    def part(self, name: str) -> Run:
        """The run directory `name` inside this one, made on first use: one for each of several models."""
        run = Run(self._place(name))
        if run.writes and not (run.path / MARKER).exists():
            run.path.mkdir(exist_ok=True)
            run.write_text(MARKER, _marker())
        return run

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the run, in UTF-8; its path."""
        if self.writes:
            write_text(self._place(name), text)
        return self.path / name

    def write_json(self, name: str, value: Any) -> Path:
        """Write plain values as a JSON file of the run; its path."""
        return self.write_text(name, json.dumps(value, indent=2) + "\n")

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Write a file of the run; its path."""
        if self.writes:
            replace_file(self._place(name), lambda new: new.write_bytes(data))
        return self.path / name

    def log(self, row: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        if self.writes:
            try:
                with open(self.path / METRICS, "a", encoding="utf-8") as file:
                    file.write(_line(row))
            except OSError as error:
                raise unwritable(self.path / METRICS, error) from None

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line that a crash cut off is left out.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self.path / METRICS
        if not path.exists():
            return []
        whole, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise CheckpointError(
                f"is damaged ({error})", where=str(path), fix="--resume writes it again from the checkpoint"
            ) from None

    def set_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make `rows` the lines of metrics.jsonl: what a resumed run will write again is not in them."""
        if self.writes and (rows or (self.path / METRICS).exists()):
            self.write_text(METRICS, "".join(_line(row) for row in rows))

    def save_weights(self, model: nn.Module) -> None:
        """Write the weights of `model`, the best ones, as safetensors."""
        if self.writes:
            write_tensors(self.path / WEIGHTS, model.state_dict(), {})

    def load_weights(self, model: nn.Module) -> None:
        """Load the best weights into `model`: those of the end, or those so far of an unfinished run.

        Raises:
            CheckpointError: there are none, they are damaged, or they belong to another model.
        """
        path = self.path / WEIGHTS
        tensors = read_tensors(path)[0] if path.exists() else best_weights(self.path)
        load_into(model, tensors, str(path))

    def _place(self, name: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _check_marker(path: Path) -> None:
    if not (path / MARKER).is_file():
        raise CheckpointError(
            "is not a run directory",
            where=str(path),
            seen=f"no {MARKER} in it" if path.exists() else "no such directory",
            expected="a directory that `fit` made",
            fix="check the path",
        )
    try:
        written = int(json.loads((path / MARKER).read_text(encoding="utf-8"))["format"])
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(
            "is damaged",
            where=str(path / MARKER),
            expected="a small JSON object",
            fix=f'write {{"format": {FORMAT}}} into it',
        ) from None
    refuse_newer(path / MARKER, written)


def _claim(wanted: Path) -> Path:
    """The first of `wanted`, `wanted-2`, `wanted-3` … that is new or empty, marked as a run."""
    named = wanted if wanted.name not in ("", "..") else wanted.resolve()
    number = 1
    while True:
        path = wanted if number == 1 else named.parent / f"{named.name}-{number}"
        number += 1
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(20, "a file of this name exists", str(path))
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            continue
        try:
            with open(path / MARKER, "x", encoding="utf-8") as file:
                file.write(_marker())
        except FileExistsError:  # another process was quicker
            continue
        return path


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(dict(row), allow_nan=False) + "\n"


def _marker() -> str:
    facts = {"format": FORMAT, "statewise": __version__, "created": datetime.now(UTC).isoformat()}
    return json.dumps(facts) + "\n"
