"""The recurrent block of Griffin and Hawk: a short convolution and the Real-Gated LRU, beside a gate.

    u_t = conv(W_u x)_t,                         [r, i]_t = sigmoid(block-diagonal W u_t + b)
    log a_t = -c r_t softplus(Lambda)            c = 8
    h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * u_t)
    y_t = W_o (gelu(W_g x_t + b_g) * h_t)

De et al., "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models",
2024. Its other mixer is `attention` with a window and one key head.

Shapes: x and y (B, L, D), u, r, i and h (B, L, R); block-diagonal W (H, R/H, R/H) twice; W_o (D, R).

Differs from the paper's code: at the first step and after a reset the factor stays sqrt(1 - a^2), where that
code takes 1; a zero state and no state are then the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.layers.temporal_conv import TemporalConv
from statewise.core.ops import linear_scan

__all__ = ["RGLRU", "RGLRUConfig", "RGLRUState"]

SHARPNESS = 8.0
"""c: how fast the recurrence gate shortens the memory."""


@dataclass(frozen=True, kw_only=True)
class RGLRUConfig:
    """Settings of `RGLRU`."""

    d_model: int
    """D, features in and out."""
    d_recurrent: int | None = None
    """R, units of the recurrence; D when unset, about 4/3 D in the paper."""
    heads: int = 1
    """H, blocks of the gates' maps; divides R."""
    taps: int = 4
    """K, steps that the convolution sees."""
    r_min: float = 0.9
    """The smallest exp(-softplus(Lambda)) at the start: the decay is that to the power of 8 r."""
    r_max: float = 0.999
    """The largest exp(-softplus(Lambda)) at the start."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(
            self.d_recurrent is None or self.d_recurrent > 0, "d_recurrent", self.d_recurrent, "at least 1"
        )
        width = self.d_recurrent or self.d_model
        require(self.heads > 0 and width % self.heads == 0, "heads", self.heads, f"a divisor of {width}")
        require(self.taps > 0, "taps", self.taps, "at least 1")
        require(0 < self.r_min < 1, "r_min", self.r_min, "between 0 and 1")
        require(self.r_min <= self.r_max < 1, "r_max", self.r_max, "between r_min and 1")


class RGLRUState(NamedTuple):
    """What `RGLRU` carries."""

    h: Tensor
    """(B, R)."""
    inputs: Tensor
    """(B, K - 1, R), the last inputs of the convolution, oldest first."""


class RGLRU(Layer[RGLRUState]):
    """A gated decay per unit, normalised so that the state keeps the variance of the input."""

    slow: ClassVar[frozenset[str]] = frozenset({"Lambda"})
    no_decay: ClassVar[frozenset[str]] = frozenset({"Lambda"})

    def __init__(self, config: RGLRUConfig) -> None:
        super().__init__(config)
        d, width = config.d_model, config.d_recurrent or config.d_model
        block = width // config.heads
        self.inputs = nn.Linear(d, 2 * width)
        self.conv = TemporalConv(width, config.taps)
        self.gate_weight = nn.Parameter(torch.randn(2, config.heads, block, block) / math.sqrt(block))
        self.gate_bias = nn.Parameter(torch.zeros(2, width))
        # Uniform on the ring: the square of the radius is uniform.
        r = torch.sqrt(torch.rand(width) * (config.r_max**2 - config.r_min**2) + config.r_min**2)
        self.Lambda = nn.Parameter(torch.log(torch.expm1(-torch.log(r))))
        self.out = nn.Linear(width, d)

    def sequence(
        self, x: Tensor, state: RGLRUState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, RGLRUState]:
        gate, u = self.inputs(x).chunk(2, dim=-1)
        u, inputs = self.conv(u, state.inputs, reset, lengths)
        a, write = self._gates(u)
        h, last = linear_scan(a, write, state.h, reset=reset)
        y = self.out(F.gelu(gate) * h.to(x.dtype))
        return y, RGLRUState(at_end(h, last, state.h, lengths), inputs)

    def step(self, x_t: Tensor, state: RGLRUState) -> tuple[Tensor, RGLRUState]:
        gate, u = self.inputs(x_t).chunk(2, dim=-1)
        u, inputs = self.conv.step(u, state.inputs)
        a, write = self._gates(u)
        h = a * state.h + write
        return self.out(F.gelu(gate) * h.to(x_t.dtype)), RGLRUState(h, inputs)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> RGLRUState:
        width = self.out.in_features
        return RGLRUState(
            self.zeros(batch_size, width, device=device, dtype=dtype),
            self.zeros(batch_size, self.config.taps - 1, width, device=device, dtype=dtype),
        )

    def _gates(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The decay a and the write sqrt(1 - a^2) (i u), (..., R) each."""
        dtype = state_dtype(u.dtype)
        blocks = u.unflatten(-1, (self.config.heads, -1))
        logits = torch.einsum("...hk,ghjk->...ghj", blocks, self.gate_weight).flatten(-2) + self.gate_bias
        r, i = torch.sigmoid(logits.to(dtype)).unbind(-2)
        log_a = -SHARPNESS * r * F.softplus(self.Lambda.to(dtype))
        # The root has no slope at 0, where a rounds to 1.
        variance = (-torch.expm1(2 * log_a)).clamp(min=torch.finfo(dtype).tiny)
        return torch.exp(log_a), torch.sqrt(variance) * (i * u.to(dtype))
