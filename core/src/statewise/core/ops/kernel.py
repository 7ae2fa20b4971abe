"""`kernel`: numba's `njit` with a cache on disk that knows all the sources a kernel is compiled from.

Numba recognises a kernel on disk by the file that the kernel stands in. What it calls is compiled into it,
though: after a change in an imported module, numba alone would go on with what it compiled before. Here the
stamp of a kernel is a digest of its file and of all modules of the operators that the file imports, directly
or through others. The rest is numba's own: its version, the processor, the place of the files.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba as nb
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.registry import CPUDispatcher

__all__ = ["kernel", "sources"]

ROOT = Path(__file__).parent
IMPORT = re.compile(r"^from statewise\.core\.ops\.([\w.]+) import", re.MULTILINE)


def sources(file: Path) -> frozenset[Path]:
    """A file, and those of the modules of the operators that it imports, directly or through others."""
    found, new = {file}, [file]
    while new:
        for name in IMPORT.findall(new.pop().read_text(encoding="utf-8")):
            module = ROOT.joinpath(*name.split("."))
            path = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
            if path not in found:
                found.add(path)
                new.append(path)
    return frozenset(found)


@cache
def _digest(file: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(sources(file)):
        total.update(path.read_bytes())
    return total.hexdigest()


class _Cache(FunctionCache):
    """Numba's cache of a function, with the stamp of ours in place of its own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=_digest(Path(inspect.getfile(function))),
        )


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function as `numba.njit(**options)`, its compiled forms kept on disk by `sources`."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = nb.njit(**options)(function)
        if isinstance(compiled, CPUDispatcher):  # a plain function where numba is switched off
            compiled._cache = _Cache(function)  # pyright: ignore[reportAttributeAccessIssue]
        return compiled

    return decorate
