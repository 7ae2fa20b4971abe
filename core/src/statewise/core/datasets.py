"""Named public data sets: where the original is, what it must hash to, and under which licence.

Nothing is shipped and nothing is fetched unless asked for; whatever is used is compared with its sha256
first.
"""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from statewise.core.errors import DataError, UnknownNameError
from statewise.core.registry import canonical

__all__ = ["Dataset", "named", "obtain", "verify"]

_TIMEOUT = 60.0
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One public file."""

    summary: str
    """What it holds."""
    file: str
    """Its usual name."""
    sha256: str
    licence: str
    """Terms of use, in words."""
    credit: str
    """Whom to cite."""
    address: str = ""
    """Official address; empty where the file is only found inside a package, and must be given as a path."""
    size: int = 0
    """Bytes."""


def named(table: Mapping[str, Dataset], name: str) -> Dataset:
    """The set called `name`, in any case, with hyphens or underscores.

    Raises:
        UnknownNameError: when there is no such set; the nearest name is offered.
    """
    key = canonical(name)
    if key not in table:
        raise UnknownNameError("data set", name, table)
    return table[key]


def verify(table: Mapping[str, Dataset], name: str, path: str | Path) -> Path:
    """The path of a local copy, if it is the original file.

    Raises:
        UnknownNameError: when there is no such set.
        DataError: when the file is absent or differs from the original.
    """
    dataset, path = named(table, name), Path(path)
    try:
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read ({error})", where=str(path), fix="check the path") from None
    if found != dataset.sha256:
        raise DataError(
            f"is not the original file of '{name}'",
            where=str(path),
            seen=f"sha256 {found[:16]}...",
            expected=f"sha256 {dataset.sha256[:16]}...",
            fix="fetch it again, or read the file by its path instead of by the name of the set",
        )
    return path


def obtain(
    table: Mapping[str, Dataset],
    name: str,
    folder: str | Path,
    fetch: Callable[[str], bytes] | None = None,
) -> Path:
    """The path of the set in `folder`, fetched from its official address unless it is there already.

    Args:
        table: the sets by name.
        name: one of them.
        folder: where the file is kept; made if needed.
        fetch: from an address to bytes; default: a plain HTTPS request.

    Raises:
        UnknownNameError: when there is no such set.
        DataError: when it has no address, cannot be fetched, or is not the original.
    """
    dataset = named(table, name)
    path = Path(folder) / dataset.file
    if path.exists():
        return verify(table, name, path)
    if not dataset.address:
        raise DataError(
            f"'{name}' has no address of its own",
            where=str(path),
            expected=f"a local copy called {dataset.file}",
            fix=f"put the file there ({dataset.credit})",
        )
    try:
        data = (fetch or _download)(dataset.address)
    except OSError as error:
        raise DataError(
            f"'{name}' cannot be fetched ({error})",
            where=dataset.address,
            fix=f"check the connection, or put a copy at {path}",
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    verify(table, name, partial)
    return partial.replace(path)


def _download(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
        return answer.read()
