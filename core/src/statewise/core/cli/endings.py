"""How a command ends: exit codes, and what is said about a failure."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from statewise.core import documents
from statewise.core.cli.console import Console, is_terminal
from statewise.core.errors import Interrupted, MissingExtraError, StatewiseError, UserError

__all__ = ["DONE", "ending"]

DONE = 0
DEFECT = 1
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE}
_PARTS = ("what", "where", "seen", "expected", "fix")


def ending(error: BaseException, console: Console, *, debug: bool, extras: Mapping[str, str]) -> int:
    """Say what went wrong and return the exit code.

    Args:
        error: what ended the command.
        console: where to say it.
        debug: show the traceback too.
        extras: optional packages and the extra that brings each.
    """
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return DONE
    if isinstance(error, SystemExit):
        if isinstance(error.__context__, BrokenPipeError):  # how rich ends a help page that nobody reads on
            return DONE
        return error.code if isinstance(error.code, int) else DONE if error.code is None else DEFECT
    reason = _reason(error, extras)
    code = reason.exit_code if isinstance(reason, StatewiseError) else DEFECT
    if debug:
        console.stderr.write("".join(traceback.format_exception(error)))
    if console.json and not console.delivered:
        console.stdout.write(documents.dumps(_document(reason, code)) + "\n")
        console.stdout.flush()
    _print(_text(reason, debug=debug), console)
    return code


def _reason(error: BaseException, extras: Mapping[str, str]) -> BaseException:
    """The error in our terms: what the machine or the installation lacks is for the user to fix."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped by the keyboard")
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in extras:
        package = str(error.name).partition(".")[0]
        return MissingExtraError(package, extras[package], "this command")
    if isinstance(error, MemoryError):
        return UserError("there is not enough memory", fix="make the batch, the model or the data smaller")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        place = None if error.filename is None else str(error.filename)
        return UserError(
            str(error.strerror), where=place, fix="make room, set permissions or use another place"
        )
    return error


def _text(reason: BaseException, *, debug: bool) -> str:
    if isinstance(reason, Interrupted):
        return f"interrupted: {reason}"
    if isinstance(reason, UserError):
        return f"error: {reason.render()}"
    lines = [f"error: a defect of statewise, not of your input: {_summary(reason)}"]
    if not debug:
        lines.append("  fix: --debug shows the traceback; please report it together with 'statewise doctor'")
    return "\n".join(lines)


def _document(reason: BaseException, code: int) -> dict[str, Any]:
    parts: dict[str, str | None] = dict.fromkeys(_PARTS)
    if isinstance(reason, UserError):
        parts |= reason.as_dict()
    else:
        parts["what"] = str(reason) if isinstance(reason, Interrupted) else _summary(reason)
    return {"error": {"type": type(reason).__name__, **parts}, "exit_code": code}


def _summary(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _print(text: str, console: Console) -> None:
    """Print on stderr, the first word red on a terminal; a closed stderr must not hide the exit code."""
    head, colon, rest = text.partition(":")
    if is_terminal(console.stderr) and "NO_COLOR" not in os.environ:
        head = f"\x1b[1;31m{head}\x1b[0m"
    with contextlib.suppress(OSError):
        console.stderr.write(f"{head}{colon}{rest}\n")
        console.stderr.flush()


def _reader_is_gone() -> bool:
    """Whether the other end of our stdout was closed (`forecast models | head`), and not some other pipe."""
    if not hasattr(select, "poll"):  # Windows, where a closed pipe raises another error
        return False
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # not a file, so not a pipe
        return False
    watch = select.poll()
    watch.register(descriptor, select.POLLOUT)
    if not any(event & select.POLLERR for _, event in watch.poll(0)):
        return False
    # the interpreter flushes once more at exit and would complain
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True
