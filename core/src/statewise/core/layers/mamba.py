"""Mamba: a diagonal state space per channel whose step, input map and output map are computed from the input.

    [u, z]_t = W_in x_t                   u_t <- silu(conv(u)_t)
    [r, B, C]_t = W_x u_t                 delta_t = softplus(W_dt r_t + b_dt)
    h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t                 A = -exp(A_log)
    y_t = W_out ((<C_t, h_t> + D * u_t) * silu(z_t))

Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023.

Where the inputs come at irregular times, delta_t is multiplied by the time since the previous one
(`elapsed`); the convolution knows only their order.

Shapes: x and y (B, L, D), u, z and delta (B, L, E), r (B, L, R), B and C (B, L, N), h (B, E, N), A (E, N),
D (E,).

Differs from the paper: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import state_dtype
from statewise.core.layers.ssm_parts import check_steps, step_bias
from statewise.core.layers.temporal_conv import TemporalConv
from statewise.core.layers.timed import TimedLayer
from statewise.core.ops import selective_scan

__all__ = ["Mamba", "MambaConfig", "MambaState"]


@dataclass(frozen=True, kw_only=True)
class MambaConfig:
    """Settings of `Mamba`."""

    d_model: int
    """D, features in and out."""
    d_state: int = 16
    """N, states per channel."""
    expand: int = 2
    """E / D, channels of the recurrence per feature."""
    taps: int = 4
    """Steps that the convolution sees."""
    dt_rank: int | None = None
    """R, rank of the map to the step sizes; D / 16, rounded up, when unset."""
    dt_min: float = 1e-3
    """The shortest step at the start, for an input of zero."""
    dt_max: float = 1e-1
    """The longest step at the start; larger for layers that shall forget, or turn, at once."""

    def __post_init__(self) -> None:
        check_steps(self.dt_min, self.dt_max)
        for name in ("d_model", "d_state", "expand", "taps"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(self.dt_rank is None or self.dt_rank > 0, "dt_rank", self.dt_rank, "at least 1")


class MambaState(NamedTuple):
    """What `Mamba` carries."""

    h: Tensor
    """(B, E, N)."""
    inputs: Tensor
    """(B, taps - 1, E), the last inputs of the convolution, oldest first."""


class Mamba(TimedLayer[MambaState]):
    """The selective state space behind a short convolution, beside a gate."""

    no_decay: ClassVar[frozenset[str]] = frozenset({"A_log", "D", "dt_bias"})

    def __init__(self, config: MambaConfig) -> None:
        super().__init__(config)
        d, n = config.d_model, config.d_state
        width, rank = config.expand * d, config.dt_rank or -(-d // 16)
        self.sizes = (rank, n, n)
        self.inputs = nn.Linear(d, 2 * width, bias=False)
        self.conv = TemporalConv(width, config.taps)
        self.maps = nn.Linear(width, sum(self.sizes), bias=False)
        self.dt_weight = nn.Parameter(torch.empty(width, rank).uniform_(-(rank**-0.5), rank**-0.5))
        self.dt_bias = step_bias(width, config.dt_min, config.dt_max)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, n + 1)).repeat(width, 1))
        self.D = nn.Parameter(torch.ones(width))
        self.out = nn.Linear(width, d, bias=False)

    def sequence(
        self,
        x: Tensor,
        state: MambaState,
        reset: Tensor | None,
        lengths: Tensor | None,
        elapsed: Tensor | None = None,
    ) -> tuple[Tensor, MambaState]:
        u, z = self.inputs(x).chunk(2, -1)
        u, inputs = self.conv(u, state.inputs, reset, lengths)
        u = F.silu(u)
        dt, B, C = self._maps(u)
        bias: Tensor | None = self.dt_bias
        if elapsed is not None:
            wide = state_dtype(dt.dtype)
            dt = F.softplus(dt.to(wide) + self.dt_bias) * elapsed.to(wide)[..., None]
            bias = None
        h0, soft = state.h, elapsed is None
        y, h = selective_scan(
            u, dt, self._rates(), B, C, self.D, z, bias, soft, h0, reset=reset, lengths=lengths
        )
        return self.out(y.to(x.dtype)), MambaState(h, inputs)

    def step(
        self, x_t: Tensor, state: MambaState, elapsed: Tensor | None = None
    ) -> tuple[Tensor, MambaState]:
        u, z = self.inputs(x_t).chunk(2, -1)
        u, inputs = self.conv.step(u, state.inputs)
        u = F.silu(u).to(state.h.dtype)
        dt, B, C = (part.to(u.dtype) for part in self._maps(u.to(x_t.dtype)))
        delta = F.softplus(dt + self.dt_bias)
        delta = delta if elapsed is None else delta * elapsed.to(delta.dtype)[:, None]
        h = torch.exp(delta.unsqueeze(-1) * self._rates()) * state.h + (delta * u).unsqueeze(
            -1
        ) * B.unsqueeze(1)
        y = ((h * C.unsqueeze(1)).sum(-1) + self.D * u) * F.silu(z)
        return self.out(y.to(x_t.dtype)), MambaState(h, inputs)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> MambaState:
        width, n = self.A_log.shape
        return MambaState(
            self.zeros(batch_size, width, n, device=device, dtype=dtype),
            self.zeros(batch_size, self.config.taps - 1, width, device=device, dtype=dtype),
        )

    def _rates(self) -> Tensor:
        """A (E, N), below zero."""
        return -torch.exp(self.A_log.to(state_dtype(self.A_log.dtype)))

    def _maps(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step sizes before bias and softplus (..., E), and B and C (..., N)."""
        r, B, C = self.maps(u).split(self.sizes, -1)
        return F.linear(r, self.dt_weight), B, C
