"""A small program to try the frame on, and a way to run it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from statewise.core.cli import App
from statewise.core.cli.options import Budget, Device, Epochs, Out, Resume, Seed, Terminal, Threads
from statewise.core.errors import DataError, Interrupted


@dataclass(frozen=True)
class Outcome:
    """What a run left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def fit(
    data: list[Path],
    *,
    model: str = "auto",
    lags: list[int] | None = None,
    fast: bool = False,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    epochs: Epochs = None,
    budget: Budget = 60.0,
    resume: Resume = None,
    console: Terminal,
) -> None:
    """Fit a model.

    The longer story.

    Args:
        data: files to read.
        model: name of the model.
    """
    console.say("assumed the best")
    console.table(["file", "score"], [[path.name, 0.5] for path in data], title="Scores")
    console.result(
        {
            "data": data,
            "model": model,
            "lags": lags,
            "fast": fast,
            "seed": seed,
            "epochs": epochs,
            "budget": budget,
            "nothing": float("nan"),
        }
    )


FAILURES: dict[str, Callable[[], BaseException]] = {
    "defect": lambda: ValueError("oops"),
    "silent": lambda: ValueError(),
    "data": lambda: DataError(
        "is no number", where="d.csv, row 7", seen="'x'", expected="a number", fix="--na x"
    ),
    "keyboard": KeyboardInterrupt,
    "stopped": lambda: Interrupted("the best model so far is in runs/x"),
    "memory": MemoryError,
    "full": lambda: OSError(28, "No space left on device", "runs/x/weights"),
    "denied": lambda: PermissionError(13, "Permission denied", "runs/x"),
    "vanished": lambda: FileNotFoundError(2, "No such file or directory", "internal"),
    "extra": lambda: ModuleNotFoundError("No module named 'optuna.trial'", name="optuna.trial"),
    "lost": lambda: ModuleNotFoundError("No module named 'polars'", name="polars"),
    "pipe": lambda: BrokenPipeError(32, "Broken pipe"),
    "exit": lambda: SystemExit(7),
}


def fail(kind: str = "defect", *, console: Terminal) -> None:
    """Fail in a way of choice."""
    raise FAILURES[kind]()


@pytest.fixture
def program() -> App:
    app = App("toy", summary="A toy.", version="1.2.3", extras={"optuna": "toy[tune]"})
    app.command(fit, alias="train")
    app.command(fail)
    return app


@pytest.fixture
def run(program: App, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def once(*words: str, app: App = program) -> Outcome:
        code = app.run(words)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return once
