"""The options that mean the same in every command, as annotations for a command's parameters.

A command takes the ones it needs and sets its own defaults:

    def fit(data: Path, *, out: Out = None, seed: Seed = 0, budget: Budget = 60.0, console: Terminal) -> None:

`--json`, `--quiet`, `--config` and `--debug` belong to every command already; `App` adds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter, Token

from statewise.core.cli.console import Console
from statewise.core.cli.durations import format_duration, parse_duration
from statewise.core.registry import Registry

__all__ = [
    "Anything",
    "Budget",
    "ConfigFile",
    "Debug",
    "Device",
    "Duration",
    "Epochs",
    "Json",
    "Out",
    "Quiet",
    "Resume",
    "Seed",
    "Terminal",
    "Threads",
    "at_least",
    "names_of",
]

RUN = Group("Run", sort_key=10)
EVERYWHERE = Group("Everywhere", sort_key=20)


def _seconds(kind: type, tokens: Sequence[Token]) -> float:
    token = tokens[0]
    name = (token.keyword or "duration").strip("[]")
    typed = token.source in ("", "cli")
    return parse_duration(token.value, where=name if typed else f"{token.source}, {name}")


def at_least(least: float) -> Callable[[type, Any], None]:
    """A validator: `Annotated[int, Parameter(validator=at_least(1))]`."""

    def check(kind: type, value: Any) -> None:
        if value is not None and value < least:
            raise ValueError(f"at least {least}")

    return check


def _duration(value: float | None) -> str:
    return "none set" if value is None else format_duration(value)


def names_of(registry: str) -> Callable[[Any], Mapping[str, str]]:
    """A completer with the names of a registry.

    Args:
        registry: where it lives, as `package.module:ATTRIBUTE`; imported only while the shell completes.
    """

    def complete(context: Any) -> Mapping[str, str]:
        module, _, attribute = registry.partition(":")
        table: Registry = getattr(import_module(module), attribute)
        return {name: entry.summary for name, entry in table.entries().items()}

    return complete


Out = Annotated[
    Path | None,
    Parameter(group=RUN, help="Run directory; by default runs/DATA-MODEL. No run is overwritten."),
]
Seed = Annotated[int, Parameter(group=RUN, validator=at_least(0), help="Seed of everything random.")]
Device = Annotated[str, Parameter(group=RUN, help="auto, cpu, cuda, cuda:1, mps.")]
Threads = Annotated[
    int | None,
    Parameter(group=RUN, validator=at_least(1), help="CPU threads; few on small work."),
]
Epochs = Annotated[int | None, Parameter(group=RUN, validator=at_least(1), help="Passes over the data.")]
Budget = Annotated[
    float | None,
    Parameter(group=RUN, converter=_seconds, show_default=_duration, help="Wall time: 60, 60s, 10m, 1h30m."),
]
Resume = Annotated[Path | None, Parameter(group=RUN, help="Run directory to continue.")]

Duration = Annotated[float, Parameter(converter=_seconds, show_default=_duration)]
"""Seconds, typed as 60, 60s, 10m or 1h30m, for options of a command's own."""
Anything = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]
"""Words that are taken as they come, options included: for `*words`."""
Terminal = Annotated[Console, Parameter(parse=False)]
"""The console, handed to every command by `App`; not an option."""

Json = Annotated[
    bool, Parameter(group=EVERYWHERE, negative=(), show_default=False, help="One JSON document on stdout.")
]
Quiet = Annotated[
    bool,
    Parameter(alias="-q", group=EVERYWHERE, negative=(), show_default=False, help="No progress, no remarks."),
]
ConfigFile = Annotated[
    Path | None,
    Parameter(group=EVERYWHERE, help="TOML or JSON file with values for the options; the command line wins."),
]
Debug = Annotated[
    bool, Parameter(group=EVERYWHERE, negative=(), show_default=False, help="Show the traceback of an error.")
]
