"""DeltaProduct: n steps of the delta rule per token; the transition is a product of n Householder matrices.

    S_t = prod_{j=n..1} (I - beta_tj k_tj k_tj^T) exp(g_t) S_{t-1} + what the n steps write
    o_t = S_t^T q_t / sqrt(K),        y_t = W_o (norm(o_t) * silu(W_g x_t))

with q, k, v, beta and g as in `delta_parts`. With beta in (0, 2) one step can reflect, two can rotate in a
plane, and n can permute n + 1 things: the word problem of a group needs as many as its hardest element.
Siems et al., "DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products", 2025.

Shapes: x and y (B, L, D), q (B, L, H, K), k (B, L, n, H, K), v (B, L, n, H, V), beta (B, L, n, H),
g (B, L, H), S (B, H, K, V), W_g (H V, D), W_o (D, H V).

Differs from the paper: beta reaches 2 unless `negative` is switched off, the decay is there only with
`forget`; the rates exp(A_log) start between 1 and 16, not between 0 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.core.layers.delta_parts import Decay, DeltaHeads, DeltaState, HeadNorm

__all__ = ["DeltaProduct", "DeltaProductConfig"]


@dataclass(frozen=True, kw_only=True)
class DeltaProductConfig:
    """Settings of `DeltaProduct`."""

    d_model: int
    """D, features in and out."""
    householders: int = 2
    """n, steps of the delta rule per token."""
    heads: int = 1
    """H, memories side by side."""
    d_key: int | None = None
    """K, features of a key; D / H, rounded up, when unset."""
    d_value: int | None = None
    """V, features of a value; D / H, rounded up, when unset."""
    taps: int = 4
    """Steps that the convolution sees."""
    negative: bool = True
    """Whether beta reaches 2 instead of 1, which lets the state turn around along a key."""
    forget: bool = False
    """Whether the state decays before the first step of a token (the gated form of the paper)."""

    def __post_init__(self) -> None:
        for name in ("d_model", "householders", "heads", "taps"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        for name in ("d_key", "d_value"):
            size = getattr(self, name)
            require(size is None or size > 0, name, size, "at least 1")


class DeltaProduct(Layer[DeltaState]):
    """Several steps of the delta rule per token, with an output gate."""

    def __init__(self, config: DeltaProductConfig) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        share = -(-d // heads)
        keys, values = config.d_key or share, config.d_value or share
        self.delta = DeltaHeads(d, heads, keys, values, config.taps, config.householders, config.negative)
        self.decay = Decay(d, heads) if config.forget else None
        self.gate = nn.Linear(d, heads * values, bias=False)
        self.norm = HeadNorm(values)
        self.out = nn.Linear(heads * values, d, bias=False)

    def sequence(
        self, x: Tensor, state: DeltaState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, DeltaState]:
        o, state = self.delta.sequence(x, self._decays(x), state, reset, lengths)
        return self.out(self.norm(o) * F.silu(self.gate(x))), state

    def step(self, x_t: Tensor, state: DeltaState) -> tuple[Tensor, DeltaState]:
        o, state = self.delta.step(x_t, self._decays(x_t), state)
        return self.out(self.norm(o) * F.silu(self.gate(x_t))), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DeltaState:
        return self.delta.state(self, batch_size, device, dtype)

    def _decays(self, x: Tensor) -> Tensor | None:
        return None if self.decay is None else self.decay(x)
