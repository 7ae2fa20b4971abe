"""Retention, RetNet's mixer: linear attention with a constant decay per head, queries and keys rotating.

    q_t = R^p_t W_q x_t,  k_t = R^p_t W_k x_t / sqrt(K),  v_t = W_v x_t
    S_t = gamma_h S_{t-1} + k_t v_t^T,       o_t = S_t^T q_t            gamma_h = 1 - 2^(-5-h)
    y_t = W_o (norm(o_t) * silu(W_g x_t))

R^p turns pairs of features by p times fixed frequencies, as rotary position embeddings do; p_t counts the
steps since the start of the sequence. Sun et al., "Retentive Network: A Successor to Transformer for Large
Language Models", 2023.

Shapes: x and y (B, L, D), q and k (B, L, H, K), v and o (B, L, H, V), S (B, H, K, V), gamma (H,), p (B, L).

Differs from the paper: the norm divides each head by its root mean square, without a mean to subtract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.delta_parts import HeadNorm
from statewise.core.layers.rotation import positions, rotate
from statewise.core.ops import gated_linear_attention
from statewise.core.ops.gated_linear_attention import gated_linear_attention_step

__all__ = ["RetNet", "RetNetConfig", "RetNetState"]


@dataclass(frozen=True, kw_only=True)
class RetNetConfig:
    """Settings of `RetNet`."""

    d_model: int
    """D, features in and out."""
    heads: int = 1
    """H, memories side by side."""
    d_key: int | None = None
    """K, features of a key, even; D / H, rounded up to even, when unset."""
    d_value: int | None = None
    """V, features of a value; 2 D / H, rounded up, when unset, as in the paper."""
    rotary_base: float = 10_000.0
    """Ratio of the fastest frequency to the slowest, nearly."""

    def __post_init__(self) -> None:
        for name in ("d_model", "heads"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        keys = self.d_key
        require(keys is None or (keys > 0 and keys % 2 == 0), "d_key", keys, "even and at least 2")
        require(self.d_value is None or self.d_value > 0, "d_value", self.d_value, "at least 1")
        require(self.rotary_base > 1, "rotary_base", self.rotary_base, "above 1")


class RetNetState(NamedTuple):
    """What `RetNet` carries."""

    s: Tensor
    """(B, H, K, V), the matrix that maps keys to values."""
    position: Tensor
    """(B,) integers, steps since the start of the sequence."""


class RetNet(Layer[RetNetState]):
    """Retention: heads that forget at fixed rates, from fast to slow."""

    def __init__(self, config: RetNetConfig) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        keys, values = config.d_key or 2 * -(-d // (2 * heads)), config.d_value or -(-2 * d // heads)
        self.sizes = (heads * keys, heads * keys, heads * values)
        self.maps = nn.Linear(d, sum(self.sizes), bias=False)
        self.gate = nn.Linear(d, heads * values, bias=False)
        self.norm = HeadNorm(values)
        self.out = nn.Linear(heads * values, d, bias=False)

    def sequence(
        self, x: Tensor, state: RetNetState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, RetNetState]:
        places, end = positions(state.position, x.shape[1], reset, lengths)
        q, k, v = self._heads(x, places)
        o, s = gated_linear_attention(q, k, v, self._decays(x), s0=state.s, reset=reset, lengths=lengths)
        return self._read(o, x), RetNetState(s, end)

    def step(self, x_t: Tensor, state: RetNetState) -> tuple[Tensor, RetNetState]:
        q, k, v = self._heads(x_t, state.position)
        o, s = gated_linear_attention_step(q, k, v, self._decays(x_t), state.s)
        return self._read(o, x_t), RetNetState(s, state.position + 1)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> RetNetState:
        heads = self.config.heads
        keys, values = self.sizes[0] // heads, self.sizes[2] // heads
        s = self.zeros(batch_size, heads, keys, values, device=device, dtype=dtype)
        return RetNetState(s, torch.zeros(batch_size, dtype=torch.long, device=s.device))

    def _heads(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys (..., H, K), values (..., H, V)."""
        parts = self.maps(x).split(self.sizes, -1)
        q, k, v = (part.unflatten(-1, (self.config.heads, -1)) for part in parts)
        dtype, pairs = state_dtype(x.dtype), q.shape[-1] // 2
        steps = torch.arange(pairs, device=x.device, dtype=dtype) / max(pairs, 1)
        angles = places[..., None, None] * self.config.rotary_base**-steps
        return rotate(q.to(dtype), angles), rotate(k.to(dtype), angles), v

    def _decays(self, x: Tensor) -> Tensor:
        """The log decays (H,)."""
        heads = torch.arange(self.config.heads, device=x.device, dtype=state_dtype(x.dtype))
        return torch.log1p(-torch.exp2(-5 - heads))

    def _read(self, o: Tensor, x: Tensor) -> Tensor:
        return self.out(self.norm(o.to(x.dtype)) * F.silu(self.gate(x)))
