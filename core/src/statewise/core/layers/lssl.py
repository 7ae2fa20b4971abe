"""LSSL, the Linear State-Space Layer: a dense state matrix that all features share, a step for each of them.

    x'(t) = A x(t) + B u(t),    y(t) = C x(t) + D u(t)
    h_t = (2/dt - A)^{-1} ((2/dt + A) h_{t-1} + 2 B u_t)            the bilinear rule

A and B start at HiPPO-LegS and are learnt without a structure. S4 is the same model with a matrix that is
cheap to invert; here a step solves a system of N equations per feature.

Gu et al., "Combining Recurrent, Convolutional, and Continuous-time Models with Linear State-Space Layers",
2021.

Shapes: u (B, L, D), state (B, D, N), A (N, N), B (N,), C (D, N).

Differs from the paper: one output per feature, where the paper has several and a linear map behind them; A is
a free matrix, where the paper keeps a structure; sequences run in chunks (see `chunked`), not through the
FFT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.chunked import chunk_length, dense_system, run
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.ops import krylov_kernel

__all__ = ["LSSL", "LSSLConfig", "LSSLState", "hippo_legs"]


@dataclass(frozen=True, kw_only=True)
class LSSLConfig:
    """Settings of `LSSL`."""

    d_model: int
    """H, features in and out."""
    d_state: int = 64
    """N, the size of the state per feature."""
    dt_min: float = 1e-3
    """The smallest step Delta at the start; steps are log-uniform."""
    dt_max: float = 1e-1
    """The largest step Delta at the start."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_state > 0, "d_state", self.d_state, "at least 1")
        require(self.dt_min > 0, "dt_min", self.dt_min, "above 0")
        require(self.dt_max >= self.dt_min, "dt_max", self.dt_max, "at least dt_min")


class LSSLState(NamedTuple):
    """What `LSSL` carries."""

    h: Tensor
    """(B, D, N)."""


def hippo_legs(size: int) -> tuple[Tensor, Tensor]:
    """HiPPO-LegS in float64: A_nk = -sqrt((2n+1)(2k+1)) for n > k, A_nn = -(n+1); B_n = sqrt(2n+1)."""
    n = torch.arange(size, dtype=torch.float64)
    root = torch.sqrt(2 * n + 1)
    return -torch.tril(torch.outer(root, root), -1) - torch.diag(n + 1), root


class LSSL(Layer[LSSLState]):
    """A dense state space model per feature, sampled at a rate of its own."""

    slow: ClassVar[frozenset[str]] = frozenset({"log_dt", "A", "B"})
    no_decay: ClassVar[frozenset[str]] = frozenset({"log_dt", "A", "B"})

    def __init__(self, config: LSSLConfig) -> None:
        super().__init__(config)
        d, n = config.d_model, config.d_state
        A, B = hippo_legs(n)
        low, high = math.log(config.dt_min), math.log(config.dt_max)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(d))
        self.A = nn.Parameter(A.float())
        self.B = nn.Parameter(B.float())
        self.C = nn.Parameter(torch.randn(d, n))
        self.D = nn.Parameter(torch.randn(d))

    def sequence(
        self, x: Tensor, state: LSSLState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, LSSLState]:
        u = x.to(state_dtype(x.dtype))
        y, h = run(
            dense_system(*self.discrete(), chunk_length(x.shape[1]), u.dtype), u, state.h, reset, lengths
        )
        return y.to(x.dtype) + self.D * x, LSSLState(h)

    def step(self, x_t: Tensor, state: LSSLState) -> tuple[Tensor, LSSLState]:
        wide = state_dtype(x_t.dtype)
        rate, A = self._rates(wide), self.A.to(wide)
        moved = rate[:, 0] * state.h + state.h @ A.T + 2 * self.B.to(wide) * x_t.to(wide)[..., None]
        h = torch.linalg.solve(rate * torch.eye(len(A), dtype=wide, device=A.device) - A, moved[..., None])
        h = h[..., 0]
        return (self.C.to(wide) * h).sum(-1).to(x_t.dtype) + self.D * x_t, LSSLState(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LSSLState:
        return LSSLState(self.zeros(batch_size, *self.C.shape, device=device, dtype=dtype))

    def kernel(self, length: int) -> Tensor:
        """The convolution kernel (D, L) without D, for `statewise.core.ops.long_conv`."""
        return krylov_kernel(*self.discrete(), length).to(state_dtype(self.C.dtype))

    def discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        """The discrete system a (D, N, N), b (D, N) and C (D, N), in float64: powers of a are taken."""
        A, rate = self.A.double(), self._rates(torch.float64)
        unit = torch.eye(len(A), dtype=A.dtype, device=A.device)
        right = torch.cat([rate * unit + A, (2 * self.B.double()).expand(len(rate), -1)[..., None]], 2)
        solved = torch.linalg.solve(rate * unit - A, right)
        return solved[..., :-1], solved[..., -1], self.C.double()

    def _rates(self, dtype: torch.dtype) -> Tensor:
        """Twice the sampling rates 2/dt, (D, 1, 1)."""
        return 2 * torch.exp(-self.log_dt.to(dtype))[:, None, None]
