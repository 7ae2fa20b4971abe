"""The network: a window of items in, a score for every item out.

    x = scale E[items] (+ norm),   h = encoder(x),   score(v) = h . E_v + b_v

E (V, D) is both what goes in and what is compared with (tied). A masked place (cloze) has a vector of its
own. Letters: B rows, L places, D width, V items, n places that are asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.errors import UserError
from statewise.recsys.network.encoders import EncoderConfig, RecurrentEncoder, build_encoder
from statewise.recsys.network.items import ItemTable

__all__ = ["Batch", "Network", "NetworkConfig"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Settings of the network."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    embedding_norm: bool = False
    """LayerNorm on the item vectors that go in (LRURec), in place of the scale sqrt(D) (SASRec)."""
    masked: bool = False
    """Whether places may be masked (the cloze objective)."""
    items: str = "id"
    """What an item's vector is made of: `id`, `features` (id + features) or `text` (features alone)."""
    buckets: int = 0
    """Rows of the table of hashed features; 0 without."""

    def __post_init__(self) -> None:
        require(self.items in ("id", "features", "text"), "items", self.items, "id, features or text")
        require(self.items == "id" or self.buckets > 0, "buckets", self.buckets, "1 or more with features")


class Batch(NamedTuple):
    """Training windows in groups of similar length, each right-padded to its longest."""

    items: list[Tensor]
    """(B, L) int64 for each group; V stands for a masked place."""
    lengths: list[Tensor]
    """(B,) int64."""
    asked: list[Tensor]
    """Flat places (row * L + place) whose item is to be found, int64."""
    targets: Tensor
    """(n,) int64, over the groups in order."""


class Network(nn.Module):
    """Item table, encoder and bias."""

    def __init__(self, config: NetworkConfig, n_items: int, features: Any = None) -> None:
        super().__init__()
        self.config, self.n_items = config, n_items
        d = config.encoder.d_model
        self.table = ItemTable(n_items, d, kind=config.items, buckets=config.buckets, features=features)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.masked = nn.Parameter(torch.randn(d) * 0.02) if config.masked else None
        self.norm = nn.LayerNorm(d, eps=1e-6) if config.embedding_norm else None
        self.encoder = build_encoder(config.encoder)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What the network says at the places asked (n, D), the table (V, D) and the bias (V,)."""
        table: Tensor = self.table()
        said = []
        for items, lengths, asked in zip(batch.items, batch.lengths, batch.asked, strict=True):
            h = self.encoder(self.embed(items, table), lengths)
            said.append(h.flatten(0, 1).index_select(0, asked))
        return torch.cat(said), table, self.bias

    def embed(self, items: Tensor, table: Tensor) -> Tensor:
        """(B, L) items, or (B,) of one step, to vectors."""
        if self.masked is not None:
            table = torch.cat([table, self.masked[None]])
        x = F.embedding(items, table)
        return x * math.sqrt(x.shape[-1]) if self.norm is None else self.norm(x)

    def last(self, items: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
        """What the network says at the end of each row, (B, D)."""
        table = table if table is not None else cast(Tensor, self.table())
        h = self.encoder(self.embed(items, table), lengths)
        rows = torch.arange(len(items), device=items.device) * items.shape[1]
        return h.flatten(0, 1).index_select(0, rows + lengths - 1)

    def recurrent(self) -> RecurrentEncoder:
        """The encoder, where it streams.

        Raises:
            UserError: it reads whole windows.
        """
        if not isinstance(self.encoder, RecurrentEncoder) or self.masked is not None:
            raise UserError(
                "reads whole windows: it has no state to carry from event to event",
                where=self.config.encoder.name,
                fix="choose a recurrent encoder such as lru, gru or mamba2",
            )
        return self.encoder
