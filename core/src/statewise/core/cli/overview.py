"""The page that a program shows for `--help`: its commands and the options they share.

Written here and not by cyclopts, whose pages cost three times the start-up of a program; the pages of single
commands are its own.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Sequence
from typing import IO, Any, get_args

from statewise.core.cli.console import is_terminal
from statewise.core.cli.options import ConfigFile, Debug, Json, Quiet

__all__ = ["COMPLETION", "overview"]

COMPLETION = "--install-completion"
SHARED: tuple[tuple[str, Any], ...] = (
    ("--json", Json),
    ("--quiet, -q", Quiet),
    ("--config FILE", ConfigFile),
    ("--debug", Debug),
)
OWN = (
    ("--help, -h", "Show this page, or the page of a command."),
    ("--version", "Show the version."),
    (COMPLETION, "Install completion for the shell in use."),
)


def overview(program: str, summary: str, commands: Sequence[tuple[str, str]], stream: IO[str]) -> str:
    """The page as text.

    Args:
        program: the name it was started by.
        summary: what it is for.
        commands: names and summaries.
        stream: where it will be printed; headings are bold on a terminal.
    """
    shared = [(flag, get_args(option)[1].help) for flag, option in SHARED]
    blocks = [f"{_heading('Usage:', stream)} {program} {'COMMAND ' if commands else ''}[OPTIONS]", summary]
    for title, rows in (("Commands", commands), ("Everywhere", [*shared, *OWN])):
        if rows:
            blocks.append("\n".join([_heading(f"{title}:", stream), *_rows(rows)]))
    if commands:
        blocks.append(f"'{program} COMMAND --help' tells more about one.")
    return "\n\n".join(blocks)


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    indent = max(len(name) for name, _ in rows) + 4
    width = min(shutil.get_terminal_size().columns, 100)
    return [
        textwrap.fill(text, width, initial_indent=f"  {name}".ljust(indent), subsequent_indent=" " * indent)
        for name, text in rows
    ]


def _heading(text: str, stream: IO[str]) -> str:
    plain = not is_terminal(stream) or "NO_COLOR" in os.environ
    return text if plain else f"\x1b[1m{text}\x1b[0m"
