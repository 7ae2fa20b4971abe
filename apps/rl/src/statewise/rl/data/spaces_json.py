"""gymnasium's spaces as the JSON that Minari keeps in its metadata."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from gymnasium import spaces

from statewise.core.errors import DataError

__all__ = ["space_from_json", "space_to_json"]


def space_to_json(space: spaces.Space) -> str:
    """The text of an encoded space, a Box or a Discrete."""
    if isinstance(space, spaces.Discrete):
        facts: dict[str, Any] = {
            "type": "Discrete",
            "dtype": "int64",
            "start": int(space.start),
            "n": int(space.n),
        }
    elif isinstance(space, spaces.Box):
        facts = {
            "type": "Box",
            "dtype": str(space.dtype),
            "shape": list(space.shape),
            "low": space.low.tolist(),
            "high": space.high.tolist(),
        }
    else:
        raise TypeError(f"{type(space).__name__} is not encoded")
    return json.dumps(facts)


def space_from_json(text: str, where: str) -> spaces.Space:
    """The space of a text.

    Raises:
        DataError: it is damaged, or of a kind that has no arrays.
    """
    try:
        return _space(json.loads(text), where)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"describes its spaces in a way that cannot be read ({error})", where=where, seen=text[:80]
        ) from None


def _space(facts: dict[str, Any], where: str) -> spaces.Space:
    kind = facts["type"]
    if kind == "Box":
        low, high = (np.array(facts[name], facts["dtype"]) for name in ("low", "high"))
        return spaces.Box(low, high, tuple(facts["shape"]), np.dtype(facts["dtype"]))  # pyright: ignore[reportArgumentType]
    if kind == "Discrete":
        return spaces.Discrete(int(facts["n"]), start=int(facts.get("start", 0)))
    if kind == "MultiBinary":
        return spaces.MultiBinary(facts["n"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(facts["nvec"])
    if kind == "Dict":
        return spaces.Dict({name: _space(one, where) for name, one in facts["subspaces"].items()})
    if kind == "Tuple":
        return spaces.Tuple([_space(one, where) for one in facts["subspaces"]])
    raise DataError(
        f"observes or acts in a space that is not read here, {kind}",
        where=where,
        expected="Box, Discrete, MultiBinary, MultiDiscrete, Dict or Tuple",
    )
