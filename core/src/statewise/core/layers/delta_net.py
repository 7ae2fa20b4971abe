"""DeltaNet: a linear memory from keys to values that writes only what it does not yet recall.

    S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T
    o_t = S_t^T q_t / sqrt(K),        y_t = W_o norm(o_t)

with q, k, v and beta as in `delta_parts`. Yang et al., "Parallelizing Linear Transformers with the Delta Rule
over Sequence Length", 2024.

Shapes: x and y (B, L, D), q and k (B, L, H, K), v and o (B, L, H, V), beta (B, L, H), S (B, H, K, V),
W_o (D, H V).

Differs from the paper: it was published with beta in (0, 1); `negative` extends that to (0, 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.core.layers.delta_parts import DeltaHeads, DeltaState, HeadNorm

__all__ = ["DeltaNet", "DeltaNetConfig"]


@dataclass(frozen=True, kw_only=True)
class DeltaNetConfig:
    """Settings of `DeltaNet`."""

    d_model: int
    """D, features in and out."""
    heads: int = 1
    """H, memories side by side."""
    d_key: int | None = None
    """K, features of a key; D / H, rounded up, when unset."""
    d_value: int | None = None
    """V, features of a value; D / H, rounded up, when unset."""
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


class DeltaNet(Layer[DeltaState]):
    """The delta rule without decay."""

    def __init__(self, config: DeltaNetConfig) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        share = -(-d // heads)
        keys, values = config.d_key or share, config.d_value or share
        self.delta = DeltaHeads(d, heads, keys, values, config.taps, 1, config.negative)
        self.norm = HeadNorm(values)
        self.out = nn.Linear(heads * values, d, bias=False)

    def sequence(
        self, x: Tensor, state: DeltaState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, DeltaState]:
        o, state = self.delta.sequence(x, None, state, reset, lengths)
        return self.out(self.norm(o)), state

    def step(self, x_t: Tensor, state: DeltaState) -> tuple[Tensor, DeltaState]:
        o, state = self.delta.step(x_t, None, state)
        return self.out(self.norm(o)), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DeltaState:
        return self.delta.state(self, batch_size, device, dtype)
