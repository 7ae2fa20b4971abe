"""S4D: one diagonal state space model per feature, the simplification of S4.

    x'(t) = A x(t) + u(t),    y(t) = 2 Re(C x(t)) + D u(t)         A diagonal, N/2 of N conjugate eigenvalues

sampled with a learnt step per feature (see `statewise.core.ops.discretise`). Its convolution kernel is a
Vandermonde product, K_l = 2 Re sum_n C_n b_n a_n^l. A starts at one of

    lin    A_n = -1/2 + i pi n
    inv    A_n = -1/2 + i N/pi (N/(2n+1) - 1)
    legs   the eigenvalues of HiPPO-N, the normal part of HiPPO-LegS
    real   A_n = -(n+1), a real state of N numbers

Gu, Gupta, Goel and Ré, "On the Parameterization and Initialization of Diagonal State Space Models", 2022.

Shapes: u (B, L, D), state (B, D, N/2) complex, or (B, D, N) real for `real`.

Differs from the paper: the map to Re(A) may also be one of StableSSM's (see `stability`); B is one and part
of C; sequences run in chunks (see `chunked`), not through the FFT; the mixing of features and the activation
belong to the block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.chunked import System, chunk_length, run
from statewise.core.layers.contract import Layer, complex_of, state_dtype
from statewise.core.layers.s5 import hippo_spectrum
from statewise.core.layers.stability import Stability, inverse_rate, rate
from statewise.core.ops import discretise, s4d_kernel

__all__ = ["S4D", "S4DConfig", "S4DState", "spectrum"]

Init = Literal["lin", "inv", "legs", "real"]


@dataclass(frozen=True, kw_only=True)
class S4DConfig:
    """Settings of `S4D`."""

    d_model: int
    """H, features in and out."""
    d_state: int = 64
    """N, the size of the real state per feature; even, half of it complex numbers, unless `init` is real."""
    init: Init = "legs"
    """Where the eigenvalues A start: lin, inv, legs or real."""
    discretisation: Literal["zoh", "bilinear"] = "zoh"
    """How the continuous system becomes a recurrence."""
    stability: Stability = "exp"
    """The map from a free weight to -Re(A); inverse-square stays below 2, too low for most rates of real."""
    dt_min: float = 1e-3
    """The smallest step Delta at the start; steps are log-uniform."""
    dt_max: float = 1e-1
    """The largest step Delta at the start."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_state > 0, "d_state", self.d_state, "at least 1")
        require(self.init == "real" or self.d_state % 2 == 0, "d_state", self.d_state, "a multiple of 2")
        reached = self.init != "real" or self.d_state <= 2 or self.stability != "inverse-square"
        require(reached, "stability", self.stability, "exp or softplus for the eigenvalues of init=real")
        require(self.dt_min > 0, "dt_min", self.dt_min, "above 0")
        require(self.dt_max >= self.dt_min, "dt_max", self.dt_max, "at least dt_min")


class S4DState(NamedTuple):
    """What `S4D` carries."""

    h: Tensor
    """(B, D, N/2) complex, or (B, D, N) real for init=real."""


