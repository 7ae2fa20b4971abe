"""GLA, Gated Linear Attention: a memory whose every key forgets at a rate computed from the input.

    q_t = W_q x_t,  k_t = W_k x_t,  v_t = W_v x_t
    log a_t = logsigmoid(W_2 W_1 x_t + b) / tau
    S_t = Diag(a_t) S_{t-1} + k_t v_t^T,     o_t = S_t^T q_t / sqrt(K)         per head
    y_t = W_o (norm(o_t) * silu(W_g x_t))

Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training", 2024.

Shapes: x and y (B, L, D), q, k and a (B, L, H, K), v and o (B, L, H, V), S (B, H, K, V), W_1 (R, D), W_2 (H
K, R).

Differs from the paper: nothing.
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
from statewise.core.ops import gated_linear_attention
from statewise.core.ops.gated_linear_attention import gated_linear_attention_step

__all__ = ["GLA", "GLAConfig", "GLAState"]


@dataclass(frozen=True, kw_only=True)
class GLAConfig:
    """Settings of `GLA`."""

    d_model: int
    """D, features in and out."""
    heads: int = 1
    """H, memories side by side."""
    d_key: int | None = None
    """K, features of a key; D / (2 H), rounded up, when unset, as in the paper."""
    d_value: int | None = None
    """V, features of a value; D / H, rounded up, when unset, as in the paper."""
    rank: int = 16
    """R, rank of the map to the decays."""
    temperature: float = 16.0
    """tau, which draws the decays towards 1."""

    def __post_init__(self) -> None:
        for name in ("d_model", "heads", "rank"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        for name in ("d_key", "d_value"):
            size = getattr(self, name)
            require(size is None or size > 0, name, size, "at least 1")
        require(self.temperature > 0, "temperature", self.temperature, "above 0")


class GLAState(NamedTuple):
    """What `GLA` carries."""

    s: Tensor
    """(B, H, K, V), the matrix that maps keys to values."""


class GLA(Layer[GLAState]):
    """Linear attention with a decay per key."""

    def __init__(self, config: GLAConfig) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        keys, values = config.d_key or -(-d // (2 * heads)), config.d_value or -(-d // heads)
        self.sizes = (heads * keys, heads * keys, heads * values)
        self.maps = nn.Linear(d, sum(self.sizes), bias=False)
        self.decay = nn.Sequential(
            nn.Linear(d, config.rank, bias=False), nn.Linear(config.rank, heads * keys)
        )
        self.gate = nn.Linear(d, heads * values, bias=False)
        self.norm = HeadNorm(values)
        self.out = nn.Linear(heads * values, d, bias=False)

    def sequence(
        self, x: Tensor, state: GLAState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, GLAState]:
        q, k, v = self._heads(x)
        o, s = gated_linear_attention(q, k, v, self._decays(x), s0=state.s, reset=reset, lengths=lengths)
        return self._read(o, x), GLAState(s)

    def step(self, x_t: Tensor, state: GLAState) -> tuple[Tensor, GLAState]:
        q, k, v = self._heads(x_t)
        o, s = gated_linear_attention_step(q, k, v, self._decays(x_t), state.s)
        return self._read(o, x_t), GLAState(s)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> GLAState:
        heads = self.config.heads
        keys, values = self.sizes[0] // heads, self.sizes[2] // heads
        return GLAState(self.zeros(batch_size, heads, keys, values, device=device, dtype=dtype))

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries and keys (..., H, K), values (..., H, V)."""
        parts = self.maps(x).split(self.sizes, -1)
        return tuple(part.unflatten(-1, (self.config.heads, -1)) for part in parts)

    def _decays(self, x: Tensor) -> Tensor:
        """The log decays (..., H, K), at most zero."""
        logits = self.decay(x).to(state_dtype(x.dtype))
        return F.logsigmoid(logits.unflatten(-1, (self.config.heads, -1))) / self.config.temperature

    def _read(self, o: Tensor, x: Tensor) -> Tensor:
        return self.out(self.norm(o.to(x.dtype)) * F.silu(self.gate(x)))
