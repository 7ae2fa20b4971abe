"""Nested states of layers as flat lists of tensors, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

__all__ = ["flat_state", "shaped_state"]


def flat_state(state: Any) -> list[Tensor]:
    """All tensors of a state, in the order of its fields."""
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in flat_state(part)]


def shaped_state(like: Any, parts: Sequence[Tensor]) -> Any:
    """A state of the structure of `like` from the tensors of `flat_state`."""
    return _shaped(like, iter(parts))


def _shaped(like: Any, parts: Iterator[Tensor]) -> Any:
    if isinstance(like, Tensor):
        return next(parts)
    inner = [_shaped(part, parts) for part in like]
    return type(like)(*inner) if hasattr(like, "_fields") else tuple(inner)