def spectrum(init: Init, size: int) -> Tensor:
    """The eigenvalues at the start: (N/2,) complex, or (N,) real for `real`; float64."""
    n = torch.arange(size // 2, dtype=torch.float64)
    match init:
        case "lin":
            imaginary = math.pi * n
        case "inv":
            imaginary = size / math.pi * (size / (2 * n + 1) - 1)
        case "legs":
            # One of each pair, the one with a positive imaginary part as in the other cases.
            imaginary = torch.from_numpy(-np.imag(hippo_spectrum(size)[0])[: size // 2])
        case "real":
            return -torch.arange(1, size + 1, dtype=torch.float64)
    return torch.complex(torch.full_like(n, -0.5), imaginary)


class S4D(Layer[S4DState]):
    """A diagonal state space model per feature."""

    slow: ClassVar[frozenset[str]] = frozenset({"log_dt", "Lambda"})
    no_decay: ClassVar[frozenset[str]] = frozenset({"log_dt", "Lambda"})

    def __init__(self, config: S4DConfig) -> None:
        super().__init__(config)
        d = config.d_model
        values = spectrum(config.init, config.d_state)
        n = len(values)
        low, high = math.log(config.dt_min), math.log(config.dt_max)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(d))
        free = inverse_rate(-values.real, config.stability).float()
        # Complex numbers are pairs on the last axis, so that every dtype, optimiser and file format knows
        # them. Of an eigenvalue the first is the weight that `rate` maps to -Re(A), the second Im(A).
        if config.init == "real":
            self.Lambda = nn.Parameter(free.repeat(d, 1))
            self.C = nn.Parameter(torch.randn(d, n))
        else:
            self.Lambda = nn.Parameter(torch.stack([free, values.imag.float()], 1).repeat(d, 1, 1))
            self.C = nn.Parameter(torch.randn(d, n, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d))

    def sequence(
        self, x: Tensor, state: S4DState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, S4DState]:
        u = x.to(state_dtype(x.dtype))
        y, h = run(self._system(chunk_length(x.shape[1]), u.dtype), u, state.h, reset, lengths)
        return y.to(x.dtype) + self.D * x, S4DState(h)

    def step(self, x_t: Tensor, state: S4DState) -> tuple[Tensor, S4DState]:
        wide = state_dtype(x_t.dtype)
        a, factor = self._discrete(wide)
        h = a * state.h + factor * x_t.to(wide)[..., None]
        return self._read(h).to(x_t.dtype) + self.D * x_t, S4DState(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> S4DState:
        paired = self.config.init != "real"
        shape = (batch_size, *self.Lambda.shape[:2])
        return S4DState(self.zeros(*shape, device=device, dtype=dtype, complex=paired))

    def kernel(self, length: int) -> Tensor:
        """The convolution kernel (D, L) without D, for `statewise.core.ops.long_conv`."""
        dt, A, C = self.continuous(torch.float64)
        kernel = s4d_kernel(dt, A, C, length, discretisation=self.config.discretisation)
        return kernel.to(state_dtype(self.C.dtype))

    def continuous(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """The steps (D,), the eigenvalues (D, N) and C (D, N)."""
        dt, weights, C = torch.exp(self.log_dt.to(dtype)), self.Lambda.to(dtype), self.C.to(dtype)
        if self.config.init == "real":
            return dt, -rate(weights, self.config.stability), C
        values = torch.complex(-rate(weights[..., 0], self.config.stability), weights[..., 1])
        return dt, values, torch.view_as_complex(C)

    def _discrete(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        dt, A, _ = self.continuous(dtype)
        return discretise(A, dt[:, None], self.config.discretisation)

    def _read(self, h: Tensor) -> Tensor:
        """The output (..., D) of states (..., D, N), without D."""
        C = self.continuous(h.real.dtype)[2]
        return (2 * (C * h).real if h.is_complex() else C * h).sum(-1)

    def _system(self, size: int, dtype: torch.dtype) -> System:
        """The tables for chunks; powers are taken in float64, where no phase loses its digits."""
        dt, A, C = self.continuous(torch.float64)
        a, factor = discretise(A, dt[:, None], self.config.discretisation)
        powers = [a]
        while len(powers) < size.bit_length():
            powers.append(powers[-1] * powers[-1])
        table = torch.ones_like(a)[:, None]
        for power in powers[:-1]:
            table = torch.cat([table, table * power[:, None]], 1)
        write, read = table.flip(1) * factor[:, None], table * (a * C)[:, None]
        narrow = complex_of(dtype) if A.is_complex() else dtype
        if A.is_complex():
            # 2 Re(read h) as a product of real numbers.
            read = 2 * torch.view_as_real(read.conj_physical()).flatten(2)
            write = torch.view_as_real(write).flatten(2)
        return System(
            kernel=self.kernel(size).to(dtype),
            write=write.to(dtype),
            read=read.to(dtype).transpose(1, 2),
            powers=tuple(power.to(narrow) for power in powers),
        )
