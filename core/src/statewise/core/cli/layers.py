"""`statewise layers`: the catalogue of layers."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Any

from cyclopts import Parameter

from statewise.core.cli.console import Console
from statewise.core.cli.options import Terminal, at_least, names_of
from statewise.core.errors import UserError
from statewise.core.layers import LAYERS
from statewise.core.registry import Entry

__all__ = ["layers"]

Name = Annotated[str | None, Parameter(completer=names_of("statewise.core.layers:LAYERS"))]
Width = Annotated[
    int | None, Parameter(validator=at_least(1), help="Count the parameters with this many channels.")
]


def layers(name: Name = None, *, parameters: Width = None, console: Terminal) -> None:
    """List the layers, or the settings of one.

    Backends are those that all operators of a layer have: portable is plain PyTorch, cpu numba, gpu Triton. A
    layer with a step runs as a stream; one with reset takes marks where a new sequence begins.

    Args:
        name: a layer; its settings are listed with their defaults.
    """
    if name is None:
        _catalogue(parameters, console)
    else:
        _settings(name, console)


def _catalogue(width: int | None, console: Console) -> None:
    rows = [_row(name, entry, width) for name, entry in LAYERS.entries().items()]
    counted = ["parameters"] if width else []
    columns = ["name", "year", "operators", "backends", "step", "reset", *counted, "paper"]
    table = [[_shown(row[key]) for key in columns] for row in rows]
    console.table(columns, table)
    console.result({"layers": rows, "d_model": width})


def _shown(value: Any) -> Any:
    return (", ".join(value) or "none") if isinstance(value, list) else value


def _row(name: str, entry: Entry, width: int | None) -> dict[str, Any]:
    operators = list(entry.facts.get("ops", ()))
    return {
        "name": name,
        "summary": entry.summary,
        "paper": entry.paper,
        "year": entry.year,
        "operators": operators,
        "backends": _backends(operators),
        "step": bool(entry.facts.get("streaming", False)),
        "reset": bool(entry.facts.get("reset", True)),
        "origin": entry.origin,
        "parameters": None if width is None else _count(name, width),
    }


def _backends(operators: list[str]) -> list[str]:
    """The backends that all of the operators have, read from the files there are: nothing is imported.

    A layer without operators is plain torch, and so is a third party's that names none.
    """
    folder = resources.files("statewise.core") / "ops"
    every = ("portable", "cpu", "gpu") if operators else ("portable",)
    return [name for name in every if all((folder / op / f"{name}.py").is_file() for op in operators)]


def _count(name: str, width: int) -> int | None:
    """Parameters at d_model = `width`, all else at its default; None where the defaults do not fit."""
    from statewise.core.layers import build

    try:
        layer = build(name, d_model=width)
    except UserError:
        return None
    return sum(parameter.numel() for parameter in layer.parameters())


def _settings(name: str, console: Console) -> None:
    import dataclasses

    from statewise.core.config import config_class, field_docs

    entry = LAYERS[name]
    config = config_class(entry.load())
    docs = field_docs(config)
    rows = [
        {
            "setting": field.name,
            "default": None if field.default is dataclasses.MISSING else field.default,
            "required": field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            "meaning": docs.get(field.name, ""),
        }
        for field in dataclasses.fields(config)
    ]
    console.say(f"{entry.summary}\n{entry.paper} ({entry.year})")
    shown = [
        (row["setting"], "required" if row["required"] else str(row["default"]), row["meaning"])
        for row in rows
    ]
    console.table(["setting", "default", "meaning"], shown)
    console.result({"name": name, "paper": entry.paper, "year": entry.year, "settings": rows})
