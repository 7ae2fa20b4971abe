"""The commands that list what an app knows: its models and the public data sets it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from statewise.core.cli.console import Console
from statewise.core.datasets import Dataset, named, verify
from statewise.core.registry import Registry

__all__ = ["list_datasets", "list_models"]


def list_models(models: Registry, console: Console, *, facts: tuple[str, ...] = ("family",)) -> None:
    """Show a registry of models: name, the `facts` asked for, summary and paper."""
    rows: list[list[Any]] = []
    for name, entry in models.entries().items():
        paper = f"{entry.paper} ({entry.year})" if entry.paper else "-"
        rows.append([name, *(entry.facts.get(fact, "-") for fact in facts), entry.summary, paper])
    columns = ["name", *facts, "summary", "paper"]
    console.table(columns, rows)
    console.result({"models": [dict(zip(columns, row, strict=True)) for row in rows]})


def list_datasets(
    table: Mapping[str, Dataset], console: Console, name: str | None = None, path: Path | None = None
) -> None:
    """Show the public data sets, or one of them, or whether a local copy is the original.

    Args:
        table: the sets by name.
        console: where to.
        name: one of them.
        path: a local copy of it to compare with its sha256.

    Raises:
        UnknownNameError: there is no such set.
        DataError: the copy is absent or another file.
    """
    if name is not None and path is not None:
        verify(table, name, path)
        console.show(f"{path} is the original file of '{name}'")
        console.result({"name": name, "path": str(path), "original": True})
        return
    chosen = dict(table) if name is None else {name: named(table, name)}
    columns = ["name", "holds", "licence", "address", "sha256"]
    rows = [
        [key, one.summary, one.licence, one.address or "-", one.sha256[:16]] for key, one in chosen.items()
    ]
    console.table(columns, rows)
    console.result({"datasets": {key: asdict(one) for key, one in chosen.items()}})
