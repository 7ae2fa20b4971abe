"""LRU, the Linear Recurrent Unit: a diagonal complex recurrence on a ring inside the unit circle.

    h_t = lambda * h_{t-1} + gamma * (B x_t)        lambda = r(nu) exp(i exp(theta)), r(nu) = exp(-exp(nu))
    y_t = Re(C h_t) + D * x_t                       gamma = exp(log_gamma), sqrt(1 - |lambda|^2) at the start

Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023.

Where the inputs come at irregular times, lambda is raised to the time since the previous one (`elapsed`): the
state decays and turns for as long as it lasts, and each input is written with the same weight.

Shapes: x (B, L, D), h (B, N) complex, B (N, D) and C (D, N) complex, D (D,).

Differs from the paper: the map from nu to the radius r may also be one of StableSSM's (see `stability`). The
gated MLP that the paper puts behind the layer belongs to the block, not to the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.layers.stability import Stability, inverse_magnitude, magnitude
from statewise.core.layers.timed import TimedLayer
from statewise.core.ops import linear_scan

__all__ = ["LRU", "LRUConfig", "LRUState"]


@dataclass(frozen=True, kw_only=True)
class LRUConfig:
    """Settings of `LRU`."""

    d_model: int
    """D, features in and out."""
    d_state: int = 64
    """N, complex states."""
    r_min: float = 0.9
    """r_min, the smallest radius of an eigenvalue at the start; longer memory towards 1."""
    r_max: float = 0.999
    """r_max, the largest radius of an eigenvalue at the start."""
    max_phase: float = 2 * math.pi
    """The largest phase of an eigenvalue at the start, in radians per step; small for slow signals."""
    stability: Stability = "exp"
    """r(nu), the map that keeps the radius below 1: exp (LRU), softplus, inverse-square (StableSSM)."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_state > 0, "d_state", self.d_state, "at least 1")
        require(0 < self.r_min < 1, "r_min", self.r_min, "between 0 and 1")
        require(self.r_min < self.r_max < 1, "r_max", self.r_max, "between r_min and 1")
        require(0 < self.max_phase <= 2 * math.pi, "max_phase", self.max_phase, "between 0 and 2 pi")


class LRUState(NamedTuple):
    """What `LRU` carries."""

    h: Tensor
    """(B, N) complex."""


class LRU(TimedLayer[LRUState]):
    """A linear diagonal complex recurrence with a learnt input normalisation gamma."""

    slow: ClassVar[frozenset[str]] = frozenset({"nu", "theta", "log_gamma", "B"})
    no_decay: ClassVar[frozenset[str]] = frozenset({"nu", "theta", "log_gamma", "B"})

    def __init__(self, config: LRUConfig) -> None:
        super().__init__(config)
        d, n = config.d_model, config.d_state
        # Uniform on the ring: the square of the radius is uniform.
        r = torch.sqrt(torch.rand(n) * (config.r_max**2 - config.r_min**2) + config.r_min**2)
        self.nu = nn.Parameter(inverse_magnitude(r, config.stability))
        self.theta = nn.Parameter(torch.log(config.max_phase * (1 - torch.rand(n))))
        # White noise of unit variance then gives states of unit variance.
        self.log_gamma = nn.Parameter(0.5 * torch.log1p(-r * r))
        # Complex numbers are pairs on the axis of size 2, so that every dtype, optimiser and file format
        # knows them.
        self.B = nn.Parameter(torch.randn(n, 2, d) / math.sqrt(2 * d))
        self.C = nn.Parameter(torch.randn(d, n, 2) / math.sqrt(n))
        self.D = nn.Parameter(torch.randn(d))

    def sequence(
        self,
        x: Tensor,
        state: LRUState,
        reset: Tensor | None,
        lengths: Tensor | None,
        elapsed: Tensor | None = None,
    ) -> tuple[Tensor, LRUState]:
        h, last = linear_scan(self.eigenvalues(elapsed), self._write(x), state.h, reset=reset)
        return self._read(h, x), LRUState(at_end(h, last, state.h, lengths))

    def step(self, x_t: Tensor, state: LRUState, elapsed: Tensor | None = None) -> tuple[Tensor, LRUState]:
        h = self.eigenvalues(elapsed) * state.h + self._write(x_t)
        return self._read(h, x_t), LRUState(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LRUState:
        return LRUState(self.zeros(batch_size, self.config.d_state, device=device, dtype=dtype, complex=True))

    def eigenvalues(self, elapsed: Tensor | None = None) -> Tensor:
        """The eigenvalues lambda (N,), complex, or their powers (..., N) for steps `elapsed` (...) long."""
        dtype = state_dtype(self.nu.dtype)
        r, phase = magnitude(self.nu.to(dtype), self.config.stability), torch.exp(self.theta.to(dtype))
        if elapsed is not None:
            # the principal power: one map to a radius also gives negative ones
            power = elapsed.to(dtype)[..., None]
            phase = power * torch.where(r < 0, phase + math.pi, phase)
            r = torch.exp(power * torch.log(r.abs().clamp(min=torch.finfo(dtype).tiny)))
        return torch.complex(r * torch.cos(phase), r * torch.sin(phase))

    def _write(self, x: Tensor) -> Tensor:
        """The write gamma * (B x), (..., D) to (..., N) complex."""
        weight = torch.exp(self.log_gamma)[:, None, None] * self.B
        pairs = F.linear(x, weight.flatten(0, 1)).unflatten(-1, (-1, 2))
        return torch.view_as_complex(pairs.to(state_dtype(pairs.dtype)))

    def _read(self, h: Tensor, x: Tensor) -> Tensor:
        """The output Re(C h) + D * x, (..., N) complex to (..., D)."""
        pairs = torch.view_as_real(h).flatten(-2).to(x.dtype)
        weight = torch.stack([self.C[..., 0], -self.C[..., 1]], dim=-1)
        return F.linear(pairs, weight.flatten(1)) + self.D * x
