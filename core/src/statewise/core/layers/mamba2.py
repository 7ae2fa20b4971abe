"""Mamba-2: linear attention whose decay, one number per head, comes from a step size computed from the input.

    [z, x', B, C, d]_t = W_in x_t           [x', B, C]_t <- silu(conv([x', B, C])_t)
    delta_t = softplus(d_t + b)             A = -exp(A_log)
    S_t = exp(delta_t A) S_{t-1} + B_t (delta_t x'_t)^T             per head
    o_t = S_t^T C_t + D x'_t,               y_t = W_out norm(o_t * silu(z_t))

Dao and Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space
Duality", 2024.

Shapes: x and y (B, L, D), z, x' and o (B, L, H, P), B and C (B, L, G, N) shared by the heads of a group,
delta (B, L, H), S (B, H, N, P), A and D (H,), W_out (D, H P).

Differs from the paper: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.ssm_parts import check_steps, head_size, step_bias, uniform_rates
from statewise.core.layers.temporal_conv import TemporalConv
from statewise.core.ops import gated_linear_attention
from statewise.core.ops.gated_linear_attention import gated_linear_attention_step

__all__ = ["Mamba2", "Mamba2Config", "Mamba2State"]


@dataclass(frozen=True, kw_only=True)
class Mamba2Config:
    """Settings of `Mamba2`."""

    d_model: int
    """D, features in and out."""
    d_state: int = 128
    """N, features of B and C."""
    expand: int = 2
    """H P / D, channels of the recurrence per feature."""
    d_head: int | None = None
    """P, channels per head; when unset, the largest divisor of H P up to 64."""
    groups: int = 1
    """G, pairs of B and C; divides the heads."""
    taps: int = 4
    """Steps that the convolution sees."""
    dt_min: float = 1e-3
    """The shortest step at the start, for an input of zero."""
    dt_max: float = 1e-1
    """The longest step at the start; larger for layers that shall forget, or turn, at once."""

    def __post_init__(self) -> None:
        check_steps(self.dt_min, self.dt_max)
        for name in ("d_model", "d_state", "expand", "groups", "taps"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        width = self.expand * self.d_model
        require(
            self.d_head is None or (self.d_head > 0 and width % self.d_head == 0),
            "d_head",
            self.d_head,
            f"a divisor of {width}",
        )
        heads = width // head_size(width, self.d_head)
        require(heads % self.groups == 0, "groups", self.groups, f"a divisor of the {heads} heads")


class Mamba2State(NamedTuple):
    """What `Mamba2` carries."""

    s: Tensor
    """(B, H, N, P)."""
    inputs: Tensor
    """(B, taps - 1, H P + 2 G N), the last inputs of the convolution, oldest first."""


class Mamba2(Layer[Mamba2State]):
    """State space duality: linear attention with an input-dependent decay per head."""

    no_decay: ClassVar[frozenset[str]] = frozenset({"A_log", "D", "dt_bias"})

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__(config)
        width, maps = config.expand * config.d_model, config.groups * config.d_state
        heads = width // head_size(width, config.d_head)
        self.heads, self.sizes = heads, (width, width + 2 * maps, heads)
        self.inputs = nn.Linear(config.d_model, sum(self.sizes), bias=False)
        self.conv = TemporalConv(self.sizes[1], config.taps)
        self.dt_bias = step_bias(heads, config.dt_min, config.dt_max)
        self.A_log = nn.Parameter(uniform_rates(heads))
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(width, config.d_model, bias=False)

    def sequence(
        self, x: Tensor, state: Mamba2State, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Mamba2State]:
        z, mixed, d = self.inputs(x).split(self.sizes, -1)
        mixed, inputs = self.conv(mixed, state.inputs, reset, lengths)
        value, key, query = self._split(mixed)
        write, g = self._decay(d, value)
        o, s = gated_linear_attention(
            query, key, write, g, scale=1.0, s0=state.s, reset=reset, lengths=lengths
        )
        return self._read(o, value, z), Mamba2State(s, inputs)

    def step(self, x_t: Tensor, state: Mamba2State) -> tuple[Tensor, Mamba2State]:
        z, mixed, d = self.inputs(x_t).split(self.sizes, -1)
        mixed, inputs = self.conv.step(mixed, state.inputs)
        value, key, query = self._split(mixed)
        write, g = self._decay(d, value)
        o, s = gated_linear_attention_step(query, key, write, g, state.s, scale=1.0)
        return self._read(o, value, z), Mamba2State(s, inputs)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Mamba2State:
        config, (width, mixed, heads) = self.config, self.sizes
        return Mamba2State(
            self.zeros(batch_size, heads, config.d_state, width // heads, device=device, dtype=dtype),
            self.zeros(batch_size, config.taps - 1, mixed, device=device, dtype=dtype),
        )

    def _split(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values x' (..., H, P), B and C (..., H, N) of each head."""
        width, groups = self.sizes[0], self.config.groups
        maps = groups * self.config.d_state
        value, *shared = F.silu(mixed).split((width, maps, maps), -1)
        key, query = (
            part.unflatten(-1, (groups, -1)).repeat_interleave(self.heads // groups, -2) for part in shared
        )
        return value.unflatten(-1, (self.heads, -1)), key, query

    def _decay(self, d: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What is written, delta x' (..., H, P), and the log decay delta A (..., H)."""
        dtype = state_dtype(d.dtype)
        delta = F.softplus(d.to(dtype) + self.dt_bias.to(dtype))
        return delta.unsqueeze(-1) * value, -torch.exp(self.A_log.to(dtype)) * delta

    def _read(self, o: Tensor, value: Tensor, z: Tensor) -> Tensor:
        o = o + self.D.unsqueeze(-1) * value
        return self.out(self.norm(o.flatten(-2).to(z.dtype) * F.silu(z)))
