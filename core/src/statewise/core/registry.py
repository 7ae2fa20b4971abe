"""Tables of names: what exists, found without importing it.

A registry maps a name to `"module:attribute"` plus facts worth listing. Reading the table imports nothing, so
that `forecast models` and shell completion stay fast; only `load` imports. Third parties add entries through
an entry-point group of the same name, whose values are `module:attribute` too.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from statewise.core.errors import UnknownNameError, UserError

__all__ = ["Entry", "Registry", "canonical", "preset"]

BUILTIN = "statewise"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of a registry."""

    target: str
    """Where the object lives, as `package.module:Attribute`."""
    summary: str = ""
    """One line: what it is and when to use it."""
    paper: str = ""
    """Authors, title and year of the source; empty where there is none."""
    year: int | None = None
    """Year of the source."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further facts of this kind of entry, such as the operators of a layer."""
    origin: str = BUILTIN
    """The distribution that brought the entry."""

    def load(self) -> Any:
        """Import the module and return the attribute.

        Raises:
            UserError: another distribution brought the entry and it does not load.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return operator.attrgetter(attribute)(importlib.import_module(module))
        except (ImportError, AttributeError) as error:
            if self.origin == BUILTIN:
                raise
            raise UserError(
                f"'{self.target}' does not load ({error})",
                where=f"distribution {self.origin}",
                fix=f"update or uninstall {self.origin}",
            ) from error


class Registry:
    """A lazy table of named entries.

    Args:
        kind: what an entry is, for messages: `"layer"`, `"forecasting model"`.
        entries: the built-in rows.
        group: entry-point group in which other distributions add rows.
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry], *, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._builtin = dict(entries)
        self._all: dict[str, Entry] | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries())

    def __len__(self) -> int:
        return len(self.entries())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical(name) in self.entries()

    def __getitem__(self, name: str) -> Entry:
        key = canonical(name)
        entries = self.entries()
        if key not in entries:
            raise UnknownNameError(self.kind, name, entries)
        return entries[key]

    def entries(self) -> dict[str, Entry]:
        """All rows by name, built-in ones first; a third party never replaces one of them."""
        if self._all is None:
            self._all = dict(self._builtin)
            for point in metadata.entry_points(group=self.group) if self.group else ():
                origin = point.dist.name if point.dist else point.module
                target = f"{point.module}:{point.attr}"
                self._all.setdefault(canonical(point.name), Entry(target=target, origin=origin))
        return dict(self._all)

    def load(self, name: str) -> Any:
        """Import what `name` stands for."""
        return self[name].load()

    def resolve(self, spec: str) -> tuple[str, str | None]:
        """Split `MODEL` or `MODEL-PRESET` into the entry's name and the preset, or None.

        The longest entry name that fits wins, so that `es-rnn-tiny` is `es-rnn` with the preset `tiny`.
        Whether the preset exists is for the model to say (see `preset`).
        """
        key = canonical(spec)
        parts = key.split("-")
        for cut in range(len(parts), 0, -1):
            name = "-".join(parts[:cut])
            if name in self.entries():
                return name, "-".join(parts[cut:]) or None
        raise UnknownNameError(self.kind, spec, self.entries())


def canonical(name: str) -> str:
    """Lower case with hyphens: `ES_RNN` and `es-rnn` are one name."""
    return name.strip().lower().replace("_", "-")


def preset(presets: Mapping[str, Mapping[str, Any]], name: str | None, model: str) -> dict[str, Any]:
    """The settings of the preset `name` of `model`; without a name, none."""
    if name is None:
        return {}
    if name not in presets:
        raise UnknownNameError(f"preset of {model}", name, presets)
    return dict(presets[name])
