"""`statewise warmup`: compile the CPU kernels ahead, so that no first call has to wait.

The module `cpu` of an operator may offer `warmup()`, which compiles its kernels for the types that the layers
use; numba keeps on disk what it compiled. The kernels of an operator without it are compiled when they are
first called.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

from statewise.core.cli.durations import format_duration
from statewise.core.cli.options import Terminal

__all__ = ["warmup"]


def warmup(*, console: Terminal) -> None:
    """Compile the CPU kernels of every operator, keep them, and say how long each took.

    A second run finds them compiled and takes a fraction of the time.
    """
    from statewise.core import ops

    rows: list[dict[str, Any]] = []
    with console.progress("Compiling") as bar:
        for done, (name, op) in enumerate(sorted(ops.OPERATORS.items())):
            bar.update(done / len(ops.OPERATORS), name)
            choice = ops.explain(name, "cpu")
            rows.append({"operator": name, **_compile(op.package, **choice)})
    shown = [
        (row["operator"], None if row["seconds"] is None else format_duration(row["seconds"]), row["note"])
        for row in rows
    ]
    console.table(["operator", "time", "note"], shown)
    console.result({"operators": rows, "seconds": sum(row["seconds"] or 0.0 for row in rows)})


def _compile(package: str, backend: str, reason: str) -> dict[str, Any]:
    if backend != "cpu":
        return {"seconds": None, "note": f"runs on the backend '{backend}': {reason}"}
    start = time.perf_counter()
    compile_kernels = getattr(importlib.import_module(f"{package}.cpu"), "warmup", None)
    if compile_kernels is None:
        return {"seconds": None, "note": "compiles at its first call"}
    compile_kernels()
    return {"seconds": time.perf_counter() - start, "note": "compiled and kept"}
