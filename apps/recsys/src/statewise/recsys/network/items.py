"""An item's vector: its id, its features, or both.

    id         E_v
    features   E_v + mean over the item's features f of W[hash(f)]
    text       the mean alone, through a small gated map: an item with words but no events has a vector too

A feature is `column=value` for categories and each word (and pair of neighbouring words) of a text, hashed
into a table of `buckets` rows (Weinberger et al., Feature Hashing, 2009). Recformer's idea (Li et al., 2023)
at the size of a laptop: items are their words, so new items rank without training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FeatureBags", "ItemTable"]


@dataclass(frozen=True)
class FeatureBags:
    """Hashed features of each item: item v has `hashes[starts[v]:starts[v + 1]]`."""

    hashes: Tensor
    """(F,) int64 in 0..buckets - 1."""
    starts: Tensor
    """(V + 1,) int64."""


class ItemTable(nn.Module):
    """The vectors of all items, (V, D).

    Args:
        n_items: V.
        d_model: D.
        kind: `id`, `features` or `text`.
        buckets: rows of the hashed table.
        features: of each item; needed unless `kind` is `id`.
    """

    no_decay = frozenset({"weight"})

    def __init__(
        self,
        n_items: int,
        d_model: int,
        *,
        kind: str = "id",
        buckets: int = 0,
        features: FeatureBags | None = None,
    ) -> None:
        super().__init__()
        std = 1 / math.sqrt(d_model)
        self.weight = nn.Parameter(torch.randn(n_items, d_model) * 0.02) if kind != "text" else None
        self.hashed, self.mix = None, None
        if kind != "id":
            if features is None:
                raise ValueError(f"items of the kind '{kind}' need features")
            self.hashed = nn.Parameter(torch.randn(buckets, d_model) * std)
            self.mix = nn.Sequential(nn.Linear(d_model, 2 * d_model), nn.GLU(), nn.Linear(d_model, d_model))
            self.register_buffer("hashes", features.hashes)
            self.register_buffer("starts", features.starts)

    def forward(self) -> Tensor:
        """(V, D)."""
        if self.hashed is None or self.mix is None:
            assert self.weight is not None  # the kind is `id`
            return self.weight
        said = self.encode(FeatureBags(self.hashes, self.starts))  # pyright: ignore[reportArgumentType]
        return said if self.weight is None else self.weight + said

    def encode(self, features: FeatureBags) -> Tensor:
        """Vectors of items from their features alone, also of items that were not there in training."""
        assert self.hashed is not None
        assert self.mix is not None
        bag = F.embedding_bag(
            features.hashes, self.hashed, features.starts, mode="mean", include_last_offset=True
        )
        return self.mix(bag)
