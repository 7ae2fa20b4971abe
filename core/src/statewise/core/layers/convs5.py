"""ConvS5: S5 over frames, with convolutions in place of its input and output maps.

    a = exp(Lambda dt),                              b = (a - 1) / Lambda
    h_t = a * h_{t-1} + b * (B conv u_t),            y_t = Re(C conv h_t) + D * u_t

The state is an image; its own kernel is 1 x 1 and diagonal, which makes the recurrence a scan per pixel. What
moves across pixels are the k x k kernels of B and C. Smith, De Mello, Kautz, Linderman and Byeon,
"Convolutional State Space Models for Long-Range Spatiotemporal Modeling", 2023.

Shapes: u and y (B, L, Y, X, D), h (B, Y, X, N) complex with N = P/2, B (N, D, k, k) and C (D, N, k, k)
complex, D (D,). The convolutions see zeros outside the frame.

Differs from the paper: the feed-through D acts per pixel; the residual network and norm behind the layer
belong to the block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.errors import UserError
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.layers.s5 import hippo_spectrum
from statewise.core.ops import linear_scan

__all__ = ["ConvS5", "ConvS5Config", "ConvS5State"]


@dataclass(frozen=True, kw_only=True)
class ConvS5Config:
    """Settings of `ConvS5`."""

    d_model: int
    """U, features in and out per pixel."""
    height: int
    """Y, rows of a frame."""
    width: int
    """X, columns of a frame."""
    d_state: int = 64
    """P, the size of the state per pixel, even; one of each conjugate pair is kept."""
    kernel: int = 3
    """k, rows and columns of the kernels of B and C; odd."""
    dt_min: float = 1e-3
    """The smallest step Delta at the start; steps are log-uniform."""
    dt_max: float = 1e-1
    """The largest step Delta at the start."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.height > 0, "height", self.height, "at least 1")
        require(self.width > 0, "width", self.width, "at least 1")
        require(self.d_state > 0 and self.d_state % 2 == 0, "d_state", self.d_state, "a multiple of 2")
        require(self.kernel > 0 and self.kernel % 2 == 1, "kernel", self.kernel, "odd")
        require(self.dt_min > 0, "dt_min", self.dt_min, "above 0")
        require(self.dt_max >= self.dt_min, "dt_max", self.dt_max, "at least dt_min")


class ConvS5State(NamedTuple):
    """What `ConvS5` carries."""

    h: Tensor
    """(B, Y, X, N) complex."""


class ConvS5(Layer[ConvS5State]):
    """A diagonal complex recurrence per pixel between two convolutions."""

    slow: ClassVar[frozenset[str]] = frozenset({"Lambda", "B", "log_dt"})
    no_decay: ClassVar[frozenset[str]] = frozenset({"Lambda", "B", "log_dt"})
    axes: ClassVar[str] = "BLYXD"

    def __init__(self, config: ConvS5Config) -> None:
        super().__init__(config)
        d, p, k = config.d_model, config.d_state, config.kernel
        values, vectors = hippo_spectrum(p)
        basis = torch.from_numpy(vectors[:, : p // 2]).to(torch.complex64)
        inputs = torch.randn(p, d, k, k) * math.sqrt(2 / (d * k * k))
        outputs = torch.randn(d, p, k, k, 2) / math.sqrt(p * k * k)
        b = torch.einsum("pn,pdyx->ndyx", basis.conj(), inputs.to(basis.dtype))
        c = torch.einsum("dpyx,pn->dnyx", torch.view_as_complex(outputs), basis)
        # Complex numbers are pairs on the last axis, so that every dtype, optimiser and file format knows
        # them.
        spectrum = torch.from_numpy(values[: p // 2]).to(torch.complex64)
        self.Lambda = nn.Parameter(torch.view_as_real(spectrum).clone())
        self.B = nn.Parameter(torch.view_as_real(b).contiguous())
        self.C = nn.Parameter(torch.view_as_real(c).contiguous())
        self.D = nn.Parameter(torch.randn(d))
        low, high = math.log(config.dt_min), math.log(config.dt_max)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(p // 2))

    def sequence(
        self, x: Tensor, state: ConvS5State, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, ConvS5State]:
        self._check_frame(x)
        return self.over(x, state, reset, lengths)

    def over(
        self,
        x: Tensor,
        state: ConvS5State,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, ConvS5State]:
        """`sequence` for frames of any size, with a state of that size: no parameter depends on it."""
        a, factor = self.discretise()
        h, last = linear_scan(a, self._write(x, factor), state.h, reset=reset)
        return self._read(h, x), ConvS5State(at_end(h, last, state.h, lengths))

    def step(self, x_t: Tensor, state: ConvS5State) -> tuple[Tensor, ConvS5State]:
        a, factor = self.discretise()
        frame = x_t[:, None]
        h = a * state.h[:, None] + self._write(frame, factor)
        return self._read(h, frame)[:, 0], ConvS5State(h[:, 0])

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ConvS5State:
        shape = (batch_size, self.config.height, self.config.width, self.config.d_state // 2)
        return ConvS5State(self.zeros(*shape, device=device, dtype=dtype, complex=True))

    def discretise(self) -> tuple[Tensor, Tensor]:
        """The decay a (N,) and the factor (N,) with which B is multiplied, both complex."""
        pairs = self.Lambda.to(state_dtype(self.Lambda.dtype))
        values = torch.complex(pairs[:, 0].clamp(max=-1e-4), pairs[:, 1])
        # expm1: for a slow state and a short step a - 1 would have no correct digit left in float32.
        change = torch.expm1(values * torch.exp(self.log_dt.to(pairs.dtype)))
        return change + 1, change / values

    def _write(self, u: Tensor, factor: Tensor) -> Tensor:
        """The write b * (B conv u), (B, L, Y, X, D) to (B, L, Y, X, N) complex."""
        scaled = torch.view_as_real(
            factor[:, None, None, None] * torch.view_as_complex(self.B.to(factor.real.dtype))
        )
        # real and imaginary parts as neighbouring channels: the output is complex numbers as it lies there
        parts = _convolved(u, scaled.movedim(-1, 1).flatten(0, 1).to(u.dtype))
        return torch.view_as_complex(parts.to(factor.real.dtype).unflatten(-1, (-1, 2)).contiguous())

    def _read(self, h: Tensor, u: Tensor) -> Tensor:
        """The output, doubled for the conjugates that are not kept."""
        parts = torch.view_as_real(h).flatten(-2).to(u.dtype)
        weight = torch.stack([2 * self.C[..., 0], -2 * self.C[..., 1]], 2).flatten(1, 2)
        return _convolved(parts, weight) + self.D * u

    def _check_frame(self, x: Tensor) -> None:
        frame = (self.config.height, self.config.width)
        if tuple(x.shape[2:4]) != frame:
            raise UserError(
                "frames have another size than the state",
                where="ConvS5",
                seen=f"{x.shape[2]} x {x.shape[3]}",
                expected=f"{frame[0]} x {frame[1]}, as configured",
            )


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    """Each frame of x (B, L, Y, X, I) convolved with the weight (O, I, k, k), to (B, L, Y, X, O)."""
    frames = x.flatten(0, 1).permute(0, 3, 1, 2)
    y = F.conv2d(frames, weight, padding=weight.shape[-1] // 2)
    return y.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
