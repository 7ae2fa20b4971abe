"""What this computer and this installation are made of. Nothing here imports torch or numba."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from typing import TypedDict

__all__ = ["App", "apps", "cores", "extras", "memory", "processor", "version", "writable"]

PREFIX = "statewise-"
_EXTRA = re.compile(r"""^\s*([A-Za-z0-9._-]+)[^;]*;.*\bextra\s*==\s*['"]([^'"]+)['"]""")


class App(TypedDict):
    """An installed app."""

    version: str
    command: str | None


def processor() -> str:
    """The model name of the CPU, as exactly as the system tells it."""
    if platform.system() == "Linux":
        found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
        if found:
            return found[1].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def cores() -> tuple[int, int]:
    """Logical cores of the machine, and those this process may use."""
    present = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    return present, usable


def memory() -> int | None:
    """Bytes of main memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, which may not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def apps() -> dict[str, App]:
    """The installed apps by name."""
    found: dict[str, App] = {}
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower()
        if name.startswith(PREFIX) and name != f"{PREFIX}core":
            scripts = [point.name for point in distribution.entry_points if point.group == "console_scripts"]
            short = [script for script in scripts if not script.startswith(PREFIX)]
            found[name.removeprefix(PREFIX)] = App(
                version=distribution.version, command=short[0] if short else None
            )
    return dict(sorted(found.items()))


def extras() -> dict[str, dict[str, str | None]]:
    """The extras of the core and the apps, `statewise-core[tensorboard]`: packages and their versions."""
    found: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    for part in ("core", *apps()):
        for need in metadata.requires(PREFIX + part) or ():
            if match := _EXTRA.match(need):
                found[f"{PREFIX}{part}[{match[2]}]"][match[1]] = version(match[1])
    return dict(found)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
