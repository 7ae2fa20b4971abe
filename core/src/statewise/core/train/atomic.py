"""Files that are either the old one or the new one, never half of each: also after a crash or a power cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from statewise.core.errors import CheckpointError

__all__ = ["replace_file", "unwritable", "write_text"]


def replace_file(path: Path, write: Callable[[Path], object], *, keep: Path | None = None) -> None:
    """Let `write` fill a file beside `path`, force it to the disk, then put it in the place of `path`.

    Args:
        path: the file to replace.
        write: called with the path of the temporary file.
        keep: where the old file goes; None drops it.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission); the old one is untouched.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        new.touch()
        mode = new.stat().st_mode
        write(new)
        new.chmod(mode)  # safetensors writes files that nobody else can read
        _sync(new)
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(new, path)
        _sync_directory(path.parent)
    except (OSError, SafetensorError) as error:
        new.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def unwritable(path: Path, error: Exception) -> CheckpointError:
    """What to raise when `error` has kept a file from being written."""
    return CheckpointError(
        f"cannot be written ({getattr(error, 'strerror', None) or error})",
        where=str(path),
        fix="free space on the disk or choose another place with --out",
    )


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8."""
    replace_file(path, lambda new: new.write_bytes(text.encode()))


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    if os.name == "posix":  # elsewhere a directory cannot be opened, and needs no sync
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
