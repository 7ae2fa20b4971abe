"""HGRN2: the gated recurrence of HGRN with a matrix-valued state, written with 1 - f as the key.

    f_t = b + (1 - b) sigmoid(W_f x_t)         per head and key
    S_t = Diag(f_t) S_{t-1} + (1 - f_t) v_t^T,        o_t = S_t^T silu(W_q x_t)
    y_t = W_o norm(o_t),                                    v_t = W_v x_t

With the bound b near one the layer cannot forget fast; `hgrn.lower_bounds` gives the bounds of a stack. Qin
et al., "HGRN2: Gated Linear RNNs with State Expansion", 2024.

Shapes: x and y (B, L, D), q and f (B, L, H, K), v and o (B, L, H, V), S (B, H, K, V).

Differs from the paper: the bound is a setting of each layer; in the paper the layers of a model learn it
together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.ops import gated_linear_attention
from statewise.core.ops.gated_linear_attention import gated_linear_attention_step

__all__ = ["HGRN2", "HGRN2Config", "HGRN2State"]


@dataclass(frozen=True, kw_only=True)
class HGRN2Config:
    """Settings of `HGRN2`."""

    d_model: int
    """D, features in and out."""
    heads: int = 1
    """H, memories side by side."""
    d_key: int | None = None
    """K, states per value; D / H, rounded up, when unset."""
    d_value: int | None = None
    """V, features of a value; D / H, rounded up, when unset."""
    lower_bound: float = 0.0
    """b, the smallest forget gate; in a stack take those of `hgrn.lower_bounds`."""

    def __post_init__(self) -> None:
        for name in ("d_model", "heads"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        for name in ("d_key", "d_value"):
            size = getattr(self, name)
            require(size is None or size > 0, name, size, "at least 1")
        require(0 <= self.lower_bound < 1, "lower_bound", self.lower_bound, "at least 0 and below 1")


class HGRN2State(NamedTuple):
    """What `HGRN2` carries."""

    s: Tensor
    """(B, H, K, V), a running average of the values per key."""


class HGRN2(Layer[HGRN2State]):
    """A matrix of running averages whose gates read only the input."""

    def __init__(self, config: HGRN2Config) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        keys, values = config.d_key or -(-d // heads), config.d_value or -(-d // heads)
        self.sizes = (heads * keys, heads * keys, heads * values)
        self.maps = nn.Linear(d, sum(self.sizes), bias=False)
        self.norm = nn.RMSNorm(heads * values, eps=1e-5)
        self.out = nn.Linear(heads * values, d, bias=False)

    def sequence(
        self, x: Tensor, state: HGRN2State, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, HGRN2State]:
        q, k, v, g = self._heads(x)
        o, s = gated_linear_attention(q, k, v, g, scale=1.0, s0=state.s, reset=reset, lengths=lengths)
        return self._read(o, x), HGRN2State(s)

    def step(self, x_t: Tensor, state: HGRN2State) -> tuple[Tensor, HGRN2State]:
        q, k, v, g = self._heads(x_t)
        o, s = gated_linear_attention_step(q, k, v, g, state.s, scale=1.0)
        return self._read(o, x_t), HGRN2State(s)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> HGRN2State:
        heads = self.config.heads
        keys, values = self.sizes[0] // heads, self.sizes[2] // heads
        return HGRN2State(self.zeros(batch_size, heads, keys, values, device=device, dtype=dtype))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys 1 - f and log f (..., H, K), values (..., H, V)."""
        parts = self.maps(x).split(self.sizes, -1)
        q, logits, v = (part.unflatten(-1, (self.config.heads, -1)) for part in parts)
        bound, logits = self.config.lower_bound, logits.to(state_dtype(x.dtype))
        # sigmoid(-z) is 1 - sigmoid(z) without the cancellation near 1; the same holds for the logarithm.
        k, g = (1 - bound) * torch.sigmoid(-logits), F.logsigmoid(logits)
        if bound > 0:
            g = torch.logaddexp(torch.full_like(g, math.log(bound)), math.log1p(-bound) + g)
        return F.silu(q), k, v, g

    def _read(self, o: Tensor, x: Tensor) -> Tensor:
        return self.out(self.norm(o.flatten(-2).to(x.dtype)))
