"""`statewise doctor`: the facts that every report of a problem should hold."""

from __future__ import annotations

from typing import Any

from statewise.core.cli.options import Terminal

__all__ = ["doctor"]


def doctor(*, console: Terminal) -> None:
    """Show versions, the machine, the backend that each operator takes and why, and what is wrong.

    Put its output into every report of a problem.
    """
    from statewise.core.diagnosis import diagnose

    facts = diagnose()
    console.table(["what", "found"], _rows(facts))
    console.show("")
    console.table(["operator", "device", "backend", "reason"], _choices(facts["operators"]))
    console.show("")
    console.show("\n".join(f"problem: {text}" for text in facts["problems"]) or "no problems found")
    console.result(facts)


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    here, threads = facts["machine"], facts["threads"]
    return [
        ("statewise", facts["statewise"]),
        ("python", facts["python"]),
        *((name, found or "not installed") for name, found in facts["packages"].items()),
        ("system", f"{here['system']} ({here['architecture']})"),
        ("processor", f"{here['processor']}, {here['vector_instructions']}"),
        ("cores", f"{here['cores']}, {here['usable_cores']} usable"),
        ("threads", f"{threads['torch']} (OMP_NUM_THREADS {threads['OMP_NUM_THREADS'] or 'unset'})"),
        *((device["device"], _described(device)) for device in facts["devices"]),
        ("numba cache", _cache(facts["numba_cache"])),
        *(
            (f"app {name}", f"{app['version']}, command {app['command']}")
            for name, app in facts["apps"].items()
        ),
        *((extra, _installed(packages)) for extra, packages in facts["extras"].items()),
    ]


def _choices(operators: dict[str, dict[str, dict[str, str]]]) -> list[tuple[str, str, str, str]]:
    return [
        (name, device, choice["backend"], choice["reason"])
        for name, devices in operators.items()
        for device, choice in devices.items()
    ]


def _described(device: dict[str, Any]) -> str:
    size = device["memory_bytes"]
    return device["name"] if size is None else f"{device['name']}, {size / 2**30:.1f} GiB"


def _cache(cache: dict[str, Any]) -> str:
    return cache["directory"] if cache["writable"] else f"{cache['directory']} (not writable)"


def _installed(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {found or 'not installed'}" for name, found in packages.items())
