"""Aaren, attention as a recurrence: softmax over the past for a query that the layer has learnt.

    s_t = <q, W_k x_t> / sqrt(V),           v_t = W_v x_t                per head
    o_t = sum_{j <= t} exp(s_j) v_j / sum_{j <= t} exp(s_j),             y_t = W_o o_t

The query is a parameter, so that a step needs only the greatest score and two sums. Feng et al., "Attention
as an RNN", 2024.

Shapes: x and y (B, L, D), s (B, L, H), v and o (B, L, H, V), q (H, V).

Differs from the paper: the query is learnt as it is, not as the projection of a learnt token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.ops import PrefixState, prefix_softmax
from statewise.core.ops.prefix_softmax import prefix_softmax_step

__all__ = ["Aaren", "AarenConfig"]


@dataclass(frozen=True, kw_only=True)
class AarenConfig:
    """Settings of `Aaren`."""

    d_model: int
    """D, features in and out."""
    heads: int = 1
    """H, queries side by side."""
    d_value: int | None = None
    """V, features of a key and of a value; D / H, rounded up, when unset."""

    def __post_init__(self) -> None:
        for name in ("d_model", "heads"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(self.d_value is None or self.d_value > 0, "d_value", self.d_value, "at least 1")


class Aaren(Layer[PrefixState]):
    """The mean of all values so far, weighted by what a learnt query finds in them."""

    def __init__(self, config: AarenConfig) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        values = config.d_value or -(-d // heads)
        self.query = nn.Parameter(torch.randn(heads, values))
        self.maps = nn.Linear(d, 2 * heads * values)
        self.out = nn.Linear(heads * values, d)

    def sequence(
        self, x: Tensor, state: PrefixState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, PrefixState]:
        o, state = prefix_softmax(*self._scores(x), state, reset=reset, lengths=lengths)
        return self.out(o.flatten(-2).to(x.dtype)), state

    def step(self, x_t: Tensor, state: PrefixState) -> tuple[Tensor, PrefixState]:
        o, state = prefix_softmax_step(*self._scores(x_t), state)
        return self.out(o.flatten(-2).to(x_t.dtype)), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> PrefixState:
        heads, values = self.query.shape
        shapes = ((batch_size, heads), (batch_size, heads), (batch_size, heads, values))
        return PrefixState(*(self.zeros(*shape, device=device, dtype=dtype) for shape in shapes))

    def _scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (..., H) and values (..., H, V)."""
        k, v = (part.unflatten(-1, self.query.shape) for part in self.maps(x).chunk(2, -1))
        dtype = state_dtype(x.dtype)
        return (k.to(dtype) * self.query.to(dtype)).sum(-1) * self.query.shape[1] ** -0.5, v.to(dtype)
