"""A progress bar with the time left, on a terminal only, for work of more than two seconds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import IO, Any

__all__ = ["Progress"]

LONG = 2.0
"""Seconds of work from which a bar is worth showing."""


class Progress:
    """The fraction done of one piece of work; a context manager.

    Args:
        label: what is being done.
        stream: the terminal to draw on, or None to draw nothing.
    """

    def __init__(self, label: str, stream: IO[str] | None) -> None:
        self.label = label
        self._stream = stream
        self._started = 0.0
        self._bar: Any = None
        self._task: Any = None
        self.active = False
        """Whether the work is under way: between entering and leaving the `with`."""

    def __enter__(self) -> Progress:
        self.active = True
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active = False
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, fraction: float, note: str = "") -> None:
        """Say how much is done, from 0 to 1, and in a few words where the work stands."""
        state = {"completed": min(max(fraction, 0.0), 1.0), "note": note}
        if self._bar is not None:
            self._bar.update(self._task, **state)
        elif self._stream is not None and self._is_long(fraction):
            self._open(self._stream, state)

    def say(self, text: str) -> bool:
        """Print a line above the bar; False when no bar is on the screen."""
        if self._bar is None:
            return False
        self._bar.console.print(text, markup=False, highlight=False)
        return True

    def _is_long(self, fraction: float) -> bool:
        elapsed = time.monotonic() - self._started
        return elapsed >= LONG or (elapsed >= LONG / 4 and fraction > 0 and elapsed / fraction >= LONG)

    def _open(self, stream: IO[str], state: dict[str, Any]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(file=stream),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(self.label, total=1.0, **state)
        self._bar.start()
