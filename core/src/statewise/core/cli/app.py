"""The frame of every command-line program here: commands, shared options, exit codes.

An app's `cli.py` imports nothing heavy; the body of a command does:

    app = App("forecast", summary="Forecasts from a CSV.", version=__version__)

    @app.command(alias="train")
    def fit(data: Path, *, out: Out = None, seed: Seed = 0, budget: Budget = 60.0, console: Terminal) -> None:
        '''Fit models and write a forecast.'''  # and `Args:` with a line per parameter, which `--help` shows
        from statewise.timeseries.api import Forecaster

        with console.progress("Fitting") as bar:
            run = Forecaster(seed=seed).fit(data, out=out, budget=budget, progress=bar.update)
        console.table(run.columns, run.rows)
        console.result(run.as_dict())

    def main() -> int:
        return app.run()

    if __name__ == "__main__":  # for `torchrun -m statewise.timeseries.cli`
        raise SystemExit(main())

A command that is only worth importing when it runs is named by a string: `app.command("pkg.module:bench",
summary="...")`. Parameters without `/` can also be set in the file of `--config`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import cyclopts
from cyclopts import Parameter

from statewise.core.cli.console import Console
from statewise.core.cli.endings import DONE, ending
from statewise.core.cli.filedefaults import FileDefaults
from statewise.core.cli.hyphen import covered, uncovered
from statewise.core.cli.options import Anything, ConfigFile, Debug, Json, Quiet
from statewise.core.cli.overview import COMPLETION, overview
from statewise.core.cli.usage import usage_error, whole_numbers
from statewise.core.cli.waiting import let_threads_sleep

__all__ = ["App"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Command:
    target: Callable[..., Any] | str
    names: tuple[str, ...]
    summary: str

    @property
    def title(self) -> str:
        first, *others = self.names
        return f"{first} ({', '.join(others)})" if others else first

    def load(self) -> Callable[..., Any]:
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


@dataclass
class _Session:
    """What one run knows about itself; guessed from the raw words until they are parsed."""

    console: Console
    debug: bool

    @classmethod
    def guess(cls, words: Sequence[str]) -> _Session:
        options = words[: words.index("--")] if "--" in words else words
        console = Console(json="--json" in options, quiet="--quiet" in options or "-q" in options)
        return cls(console, "--debug" in options)


class App:
    """A program with commands.

    Args:
        name: the command as the user types it.
        summary: one line for `--help`.
        version: for `--version`.
        extras: optional packages and the extra that brings each, `{"optuna": "statewise-timeseries[tune]"}`;
            a command that fails to import one of them names the extra.
    """

    def __init__(
        self, name: str, *, summary: str, version: str, extras: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.summary = summary
        self.version = version
        self._extras = dict(extras or {})
        self._commands: list[_Command] = []
        self._default: Callable[..., Any] | None = None

    def command(
        self,
        target: Callable[..., Any] | str | None = None,
        *,
        name: str | None = None,
        alias: str | Sequence[str] = (),
        summary: str | None = None,
    ) -> Any:
        """Add a command: a decorator for functions, or `"module:function"` for one imported when it runs.

        Args:
            target: the function or where it lives.
            name: by default the function's name with hyphens.
            alias: further names.
            summary: the line in the list of commands; a function's docstring has it, a string needs it.
        """
        if target is None:
            return lambda function: self.command(function, name=name, alias=alias, summary=summary)
        own = target.rpartition(":")[2] if isinstance(target, str) else target.__name__
        names = (name or own.replace("_", "-"), *((alias,) if isinstance(alias, str) else alias))
        if summary is None:
            docstring = "" if isinstance(target, str) else target.__doc__ or ""
            summary = docstring.strip().partition("\n")[0]
        self._commands.append(_Command(target, names, summary))
        return target

    def default(self, function: F) -> F:
        """The function to run when the first word is no command; a decorator."""
        self._default = function
        return function

    @property
    def names(self) -> list[str]:
        """All names a command answers to."""
        return [name for command in self._commands for name in command.names]

    def run(self, argv: Sequence[str] | None = None) -> int:
        """Run the command that `argv` (by default the process's own words) names and return the exit code."""
        words = list(sys.argv[1:] if argv is None else argv)
        let_threads_sleep(os.environ)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a missing character must not end the command
        session = _Session.guess(words)
        try:
            if words == ["--version"]:
                sys.stdout.write(f"{self.name} {self.version}\n")
            elif self._asks_for_overview(words):
                sys.stdout.write(self._overview())
            else:
                self._dispatch(words, session)
            sys.stdout.flush()
        except cyclopts.CycloptsError as error:
            reason = usage_error(error, self.program(), self.names)
            reason.__cause__ = error
            return ending(reason, session.console, debug=session.debug, extras=self._extras)
        except BaseException as error:
            return ending(error, session.console, debug=session.debug, extras=self._extras)
        return DONE

    def program(self) -> str:
        """The name under which this program was started: each is installed as `statewise-NAME` too."""
        started = Path(sys.argv[0]).stem
        return started if started == f"statewise-{self.name}" else self.name

    def _dispatch(self, words: list[str], session: _Session) -> None:
        root = self._parser(words)

        def launch(
            *tokens: Anything,
            json: Json = False,
            quiet: Quiet = False,
            config: ConfigFile = None,
            debug: Debug = False,
        ) -> None:
            session.console, session.debug = Console(json=json, quiet=quiet), debug
            if config is not None:
                root.config = (_file_defaults(config, self.names), whole_numbers)
            command, bound, ignored = root.parse_args(tokens, exit_on_error=False, print_error=False)
            for name, value in bound.arguments.items():
                bound.arguments[name] = uncovered(value)
            for parameter in ignored:
                bound.arguments[parameter] = session.console
            if not ignored:  # cyclopts' own: help, version, completion
                command(*bound.args, **bound.kwargs)
                return
            with _speaking_through(session.console):
                command(*bound.args, **bound.kwargs)
            if session.console.json and not session.console.delivered:
                raise RuntimeError(f"'{' '.join(words)}' delivered no JSON document")

        root.meta.default(launch)
        root.meta.suppress_keyboard_interrupt = False
        root.meta(covered(words), exit_on_error=False, print_error=False, result_action="return_value")

    def _parser(self, words: Sequence[str]) -> cyclopts.App:
        """The commands in cyclopts' terms; only those that `words` may mean are imported."""
        root = cyclopts.App(
            name=self.program(),
            help=self.summary,
            version=f"{self.name} {self.version}",
            help_format="markdown",
            default_parameter=Parameter(negative_iterable=()),
            suppress_keyboard_interrupt=False,
            result_action="return_value",
            config=whole_numbers,
        )
        for command in self._commands:
            lazy = isinstance(command.target, str) and not any(name in words for name in command.names)
            target = command.target if lazy else command.load()
            # once imported, the docstring is the help: all of it on the command's own page
            listing = {"help": command.summary} if lazy else {}
            root.command(target, name=command.names[0], alias=command.names[1:], **listing)
        if self._default is not None:
            root.default(self._default)
        if COMPLETION in words:
            root.register_install_completion_command(COMPLETION)
        return root

    def _asks_for_overview(self, words: Sequence[str]) -> bool:
        options = all(word.startswith("-") for word in words)
        return options and (bool({"--help", "-h"} & set(words)) or (not words and self._default is None))

    def _overview(self) -> str:
        rows = [(command.title, command.summary) for command in self._commands]
        return overview(self.program(), self.summary, rows, sys.stdout) + "\n"


def _file_defaults(path: Path, commands: Sequence[str]) -> FileDefaults:
    from statewise.core.config import read

    return FileDefaults(path, read(path), commands)


class _Remarks(logging.Handler):
    """What the libraries log under `statewise` (a fallback, an assumption), said by the console."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        say = self._console.warn if record.levelno >= logging.WARNING else self._console.say
        say(record.getMessage())


@contextlib.contextmanager
def _speaking_through(console: Console) -> Iterator[None]:
    """Let log messages through the console, and keep stray prints of libraries out of a JSON document."""
    logger = logging.getLogger("statewise")
    handler, level = _Remarks(console), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(console.stderr) if console.json else contextlib.nullcontext():
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
