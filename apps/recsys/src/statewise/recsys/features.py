"""Item features from a table: categories and words, hashed.

The column that is called like an item (or is named) holds the ids; every other one is a feature.
A cell becomes `column=value`; a cell of text also each of its words and each pair of neighbouring words.
Cells with `|` hold several values (`Comedy|Drama`). Hashes are the first bytes of blake2b.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.load import load
from statewise.core.tables.words import named
from statewise.recsys.columns import item_column

if TYPE_CHECKING:
    from statewise.recsys.network.items import FeatureBags

__all__ = ["BUCKETS", "ItemFeatures", "read_features"]

BUCKETS = 2**14
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class ItemFeatures:
    """Features of items by id."""

    words: Mapping[str, tuple[str, ...]]
    """Features of each id."""
    columns: tuple[str, ...]
    """Columns they come from."""
    source: str

    def bags(self, items: pl.Series, buckets: int = BUCKETS) -> FeatureBags:
        """Hashed features of `items` in order; an item without any has the feature of nothing."""
        import torch

        from statewise.recsys.network.items import FeatureBags

        rows = [[hashed(word, buckets) for word in self.words.get(name, ())] or [0] for name in items]
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        flat = np.concatenate([np.array(row, dtype=np.int64) for row in rows])
        return FeatureBags(torch.from_numpy(flat), torch.from_numpy(starts.astype(np.int64)))

    def absent(self, items: pl.Series) -> int:
        """How many of `items` have no features."""
        return sum(name not in self.words for name in items)


def hashed(word: str, buckets: int) -> int:
    """The row of a feature, from 1; row 0 stands for nothing."""
    return 1 + int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little") % (buckets - 1)


def read_features(path: str | Path, item: str | None = None) -> ItemFeatures:
    """Read a table with a row for each item.

    Raises:
        DataError: it cannot be read, has no column of ids, or nothing beside it.
    """
    table = load(path)
    key = item_column(table, item)
    others = tuple(name for name in table.frame.columns if name != key)
    if not others:
        raise DataError(
            "holds ids and nothing else",
            where=table.name,
            expected="columns with categories or text",
            fix="add what is known of the items",
        )
    words: dict[str, tuple[str, ...]] = {}
    columns = [table.frame[name].cast(pl.String).to_list() for name in others]
    ids = table.frame[key].cast(pl.String).str.strip_chars().to_list()
    for row, name in enumerate(ids):
        if not name:
            raise DataError(
                "is empty", where=table.place(row, key), expected="an item's id", fix="complete the row"
            )
        if name in words:
            raise DataError(
                f"the item '{name}' has two rows", where=table.place(row, key), fix="keep one of them"
            )
        found = [
            f for label, column in zip(others, columns, strict=True) for f in _features(label, column[row])
        ]
        words[name] = tuple(dict.fromkeys(found))
    if not words:
        raise DataError("holds no items", where=table.name, seen=f"columns {named(table.frame.columns)}")
    return ItemFeatures(words=words, columns=others, source=table.name)


def _features(label: str, cell: str | None) -> list[str]:
    found: list[str] = []
    for value in (cell or "").split("|"):
        text = value.strip().lower()
        if not text:
            continue
        found.append(f"{label}={text}")
        words = _WORD.findall(text)
        if len(words) > 1:
            found += words
            found += [f"{one} {two}" for one, two in itertools.pairwise(words)]
    return found
