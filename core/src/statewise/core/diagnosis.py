"""What a report of a problem should say: versions, the machine, the choice of backends, what is wrong."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from statewise.core import __version__, machine, ops

__all__ = ["diagnose", "problems"]

PACKAGES = ("torch", "numba", "triton", "numpy", "lightning-fabric", "safetensors", "cyclopts", "msgspec")
DEVICES = ("cpu", "cuda")


def diagnose() -> dict[str, Any]:
    """The whole report as a document; its keys are stable."""
    present, usable = machine.cores()
    facts: dict[str, Any] = {
        "statewise": __version__,
        "python": platform.python_version(),
        "packages": {name: machine.version(name) for name in PACKAGES},
        "machine": {
            "system": platform.platform(terse=True),
            "architecture": platform.machine(),
            "processor": machine.processor(),
            "vector_instructions": torch.backends.cpu.get_cpu_capability(),
            "cores": present,
            "usable_cores": usable,
            "memory_bytes": machine.memory(),
        },
        "threads": {"torch": torch.get_num_threads(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")},
        "devices": _devices(),
        "operators": _operators(),
        "numba_cache": _numba_cache(),
        "apps": machine.apps(),
        "extras": machine.extras(),
    }
    return facts | {"problems": problems(facts)}


def problems(facts: dict[str, Any]) -> list[str]:
    """What the user can put right, each with how, as far as the facts of `diagnose` show it."""
    found = []
    if facts["packages"]["numba"] is None:
        found.append("numba is missing, so operators run in slow plain torch: reinstall statewise-core")
    if not facts["numba_cache"]["writable"]:
        found.append("compiled kernels cannot be kept: set NUMBA_CACHE_DIR to a directory you may write to")
    if wish := os.environ.get("STATEWISE_BACKEND"):
        found.append(
            f"STATEWISE_BACKEND={wish} overrides the choice of backends: unset it unless you mean it"
        )
    versions = {app["version"] for app in facts["apps"].values()} | {facts["statewise"]}
    if len(versions) > 1:
        found.append(f"the parts have versions {', '.join(sorted(versions))}: install the same one of all")
    return found


def _devices() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"device": "cpu", "name": machine.processor(), "memory_bytes": machine.memory()}
    ]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        found.append({"device": f"cuda:{index}", "name": card.name, "memory_bytes": card.total_memory})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "memory_bytes": None})
    return found


def _operators() -> dict[str, dict[str, dict[str, str]]]:
    """What each operator takes on each kind of device, whether or not one is here."""
    return {name: {device: ops.explain(name, device) for device in DEVICES} for name in sorted(ops.OPERATORS)}


def _numba_cache() -> dict[str, Any]:
    """Where numba keeps compiled kernels: NUMBA_CACHE_DIR, or beside the source, or in the user's cache."""
    beside = Path(ops.__file__).parent
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        folder = Path(chosen)
    elif os.access(beside, os.W_OK):
        folder = beside
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "numba"
    return {"directory": str(folder), "writable": machine.writable(folder)}
