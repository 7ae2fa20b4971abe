"""Gated DeltaNet: the delta rule on a memory that also forgets, beside an output gate.

    S_t = (I - beta_t k_t k_t^T) exp(g_t) S_{t-1} + beta_t k_t v_t^T
    o_t = S_t^T q_t / sqrt(K),        y_t = W_o (norm(o_t) * silu(W_g x_t))

with q, k, v, beta and g as in `delta_parts`. Yang et al., "Gated Delta Networks: Improving Mamba2 with Delta
Rule", 2025.

Shapes: x and y (B, L, D), q and k (B, L, H, K), v and o (B, L, H, V), beta and g (B, L, H), S (B, H, K, V),
W_g (H V, D), W_o (D, H V).

Differs from the paper: the rates exp(A_log) start between 1 and 16, not between 0 and 16; beta reaches 2 only
if `negative` is set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.core.layers.delta_parts import Decay, DeltaHeads, DeltaState, HeadNorm

__all__ = ["GatedDeltaNet", "GatedDeltaNetConfig"]


@dataclass(frozen=True, kw_only=True)
class GatedDeltaNetConfig:
    """Settings of `GatedDeltaNet`."""

    d_model: int
    """D, features in and out."""
    heads: int = 1
    """H, memories side by side."""
    d_key: int | None = None
    """K, features of a key; 3/4 D / H, rounded up, when unset, as in the paper."""
    d_value: int | None = None
    """V, features of a value; 2 K when unset, as in the paper."""
    taps: int = 4
    """Steps that the convolution sees."""
    negative: bool = False
    """Whether beta reaches 2 instead of 1, which lets the state turn around along a key."""

    def __post_init__(self) -> None:
        for name in ("d_model", "heads", "taps"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        for name in ("d_key", "d_value"):
            size = getattr(self, name)
            require(size is None or size > 0, name, size, "at least 1")


class GatedDeltaNet(Layer[DeltaState]):
    """The delta rule with a decay per head and an output gate."""

    def __init__(self, config: GatedDeltaNetConfig) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        keys = config.d_key or -(-3 * d // (4 * heads))
        values = config.d_value or 2 * keys
        self.delta = DeltaHeads(d, heads, keys, values, config.taps, 1, config.negative)
        self.decay = Decay(d, heads)
        self.gate = nn.Linear(d, heads * values, bias=False)
        self.norm = HeadNorm(values)
        self.out = nn.Linear(heads * values, d, bias=False)

    def sequence(
        self, x: Tensor, state: DeltaState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, DeltaState]:
        o, state = self.delta.sequence(x, self.decay(x), state, reset, lengths)
        return self.out(self.norm(o) * F.silu(self.gate(x))), state

    def step(self, x_t: Tensor, state: DeltaState) -> tuple[Tensor, DeltaState]:
        o, state = self.delta.step(x_t, self.decay(x_t), state)
        return self.out(self.norm(o) * F.silu(self.gate(x_t))), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DeltaState:
        return self.delta.state(self, batch_size, device, dtype)
