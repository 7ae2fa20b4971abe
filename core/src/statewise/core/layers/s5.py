"""S5: one multi-input multi-output state space model with a diagonal complex state, discretised per state.

    x'(t) = Lambda x(t) + B u(t),   y(t) = Re(C x(t)) + D * u(t)
    zoh:       a = exp(Lambda dt),                            b = (a - 1) / Lambda * B
    bilinear:  a = (1 + Lambda dt / 2) / (1 - Lambda dt / 2), b = dt / (1 - Lambda dt / 2) * B
    h_t = a * h_{t-1} + b u_t,      y_t = Re(C h_t) + D * u_t

Lambda starts at the eigenvalues of J blocks of HiPPO-N, the normal part of HiPPO-LegS, and B and C are drawn
in the basis of HiPPO-N and carried to that of its eigenvectors V: B = V^-1 B', C = C' V. With conjugate
symmetry only the half of the spectrum with negative imaginary part is kept and y doubles the real part.

Smith, Warrington and Linderman, "Simplified State Space Layers for Sequence Modeling", 2023.
Resets inside a scan: Lu et al., "Structured State Space Models for In-Context Reinforcement Learning", 2023.

Where the inputs come at irregular times, dt is multiplied by the time since the previous one (`elapsed`).

Shapes: u (B, L, D), h (B, N) complex with N = P/2 under conjugate symmetry, else P.

Differs from the paper: Re(Lambda) is held below -1e-4 by default, an option there; B' and C' are normal, not
truncated normal; the activation behind the layer belongs to the block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, Stateless, state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.layers.timed import TimedLayer
from statewise.core.ops import linear_scan

__all__ = ["S5", "BidirectionalS5", "S5Config", "S5State", "hippo_normal", "hippo_spectrum"]

S = TypeVar("S", bound=tuple[Any, ...])


@dataclass(frozen=True, kw_only=True)
class S5Config:
    """Settings of `S5` and `BidirectionalS5`."""

    d_model: int
    """H, features in and out."""
    d_state: int = 64
    """P, the size of the state; half of it is kept under conjugate symmetry."""
    blocks: int = 1
    """J, blocks of HiPPO-N on the diagonal at the start; divides P."""
    discretisation: Literal["zoh", "bilinear"] = "zoh"
    """How the continuous system becomes a recurrence."""
    conj_sym: bool = True
    """Keep one of each conjugate pair of eigenvalues: half the work, a real system."""
    dt_min: float = 1e-3
    """The smallest step Delta at the start; steps are log-uniform."""
    dt_max: float = 1e-1
    """The largest step Delta at the start."""
    clip: bool = True
    """Hold Re(Lambda) at or below -1e-4, so that the system stays stable."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.blocks > 0, "blocks", self.blocks, "at least 1")
        whole = 2 * self.blocks if self.conj_sym else self.blocks
        require(
            self.d_state > 0 and self.d_state % whole == 0, "d_state", self.d_state, f"a multiple of {whole}"
        )
        require(self.dt_min > 0, "dt_min", self.dt_min, "above 0")
        require(self.dt_max >= self.dt_min, "dt_max", self.dt_max, "at least dt_min")


class S5State(NamedTuple):
    """What `S5` carries."""

    h: Tensor
    """(B, N) complex."""


def hippo_normal(size: int) -> np.ndarray:
    """HiPPO-N (size, size): HiPPO-LegS plus a rank-one correction, -1/2 I plus a skew-symmetric matrix.

    LegS is A_nk = -sqrt((2n+1)(2k+1)) below the diagonal and -(n+1) on it; the correction is P P^T, P_n =
    sqrt(n+1/2).
    """
    root = np.sqrt(2 * np.arange(size) + 1)
    lower = np.tril(-0.5 * np.outer(root, root), -1)
    return lower - lower.T - 0.5 * np.eye(size)


