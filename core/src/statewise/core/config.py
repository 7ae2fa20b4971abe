"""Configurations: frozen keyword-only dataclasses that travel through TOML and JSON unchanged.

TOML is for people, JSON for machines. Decoding is strict: a wrong type, an unknown key or a value out of bounds is a
`ConfigError` that names the file, the field and the nearest known key. Bounds live in `__post_init__` of each
dataclass, written with `require`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
import tomllib
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomli_w

from statewise.core.errors import ConfigError, suggestion

__all__ = ["config_class", "field_docs", "from_dict", "load", "merge", "require", "save", "to_dict"]

T = TypeVar("T")


def require(condition: bool, field: str, seen: object, expected: str) -> None:
    """Raise a `ConfigError` that names `field` unless `condition` holds: one bound of a `__post_init__`."""
    if not condition:
        flag = "--" + field.replace("_", "-")
        raise ConfigError(
            f"'{field}' is out of bounds", where=field, seen=repr(seen), expected=expected, fix=f"set {flag} to {expected}"
        )


def to_dict(config: Any) -> dict[str, Any]:
    """A plain dict of plain values (tuples become lists, paths strings); None is kept."""
    return msgspec.to_builtins(config, str_keys=True, enc_hook=_encode)


def from_dict(cls: type[T], values: Mapping[str, Any], *, where: str = "config") -> T:
    """Build `cls` from plain values, strictly; missing keys take their defaults.

    Raises:
        ConfigError: on an unknown key (with the nearest known one), a wrong type or a value out of bounds.
    """
    _refuse_unknown(cls, values, where)
    try:
        return msgspec.convert(dict(values), cls, strict=True, dec_hook=_decode)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigError):
            cause = error.__cause__
            raise ConfigError(
                cause.what, where=f"{where}, {cause.where}", seen=cause.seen, expected=cause.expected, fix=cause.fix
            ) from None
        message, _, place = str(error).partition(" - at `$")
        raise ConfigError(
            message, where=f"{where}, {place.strip('`.') or 'top level'}", fix="correct the value in place"
        ) from None


def load(cls: type[T], path: str | Path) -> T:
    """Read `cls` from a `.toml` or `.json` file."""
    return from_dict(cls, read(path), where=str(path))


def read(path: str | Path) -> dict[str, Any]:
    """The plain values of a `.toml` or `.json` file."""
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise ConfigError("a configuration file is TOML or JSON", where=str(path), seen=path.suffix or "no ending",
                          expected=".toml or .json", fix="rename or convert the file")  # fmt: skip
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=str(path), fix="check the path and the encoding") from None
    try:
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ConfigError(f"is not valid {path.suffix[1:].upper()} ({error})", where=str(path), fix="correct the syntax") from None
    if not isinstance(values, dict):
        raise ConfigError("holds no table of settings", where=str(path), seen=type(values).__name__, expected="an object")
    return values


def save(config: Any, path: str | Path) -> None:
    """Write a configuration as `.toml` (None left out: TOML has none) or `.json`."""
    path = Path(path)
    values = to_dict(config)
    if path.suffix == ".toml":
        text = tomli_w.dumps(_without_none(values))
    else:
        text = json.dumps(values, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")


def merge(config: T, changes: Mapping[str, Any], *, where: str = "config") -> T:
    """`config` with some values replaced, checked like `from_dict`; nested tables are merged key by key."""

    def overlay(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        return old | {
            key: overlay(old[key], value) if isinstance(value, Mapping) and isinstance(old.get(key), dict) else value
            for key, value in new.items()
        }

    return from_dict(type(config), overlay(to_dict(config), changes), where=where)


def config_class(model: type) -> type:
    """The configuration dataclass of a model or layer: the annotation of `config` in its constructor."""
    return typing.get_type_hints(model.__init__)["config"]


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The line of documentation under each field of a dataclass, base classes included."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        body = typing.cast(ast.ClassDef, tree.body[0]).body
        for node, below in zip(body, body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
                if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                    docs[node.target.id] = inspect.cleandoc(below.value.value)
    return docs


def _refuse_unknown(cls: type, values: Mapping[str, Any], where: str) -> None:
    """Unknown keys at any depth: msgspec ignores them for dataclasses, a typing mistake must not pass."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(
                f"unknown setting '{key}'",
                where=where,
                expected=f"one of {', '.join(fields)}",
                fix=suggestion(str(key), fields),
            )
        if dataclasses.is_dataclass(fields[key]) and isinstance(value, Mapping):
            _refuse_unknown(typing.cast(type, fields[key]), value, f"{where}, {key}")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a configuration cannot hold {type(value).__name__}")


def _decode(kind: type, value: Any) -> Any:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise TypeError(f"cannot read {kind.__name__} from {type(value).__name__}")
