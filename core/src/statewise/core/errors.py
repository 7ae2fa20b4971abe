"""What can go wrong, and how it is said.

A `UserError` is something the person at the keyboard can fix: it names the place, what was seen there, what
was expected and the fix, and the command line turns it into exit code 2 without a traceback. Anything else
that escapes is a defect of ours and ends with exit code 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Interrupted",
    "MissingExtraError",
    "StatewiseError",
    "UnknownNameError",
    "UserError",
    "suggestion",
]


class StatewiseError(Exception):
    """Root of every exception that statewise raises on purpose."""

    exit_code = 1


class UserError(StatewiseError):
    """Something the user can fix.

    Args:
        what: the problem in one sentence, without a final full stop.
        where: the place: a file, `"data.csv, row 7, column 'y'"`, a flag, a field.
        seen: what was found there.
        expected: what would have been right.
        fix: what to do now, best as a command or a flag.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        seen: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.where, self.seen, self.expected, self.fix = what, where, seen, expected, fix
        super().__init__(self.render())

    def render(self) -> str:
        """The whole message: place and problem first, then a line each for seen, expected and fix."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        parts = (("seen", self.seen), ("expected", self.expected), ("fix", self.fix))
        return "\n".join([head, *(f"  {label}: {text}" for label, text in parts if text)])

    def __reduce__(self) -> tuple[Any, ...]:
        # the constructors of the subclasses differ; a worker process hands the error over by its parts
        return _restore, (type(self), self.args, self.__dict__)

    def as_dict(self) -> dict[str, str]:
        """The parts that are known, for `--json`."""
        fields = ("what", "where", "seen", "expected", "fix")
        return {name: value for name in fields if (value := getattr(self, name)) is not None}


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or out of its bounds."""


class DataError(UserError):
    """A data file cannot be read or does not hold what is needed."""


class CheckpointError(UserError):
    """A run or model directory is missing, damaged or of another kind."""


class MissingExtraError(UserError):
    """An optional dependency is needed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            fix=f'pip install "{extra}"',
        )


class UnknownNameError(UserError):
    """A name that is in no table; the nearest known names are offered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        self.name, self.known = name, names
        super().__init__(
            f"there is no {kind} called '{name}'",
            expected=f"one of {', '.join(names)}" if names else None,
            fix=suggestion(name, names),
        )


class Interrupted(StatewiseError):
    """The user stopped the work; what was best so far has been kept."""

    exit_code = 130


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """`did you mean 'x'?` for the nearest known name, or None when nothing is near."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else None


def _restore(cls: type[UserError], args: tuple[Any, ...], parts: Mapping[str, Any]) -> UserError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(parts)
    return error
