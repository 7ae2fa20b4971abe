"""Causal softmax attention over a window, with rotary positions: the yardstick of the recurrent layers.

    [q, k, v]_t = W x_t,        q, k turned by their position
    y_t = W_o sum_{s = t-W+1 .. t} softmax_s(q_t . k_s / sqrt(K)) v_s

Its state is the cache of the last W - 1 keys and values: constant, but W times as large as that of a
recurrence. With one key head and a window of 1024 it is the local attention of Griffin.

Vaswani et al., "Attention Is All You Need", 2017; rotary positions: Su et al., "RoFormer: Enhanced
Transformer with Rotary Position Embedding", 2021; shared key heads: Ainslie et al., "GQA", 2023.

Shapes: x and y (B, L, D), q (B, L, H, K), k and v (B, L, G, K) with D = H K and G a divisor of H.

Differs from the papers: the window. Keys are cached unturned and turned by their place in the window, which
gives the same scores, since these depend on distances only, and keeps angles exact in streams of any length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.core.layers.masking import segments, tail

__all__ = ["Attention", "AttentionConfig", "AttentionState"]


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Settings of `Attention`."""

    d_model: int
    """D, features in and out."""
    heads: int = 4
    """H, query heads; divides D into an even number K."""
    kv_heads: int | None = None
    """G, key and value heads; divides H, H when unset."""
    window: int = 1024
    """W, steps that a query sees, itself included."""
    rotary_base: float = 10_000.0
    """The slowest angle turns once in about 2 pi times as many steps."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        even = self.heads > 0 and self.d_model % (2 * self.heads) == 0
        require(even, "heads", self.heads, "a divisor of d_model / 2")
        shared = self.kv_heads is None or (self.kv_heads > 0 and self.heads % self.kv_heads == 0)
        require(shared, "kv_heads", self.kv_heads, "a divisor of heads")
        require(self.window > 0, "window", self.window, "at least 1")
        require(self.rotary_base > 1, "rotary_base", self.rotary_base, "above 1")


class AttentionState(NamedTuple):
    """What `Attention` carries."""

    keys: Tensor
    """(B, W - 1, G K), the last keys, oldest first, not turned."""
    values: Tensor
    """(B, W - 1, G K), their values."""
    filled: Tensor
    """(B,) integers, how many of them are there."""


class Attention(Layer[AttentionState]):
    """Each step looks at the last W steps by content."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__(config)
        d, self.kv_heads = config.d_model, config.kv_heads or config.heads
        self.width = d // config.heads
        self.query = nn.Linear(d, d, bias=False)
        self.key = nn.Linear(d, self.kv_heads * self.width, bias=False)
        self.value = nn.Linear(d, self.kv_heads * self.width, bias=False)
        self.out = nn.Linear(d, d, bias=False)

    def sequence(
        self, x: Tensor, state: AttentionState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, AttentionState]:
        k, v = self.key(x), self.value(x)
        batch, length, before = x.shape[0], x.shape[1], self.config.window - 1
        # Blocks of W queries see 2 W - 1 keys: linear in the length.
        block = min(self.config.window, length)
        count = -(-length // block)
        padding = (0, 0, 0, count * block - length)
        queries = F.pad(self.query(x), padding).view(batch * count, block, -1)

        def spans(old: Tensor, new: Tensor) -> Tensor:
            joined = F.pad(torch.cat([old.to(x.dtype), new], 1), padding)
            return joined.unfold(1, before + block, block).transpose(2, 3).flatten(0, 1)

        visible = self._visible(state, reset, length, block, count).flatten(0, 1)
        y = self._attend(queries, spans(state.keys, k), spans(state.values, v), visible)
        y = y.view(batch, count * block, -1)[:, :length]
        dtype = state.keys.dtype
        keys, values = (
            tail(new.to(dtype), old, reset, lengths) for old, new in ((state.keys, k), (state.values, v))
        )
        return self.out(y), AttentionState(keys, values, self._filled(state, reset, lengths, length))

    def step(self, x_t: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        dtype, before = state.keys.dtype, self.config.window - 1
        keys = torch.cat([state.keys, self.key(x_t).to(dtype)[:, None]], 1)
        values = torch.cat([state.values, self.value(x_t).to(dtype)[:, None]], 1)
        age = torch.arange(before, -1, -1, device=x_t.device)
        visible = (age <= state.filled[:, None])[:, None]
        y_t = self._attend(self.query(x_t)[:, None], keys.to(x_t.dtype), values.to(x_t.dtype), visible)[:, 0]
        return self.out(y_t), AttentionState(keys[:, 1:], values[:, 1:], (state.filled + 1).clamp(max=before))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> AttentionState:
        shape = (batch_size, self.config.window - 1, self.kv_heads * self.width)
        keys, values = (self.zeros(*shape, device=device, dtype=dtype) for _ in range(2))
        return AttentionState(keys, values, keys.new_zeros(batch_size, dtype=torch.int64))

    def _visible(
        self, state: AttentionState, reset: Tensor | None, length: int, block: int, count: int
    ) -> Tensor:
        """(B, count, block, W - 1 + block) bool: which keys of its span each query of a block sees."""
        batch, before = state.filled.shape[0], self.config.window - 1
        device = state.filled.device
        ids = (
            torch.zeros(batch, length, dtype=torch.int64, device=device) if reset is None else segments(reset)
        )
        cached = torch.arange(before, 0, -1, device=device) <= state.filled[:, None]
        ids = F.pad(ids, (0, count * block - length), value=-1)
        there = torch.cat([torch.where(cached, 0, -2), ids], 1).unfold(1, before + block, block)
        distance = (
            torch.arange(block, device=device)[:, None] + before - torch.arange(before + block, device=device)
        )
        near = (distance >= 0) & (distance <= before)
        return near & (ids.view(batch, count, block, 1) == there[:, :, None])

    def _filled(
        self, state: AttentionState, reset: Tensor | None, lengths: Tensor | None, length: int
    ) -> Tensor:
        """(B,) how many steps of the row's last sequence the cache holds at its end."""
        end = torch.full_like(state.filled, length) if lengths is None else lengths.to(state.filled.dtype)
        seen = state.filled + end
        if reset is not None:
            since = torch.arange(length, device=reset.device)
            last = torch.where(reset, since, -1).amax(1)
            seen = torch.where(last >= 0, end - last, seen)
        return seen.clamp(max=self.config.window - 1)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        """Queries (N, C, D) at the last C of S places, keys and values (N, S, G K), to (N, C, D)."""
        places, block = keys.shape[1], queries.shape[1]
        heads, shared = self.config.heads, self.config.heads // self.kv_heads
        angles = self._angles(places, queries.device)
        q = _turned(queries.unflatten(2, (heads, -1)), angles[places - block :])
        k = _turned(keys.unflatten(2, (self.kv_heads, -1)), angles)
        v = values.unflatten(2, (self.kv_heads, -1))
        k, v = (part.repeat_interleave(shared, 2).transpose(1, 2) for part in (k, v))
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=visible[:, None])
        return y.transpose(1, 2).flatten(2)

    def _angles(self, places: int, device: torch.device) -> Tensor:
        """(S, 1, K / 2) radians by which each place of a window is turned, float64."""
        half = self.width // 2
        exponents = torch.arange(half, device=device, dtype=torch.float64) / half
        rates = torch.exp(-math.log(self.config.rotary_base) * exponents)
        return (torch.arange(places, device=device)[:, None] * rates)[:, None]


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    """Each pair (i, i + K/2) of x (N, S, heads, K) turned by its angle."""
    cos, sin = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
