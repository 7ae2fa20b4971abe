"""What cyclopts says about a wrong command line, in the words and the shape of our own errors."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

from cyclopts import (
    App,
    Argument,
    ArgumentCollection,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from statewise.core.errors import UserError, suggestion

__all__ = ["UsageError", "usage_error", "whole_numbers"]

SHARED = ("--json", "--quiet", "--config", "--debug", "--help", "--version")


class UsageError(UserError):
    """The words on the command line do not fit the command."""


def usage_error(error: CycloptsError, program: str, commands: Iterable[str]) -> UsageError:
    """The same complaint as one of ours.

    Args:
        error: what cyclopts raised.
        program: the command as it was typed.
        commands: names of the commands that exist.
    """
    words = " ".join([program, *(error.command_chain or ())])
    manual = f"'{words} --help' lists what it takes"
    if isinstance(error, UnknownCommandError):
        return _unknown_command(error, program, sorted(commands))
    if isinstance(error, UnknownOptionError):
        return _unknown_option(error, words, manual)
    if isinstance(error, MissingArgumentError):
        label = _label(error.argument)
        needed = f"a value for {label}" if label.startswith("-") else label
        return UsageError(f"needs {needed}", where=words, fix=manual)
    if isinstance(error, (CoercionError, ValidationError)):
        return _bad_value(error, words, manual)
    if isinstance(error, RepeatArgumentError):
        return UsageError(f"{error.token.keyword} is given twice", where=words, fix="give it once")
    if isinstance(error, UnusedCliTokensError):
        surplus = " ".join(error.unused_tokens or ())
        return UsageError("takes fewer words", where=words, seen=f"'{surplus}' too many", fix=manual)
    error.verbose = False
    return UsageError(str(error).rstrip("."), where=words, fix=manual)


def whole_numbers(app: App, chain: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse `--epochs 1.5`, which cyclopts would round; it calls this before it converts anything."""
    for argument in arguments:
        kinds = _kinds(argument.hint)
        if int in kinds and float not in kinds:
            for token in argument.tokens:
                if _is_fraction(token.value):
                    raise CoercionError(argument=argument, token=token, target_type=int)


def _unknown_command(error: UnknownCommandError, program: str, commands: list[str]) -> UsageError:
    word = error.unused_tokens[0] if error.unused_tokens else ""
    kind, known = ("option", SHARED) if word.startswith("-") else ("command", commands)
    return UsageError(
        f"there is no {kind} '{word}'",
        where=program,
        expected=f"one of {', '.join(known)}",
        fix=suggestion(word, known) or f"'{program} --help' lists them",
    )


def _unknown_option(error: UnknownOptionError, words: str, manual: str) -> UsageError:
    word = (error.token.keyword or error.token.value).split("=")[0]
    if error.token.source not in ("", "cli"):
        setting = word.strip("[]").replace("][", ".")
        return UsageError(f"there is no setting '{setting}'", where=error.token.source, fix=manual)
    known = [name for argument in error.argument_collection if argument.parse for name in argument.names]
    return UsageError(
        f"there is no option '{word}'", where=words, fix=suggestion(word, [*known, *SHARED]) or manual
    )


def _bad_value(error: CoercionError | ValidationError, words: str, manual: str) -> UsageError:
    argument = error.argument
    tokens = argument.tokens if argument is not None else []
    token = (error.token if isinstance(error, CoercionError) else None) or (tokens[0] if tokens else None)
    label = _label(argument)
    if token is not None and token.source not in ("", "cli"):
        words, label = token.source, label.lstrip("-")
    expected = error.exception_message.rstrip(".") if isinstance(error, ValidationError) else _wanted(error)
    choices = list(argument.get_choices() or ()) if argument is not None else []
    seen = token.value if token is not None else None
    return UsageError(
        "has a value that does not fit",
        where=f"{words}, {label}",
        seen=None if seen is None else f"'{seen}'",
        expected=f"one of {', '.join(choices)}" if choices else expected,
        fix=(suggestion(seen, choices) if seen and choices else None) or manual,
    )


def _wanted(error: CoercionError) -> str | None:
    if error.msg is not None:
        return str(error.msg).rstrip(".")
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    kind = error.target_type
    return names.get(kind, getattr(kind, "__name__", None)) if kind is not None else None


def _label(argument: Argument | None) -> str:
    """`--epochs` for an option, `DATA` for a word that is known by its position."""
    if argument is None:
        return "a parameter"
    return argument.name.lstrip("-").upper() if argument.field_info.is_positional else argument.name


def _kinds(hint: Any) -> set[Any]:
    """The types that a hint such as `list[int] | None` is made of."""
    inner = typing.get_args(hint)
    return set().union(*map(_kinds, inner)) if inner else {hint}


def _is_fraction(text: str) -> bool:
    try:
        return not float(text).is_integer()
    except ValueError:
        return False
