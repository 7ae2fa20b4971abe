"""S4: a structured state space model per feature, HiPPO-LegS as a diagonal plus a rank-one matrix.

    x'(t) = (Lambda - P P*) x(t) + B u(t),    y(t) = 2 Re(C x(t)) + D u(t)     N/2 of N conjugates are kept

discretised bilinearly with a learnt step per feature: h_t = (2/dt - A)^{-1} ((2/dt + A) h_{t-1} + 2 B u_t).
By Woodbury's identity a step takes O(N) operations. Its convolution kernel is `statewise.core.ops.s4_kernel`.

Gu, Goel and Ré, "Efficiently Modeling Long Sequences with Structured State Spaces", 2022. The sign of P P*:
Goel et al., "It's Raw! Audio Generation with State-Space Models", 2022.

Shapes: u (B, L, D), state (B, D, N/2) complex.

Differs from the paper: C is the model's own, not C (I - a^L)^{-1}, so that it means the same at every length;
sequences run in chunks (see `chunked`), not through the FFT; the mixing of features and the activation belong
to the block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.chunked import chunk_length, dense_system, run
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.s5 import hippo_spectrum
from statewise.core.layers.stability import Stability, inverse_rate, rate
from statewise.core.ops import s4_kernel
from statewise.core.ops.s4_kernel.bilinear import advance, realise

__all__ = ["S4", "S4Config", "S4State"]


@dataclass(frozen=True, kw_only=True)
class S4Config:
    """Settings of `S4`."""

    d_model: int
    """H, features in and out."""
    d_state: int = 64
    """N, the size of the real state per feature, even; half of it complex numbers."""
    stability: Stability = "exp"
    """The map from a free weight to -Re(Lambda)."""
    dt_min: float = 1e-3
    """The smallest step Delta at the start; steps are log-uniform."""
    dt_max: float = 1e-1
    """The largest step Delta at the start."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_state > 0 and self.d_state % 2 == 0, "d_state", self.d_state, "a multiple of 2")
        require(self.dt_min > 0, "dt_min", self.dt_min, "above 0")
        require(self.dt_max >= self.dt_min, "dt_max", self.dt_max, "at least dt_min")


class S4State(NamedTuple):
    """What `S4` carries."""

    h: Tensor
    """(B, D, N/2) complex."""


class S4(Layer[S4State]):
    """A diagonal plus rank-one state space model per feature."""

    slow: ClassVar[frozenset[str]] = frozenset({"log_dt", "Lambda", "P", "B"})
    no_decay: ClassVar[frozenset[str]] = frozenset({"log_dt", "Lambda", "P", "B"})

    def __init__(self, config: S4Config) -> None:
        super().__init__(config)
        d, n = config.d_model, config.d_state // 2
        values, vectors = hippo_spectrum(config.d_state)
        order = np.arange(config.d_state)
        # HiPPO-LegS is HiPPO-N minus p p^T; both vectors are carried to the basis of the eigenvectors.
        p, b = (vectors[:, :n].conj().T @ line for line in (np.sqrt(order + 0.5), np.sqrt(2 * order + 1)))
        free = inverse_rate(torch.from_numpy(-np.real(values[:n])), config.stability)
        spectrum = torch.stack([free, torch.from_numpy(np.imag(values[:n]))], 1)
        low, high = math.log(config.dt_min), math.log(config.dt_max)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(d))
        # Complex numbers are pairs on the last axis, so that every dtype, optimiser and file format knows
        # them. Of an eigenvalue the first is the weight that `rate` maps to its negative real part.
        self.Lambda = nn.Parameter(spectrum.float().repeat(d, 1, 1))
        self.P = nn.Parameter(torch.view_as_real(torch.from_numpy(p)).float().repeat(d, 1, 1))
        self.B = nn.Parameter(torch.view_as_real(torch.from_numpy(b)).float().repeat(d, 1, 1))
        self.C = nn.Parameter(torch.randn(d, n, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d))

    def sequence(
        self, x: Tensor, state: S4State, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, S4State]:
        u = x.to(state_dtype(x.dtype))
        system = dense_system(*realise(*self.continuous(torch.float64)), chunk_length(x.shape[1]), u.dtype)
        y, h = run(system, u, state.h, reset, lengths)
        return y.to(x.dtype) + self.D * x, S4State(h)

    def step(self, x_t: Tensor, state: S4State) -> tuple[Tensor, S4State]:
        wide = state_dtype(x_t.dtype)
        dt, values, P, B, C = self.continuous(wide)
        h = advance(state.h, B * x_t.to(wide)[..., None], dt, values, P)
        return (2 * (C * h).real.sum(-1)).to(x_t.dtype) + self.D * x_t, S4State(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> S4State:
        shape = (batch_size, *self.Lambda.shape[:2])
        return S4State(self.zeros(*shape, device=device, dtype=dtype, complex=True))

    def kernel(self, length: int) -> Tensor:
        """The convolution kernel (D, L) without D, for `statewise.core.ops.long_conv`."""
        return s4_kernel(*self.continuous(torch.float64), length).to(state_dtype(self.C.dtype))

    def continuous(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The steps (D,), and Lambda, P, B and C, (D, N/2) complex each."""
        dt, weights = torch.exp(self.log_dt.to(dtype)), self.Lambda.to(dtype)
        values = torch.complex(-rate(weights[..., 0], self.config.stability), weights[..., 1])
        P, B, C = (torch.view_as_complex(pairs.to(dtype)) for pairs in (self.P, self.B, self.C))
        return dt, values, P, B, C
