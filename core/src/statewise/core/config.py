"""Configurations: frozen keyword-only dataclasses that travel through TOML and JSON unchanged.

TOML is for people, JSON for machines. Decoding is strict: a wrong type, an unknown key or a value out of
bounds is a `ConfigError` that names the file, the field and the nearest known key. Bounds live in
`__post_init__` of each dataclass, written with `require`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomli_w

from statewise.core.errors import ConfigError, suggestion

__all__ = ["config_class", "field_docs", "from_dict", "load", "merge", "read", "require", "save", "to_dict"]

T = TypeVar("T")


def require(condition: bool, field: str, seen: object, expected: str) -> None:
    """Raise a `ConfigError` that names `field` unless `condition` holds: one bound of a `__post_init__`."""
    if not condition:
        raise ConfigError(
            f"'{field}' is out of bounds",
            where=field,
            seen=repr(seen),
            expected=expected,
            fix=f"set {field} to {expected}",
        )


def to_dict(config: Any) -> dict[str, Any]:
    """A plain dict of plain values (tuples become lists, paths strings); None is kept."""
    return _plain(config)


def from_dict(cls: type[T], values: Mapping[str, Any], *, where: str = "config") -> T:
    """Build `cls` from plain values, strictly; missing keys take their defaults.

    Raises:
        ConfigError: on an unknown key (with the nearest known one), a wrong type or a value out of bounds.
    """
    tables = list(_tables(cls, values, ""))
    for table, content, path in tables:
        _refuse_unknown(table, content, _place(where, path))
    for table, content, path in reversed(
        tables
    ):  # inner tables first: a bad value is reported where it stands
        _convert(table, content, where, path)
    return _convert(cls, values, where, "")


def load(cls: type[T], path: str | Path) -> T:
    """Read `cls` from a `.toml` or `.json` file."""
    return from_dict(cls, read(path), where=str(path))


def read(path: str | Path) -> dict[str, Any]:
    """The plain values of a `.toml` or `.json` file."""
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise ConfigError(
            "a configuration file is TOML or JSON",
            where=str(path),
            seen=path.suffix or "no ending",
            expected=".toml or .json",
            fix="rename or convert the file",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot be read: {reason}", where=str(path), fix="check the path") from None
    try:
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        kind = path.suffix[1:].upper()
        raise ConfigError(
            f"is not valid {kind} ({error})", where=str(path), fix="correct the syntax"
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(
            "holds no table of settings", where=str(path), seen=type(values).__name__, expected="an object"
        )
    return values


def save(config: Any, path: str | Path) -> None:
    """Write a configuration as `.toml` or `.json`, such that `load` gives it back unchanged.

    Raises:
        ConfigError: when the format cannot say it: TOML has no None (left out, it would come back as the
            default of its field), JSON neither infinity nor NaN.
    """
    path = Path(path)
    values = to_dict(config)
    if path.suffix == ".toml":
        shown = _without_none(values)
        if to_dict(from_dict(type(config), shown)) != values:
            raise ConfigError("holds a None that TOML cannot say", where=str(path), fix="save it as .json")
        text = tomli_w.dumps(shown)
    else:
        try:
            text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        except ValueError:
            raise ConfigError(
                "holds a number that JSON cannot say", where=str(path), fix="save it as .toml"
            ) from None
    path.write_text(text, encoding="utf-8")


def merge(config: T, changes: Mapping[str, Any], *, where: str = "config") -> T:
    """`config` with some values replaced, checked like `from_dict`; nested tables are merged key by key."""

    def overlay(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        return old | {
            key: overlay(old[key], value)
            if isinstance(value, Mapping) and isinstance(old.get(key), dict)
            else value
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
        for field, below in itertools.pairwise(typing.cast(ast.ClassDef, tree.body[0]).body):
            text = below.value if isinstance(below, ast.Expr) else None
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                docs[field.target.id] = inspect.cleandoc(text.value)
    return docs


def _tables(hint: Any, value: Any, path: str) -> Iterator[tuple[type, Mapping[str, Any], str]]:
    """Every table in `value` that a dataclass stands for, outer before inner, with its path from the top."""
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            cls = typing.cast(type, hint)
            yield cls, value, path
            hints = typing.get_type_hints(cls)
            for field in dataclasses.fields(cls):
                if field.name in value:
                    yield from _tables(hints[field.name], value[field.name], _join(path, field.name))
        return
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in inner:
            yield from _tables(option, value, path)
    elif inner and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tables(inner[-1], item, _join(path, str(key)))
    elif inner and isinstance(value, (list, tuple)):
        several = origin is tuple and inner[-1] is not Ellipsis
        for index, item in enumerate(value):
            yield from _tables(
                inner[min(index, len(inner) - 1)] if several else inner[0], item, f"{path}[{index}]"
            )


def _refuse_unknown(cls: type, values: Mapping[str, Any], place: str) -> None:
    """Refuse unknown keys: msgspec ignores them for dataclasses, a typing mistake must not pass."""
    known = [field.name for field in dataclasses.fields(cls)]
    for key in values:
        if key not in known:
            raise ConfigError(
                f"unknown setting '{key}'",
                where=place,
                expected=f"one of {', '.join(known)}",
                fix=suggestion(str(key), known),
            )


def _convert(cls: type[T], values: Mapping[str, Any], where: str, path: str) -> T:
    try:
        return msgspec.convert(dict(values), cls, strict=True, dec_hook=_decode)
    except ConfigError as error:
        place = _place(where, _join(path, error.where or ""))
        raise ConfigError(
            error.what, where=place, seen=error.seen, expected=error.expected, fix=error.fix
        ) from None
    except msgspec.ValidationError as error:
        message, _, below = str(error).partition(" - at `$")
        place = _place(where, _join(path, below.strip("`.")))
        if match := re.fullmatch("Object missing required field `(.+)`", message):
            raise ConfigError(f"lacks the setting '{match[1]}'", where=place, fix="add it") from None
        if match := re.fullmatch("Expected `(.+)`, got `(.+)`", message):
            raise ConfigError(
                "has the wrong type", where=place, seen=match[2], expected=match[1], fix="correct the value"
            ) from None
        raise ConfigError(message, where=place, fix="correct the value") from None


def _place(where: str, path: str) -> str:
    return f"{where}, {path}" if path else where


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def _plain(value: Any) -> Any:
    # msgspec would read the instance's dict, in which a field left at None may be missing
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return msgspec.to_builtins(value, enc_hook=_encode)


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a configuration cannot hold {type(value).__name__}")


def _decode(kind: type, value: Any) -> Any:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise TypeError(f"cannot read {kind.__name__} from {type(value).__name__}")
