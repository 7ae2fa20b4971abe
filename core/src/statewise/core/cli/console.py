"""Where a command's words go: human text on stderr, results on stdout, or one JSON document."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from statewise.core import documents
from statewise.core.cli.progress import Progress
from statewise.core.cli.tables import cells, is_numeric, plain_table

__all__ = ["Console"]


class Console:
    """The voice of a command.

    A command calls `say` for what it assumed and did, `table` and `show` for what the user asked for, and
    `result` once with everything a program would want to know; under `--json` only that goes to stdout.

    Args:
        json: print one JSON document instead of tables.
        quiet: keep human text and progress to yourself; warnings, errors and results stay.
        stdout: the stream for results; the one of the process by default.
        stderr: the stream for human text; the one of the process by default.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.delivered = False
        self._progress: Progress | None = None

    def say(self, text: str = "") -> None:
        """Human text, on stderr; nothing under `--quiet`."""
        if not self.quiet:
            self._aside(text)

    def warn(self, text: str) -> None:
        """Something the user should know before trusting the result; on stderr, also under `--quiet`."""
        self._aside(f"warning: {text}")

    def show(self, text: str) -> None:
        """A result as text, on stdout; nothing under `--json`."""
        if not self.json:
            self.stdout.write(f"{text}\n")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None
    ) -> None:
        """A result as a table, on stdout; nothing under `--json`.

        Numbers stand to the right and the floats of a column share their decimals; None and NaN print as `-`.
        """
        if self.json:
            return
        if not is_terminal(self.stdout):
            self.show(f"{title}\n{plain_table(columns, rows)}" if title else plain_table(columns, rows))
            return
        _rich_table(columns, rows, title, self.stdout)

    def result(self, document: Mapping[str, Any]) -> None:
        """The whole result as one JSON document, on stdout under `--json`; nothing otherwise.

        Raises:
            RuntimeError: when a command delivers a second document.
        """
        if self.delivered:
            raise RuntimeError("a command delivers one JSON document")
        self.delivered = True
        if self.json:
            self.stdout.write(documents.dumps(document) + "\n")

    def progress(self, label: str) -> Progress:
        """A progress bar for `with`: shown on a terminal once the work turns out to be long, else silent.

        A bar inside another one stays silent.
        """
        if self._progress is not None and self._progress.active:
            return Progress(label, None)
        visible = is_terminal(self.stderr) and not self.quiet and not self.json
        self._progress = Progress(label, self.stderr if visible else None)
        return self._progress

    def _aside(self, text: str) -> None:
        if self._progress is None or not self._progress.say(text):
            self.stderr.write(f"{text}\n")
            self.stderr.flush()


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person is watching `stream` on a terminal that can draw."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _rich_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None, stream: IO[str]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console as Terminal
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        numeric = is_numeric([row[index] for row in rows])
        table.add_column(Text(name), justify="right" if numeric else "left")
    for row in cells(columns, rows):
        table.add_row(*map(Text, row))
    Terminal(file=stream).print(table)