def hippo_spectrum(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (size,) by rising imaginary part and unitary eigenvectors (size, size) of HiPPO-N."""
    # A normal matrix with a constant real part: i times its skew part is Hermitian, and eigh is exact where
    # eig is not.
    imaginary, vectors = np.linalg.eigh(-1j * (hippo_normal(size) + 0.5 * np.eye(size)))
    return -0.5 + 1j * imaginary, vectors


class DiagonalSystem(Layer[S]):
    """The parameters of S5, their discretisation, and the maps into and out of the state.

    Args:
        config: the settings.
        directions: how many states the output reads: 1, or 2 when the sequence is also scanned backwards.
    """

    slow: ClassVar[frozenset[str]] = frozenset({"Lambda", "B", "log_dt"})
    no_decay: ClassVar[frozenset[str]] = frozenset({"Lambda", "B", "log_dt"})

    def __init__(self, config: S5Config, *, directions: int) -> None:
        super().__init__(config)
        d, p, j = config.d_model, config.d_state, config.blocks
        values, vectors = hippo_spectrum(p // j)
        kept = p // j // 2 if config.conj_sym else p // j
        basis = torch.from_numpy(vectors[:, :kept]).to(torch.complex64)
        # Each block sees its own p/j rows of B' and columns of C', drawn for the full state.
        inputs = torch.randn(j, p // j, d) / math.sqrt(p)
        outputs = torch.randn(d, directions, j, p // j, 2) / math.sqrt(p)
        b = torch.einsum("pn,jpd->jnd", basis.conj(), inputs.to(basis.dtype)).flatten(0, 1)
        c = torch.einsum("dsjp,pn->dsjn", torch.view_as_complex(outputs), basis).flatten(1)
        pairs = torch.view_as_real(torch.from_numpy(values[:kept]).to(torch.complex64))
        # Complex numbers are pairs on the axis of size 2, so that every dtype, optimiser and file format
        # knows them.
        self.Lambda = nn.Parameter(pairs.repeat(j, 1))
        self.B = nn.Parameter(torch.view_as_real(b).movedim(-1, 1).contiguous())
        self.C = nn.Parameter(torch.view_as_real(c).contiguous())
        self.D = nn.Parameter(torch.randn(d))
        low, high = math.log(config.dt_min), math.log(config.dt_max)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(j * kept))

    def discretise(self, elapsed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The decay a and the factor with which B is multiplied, both complex.

        Args:
            elapsed: lengths of the steps, (...), in units of Delta; None for one that lasts Delta.

        Returns:
            (N,), or (..., N) for given lengths.
        """
        pairs = self.Lambda.to(state_dtype(self.Lambda.dtype))
        real = pairs[:, 0].clamp(max=-1e-4) if self.config.clip else pairs[:, 0]
        values, dt = torch.complex(real, pairs[:, 1]), torch.exp(self.log_dt.to(pairs.dtype))
        dt = dt if elapsed is None else elapsed.to(dt.dtype)[..., None] * dt
        if self.config.discretisation == "zoh":
            # expm1: for a slow state and a short step a - 1 would have no correct digit left in float32.
            change = torch.expm1(values * dt)
            return change + 1, change / values
        middle = 1 - values * dt / 2
        return (1 + values * dt / 2) / middle, dt / middle

    def write(self, u: Tensor, factor: Tensor) -> Tensor:
        """The write factor * (B u), (..., D) to (..., N) complex."""
        pairs = F.linear(u, self.B.flatten(0, 1)).unflatten(-1, (-1, 2))
        return factor * torch.view_as_complex(pairs.to(state_dtype(pairs.dtype)))

    def read(self, h: Tensor, u: Tensor) -> Tensor:
        """The output Re(C h) + D * u, (..., states) complex to (..., D)."""
        scale = 2.0 if self.config.conj_sym else 1.0
        weight = torch.stack([scale * self.C[..., 0], -scale * self.C[..., 1]], dim=-1)
        return F.linear(torch.view_as_real(h).flatten(-2).to(u.dtype), weight.flatten(1)) + self.D * u


class S5(DiagonalSystem[S5State], TimedLayer[S5State]):
    """The causal layer, which streams."""

    def __init__(self, config: S5Config) -> None:
        super().__init__(config, directions=1)

    def sequence(
        self,
        x: Tensor,
        state: S5State,
        reset: Tensor | None,
        lengths: Tensor | None,
        elapsed: Tensor | None = None,
    ) -> tuple[Tensor, S5State]:
        a, factor = self.discretise(elapsed)
        h, last = linear_scan(a, self.write(x, factor), state.h, reset=reset)
        return self.read(h, x), S5State(at_end(h, last, state.h, lengths))

    def step(self, x_t: Tensor, state: S5State, elapsed: Tensor | None = None) -> tuple[Tensor, S5State]:
        a, factor = self.discretise(elapsed)
        h = a * state.h + self.write(x_t, factor)
        return self.read(h, x_t), S5State(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> S5State:
        return S5State(self.zeros(batch_size, self.log_dt.shape[0], device=device, dtype=dtype, complex=True))


class BidirectionalS5(DiagonalSystem[Stateless]):
    """The same system run forwards and backwards, both states read by a C of twice the width."""

    streaming: ClassVar[bool] = False

    def __init__(self, config: S5Config) -> None:
        super().__init__(config, directions=2)

    def sequence(
        self, x: Tensor, state: Stateless, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Stateless]:
        a, factor = self.discretise()
        # The padding holds zeros and the system has no bias: backwards, nothing has been written when a row
        # begins.
        writes = self.write(x, factor)
        forwards, _ = linear_scan(a, writes, reset=reset)
        backwards, _ = linear_scan(a, writes, reset=reset, reverse=True)
        return self.read(torch.cat([forwards, backwards], dim=-1), x), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Stateless:
        return Stateless()
