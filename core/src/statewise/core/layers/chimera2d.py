"""Chimera's 2-D state space model: one state runs over time, one over variates, and each feeds the other.

    h1[v, t] = a1 * h1[v, t-1] + a2 * h2[v, t-1] + d1 B1 u[v, t]         over time
    h2[v, t] = a3 * h1[v-1, t] + a4 * h2[v-1, t] + d2 B2 u[v, t]         over variates
    z[v, t]  = C1 h1[v, t] + C2 h2[v, t] + D * u[v, t]                   a, B, C, d computed from u[v, t]
    y = W_o (silu(W_g x) * z),     u = silu(conv_time(W_u x))

with a1 = exp(d1 A1), a4 = exp(d2 A4), A negative. Over time the layer is causal and streams; the variates of
a step are read both ways, with parameters for each. Behrouz, Santacatterina and Zabih, "Chimera: Effectively
Modeling Multivariate Time Series with 2-Dimensional State Space Models", 2024.

Shapes: x and y (B, L, V, D), u and z (B, L, V, E), h1 and h2 (B, V, E, N) for each direction, d (B, L, V, E),
B and C (B, L, V, N), A (E, N).

Differs from the paper: the coupling is bounded by default, a2 = (1 - a1) tanh(m2) and a3 = (1 - a4) tanh(m3).
The paper's exp(d1 A2) tends to one and not to zero for short steps, so that |a1| + |a2| comes near two and
states grow along the diagonal of the grid. Companion matrices are in `chimera2d_companion`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.errors import UserError
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.layers.temporal_conv import TemporalConv
from statewise.core.ops import scan2d_edges

__all__ = ["Chimera2D", "Chimera2DConfig", "Chimera2DState"]


@dataclass(frozen=True, kw_only=True)
class Chimera2DConfig:
    """Settings of `Chimera2D`."""

    d_model: int
    """D, features in and out per variate."""
    variates: int
    """V, series that are read together."""
    d_inner: int | None = None
    """E, channels of the state space model; D when unset."""
    d_state: int = 8
    """N, states per channel, of each of the two kinds."""
    taps: int = 4
    """K, steps that the convolution over time sees."""
    both_ways: bool = True
    """Read the variates in both orders; they rarely have one."""
    coupling: Literal["bounded", "zoh", "none"] = "bounded"
    """a2 and a3: bounded, as exp(d A) (the paper's, which can grow), or absent."""
    dt_min: float = 1e-3
    """The smallest step d at the start; steps are log-uniform. Shorter steps for longer trends."""
    dt_max: float = 1e-1
    """The largest step d at the start."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.variates > 0, "variates", self.variates, "at least 1")
        require(self.d_inner is None or self.d_inner > 0, "d_inner", self.d_inner, "at least 1")
        require(self.d_state > 0, "d_state", self.d_state, "at least 1")
        require(self.taps > 0, "taps", self.taps, "at least 1")
        require(self.dt_min > 0, "dt_min", self.dt_min, "above 0")
        require(self.dt_max >= self.dt_min, "dt_max", self.dt_max, "at least dt_min")


class Chimera2DState(NamedTuple):
    """What `Chimera2D` carries."""

    h1: Tensor
    """(B, R, V, E, N), the states over time of each of R directions, variates in the order they are read."""
    h2: Tensor
    """(B, R, V, E, N), the states over variates at the last step."""
    inputs: Tensor
    """(B, V, K - 1, E), the last inputs of the convolution, oldest first."""


class _Terms(NamedTuple):
    """What one direction computes from its input."""

    gates: tuple[Tensor, ...]
    """a1 .. a4, (..., V, E, N) each."""
    writes: tuple[Tensor, Tensor]
    """d1 B1 u and d2 B2 u, (..., V, E, N) each."""
    reads: tuple[Tensor, Tensor]
    """C1 and C2, (..., V, 1, N) each."""


class Direction(nn.Module):
    """The recurrence over a grid in one order of the variates.

    Args:
        config: the settings.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset({"A_log", "mix"})

    def __init__(self, config: Chimera2DConfig) -> None:
        super().__init__()
        self.coupling = config.coupling
        width, states = config.d_inner or config.d_model, config.d_state
        self.maps = nn.Linear(width, 4 * states, bias=False)
        self.steps = nn.Linear(width, 2 * width)
        low, high = math.log(config.dt_min), math.log(config.dt_max)
        dt = torch.exp(low + (high - low) * torch.rand(2 * width))
        with torch.no_grad():
            self.steps.bias.copy_(torch.log(torch.expm1(dt)))
        kinds = 4 if config.coupling == "zoh" else 2
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(kinds, width, 1))
        if config.coupling == "bounded":
            self.mix = nn.Parameter(0.5 * torch.randn(2, width, states))

    def terms(self, u: Tensor) -> _Terms:
        """Gates, writes and reads of inputs u (..., V, E)."""
        dtype = state_dtype(u.dtype)
        b1, b2, c1, c2 = self.maps(u).to(dtype).unsqueeze(-2).chunk(4, dim=-1)
        d1, d2 = F.softplus(self.steps(u).to(dtype)).unsqueeze(-1).chunk(2, dim=-2)
        driven = u.to(dtype).unsqueeze(-1)
        a = -torch.exp(self.A_log.to(dtype))
        if self.coupling == "zoh":
            gates = tuple(torch.exp(d * part) for d, part in zip((d1, d1, d2, d2), a, strict=True))
        else:
            gates = self._diagonal(d1 * a[0], d2 * a[1])
        return _Terms(gates, (d1 * b1 * driven, d2 * b2 * driven), (c1, c2))

    def grid(self, terms: _Terms, h1: Tensor, h2: Tensor, reset: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both states everywhere, (B, L, V, E, N), from those of the step before, (B, V, E, N).

        The states live at nodes, those of the operator on edges: the gates of the node that receives an edge
        are moved to the one that sends it.
        """
        a1, a2, a3, a4 = terms.gates
        u1, u2 = terms.writes
        later = (F.pad(gate[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1)) for gate in (a1, a2))
        beyond = (F.pad(gate[:, :, 1:], (0, 0, 0, 0, 0, 1)) for gate in (a3, a4))
        (xx, yx), (xy, yy) = later, beyond
        sources = torch.stack([xx * u1 + yx * u2, xy * u1 + yy * u2], 3)
        top = a1[:, 0] * h1 + a2[:, 0] * h2
        transitions = torch.stack([xx, xy, yx, yy], 3).flatten(4)
        edges, _, _ = scan2d_edges(transitions, sources.flatten(4), top.flatten(2), reset=reset)
        over_time, over_variates = edges.unflatten(4, u1.shape[3:]).unbind(3)
        entering = torch.cat([top[:, None], over_time[:, :-1]], 1)
        if reset is not None:
            entering = torch.where(reset[:, :, None, None, None], 0.0, entering)
        return entering + u1, F.pad(over_variates[:, :, :-1], (0, 0, 0, 0, 1, 0)) + u2

    def advance(self, terms: _Terms, h1: Tensor, h2: Tensor) -> tuple[Tensor, Tensor]:
        """Both states of the next step, (B, V, E, N)."""
        a1, a2, a3, a4 = terms.gates
        u1, u2 = terms.writes
        h1 = a1 * h1 + a2 * h2 + u1
        line = [u2[:, 0]]
        for v in range(1, u2.shape[1]):
            line.append(a3[:, v] * h1[:, v - 1] + a4[:, v] * line[-1] + u2[:, v])
        return h1, torch.stack(line, 1)

    def _diagonal(self, log_a1: Tensor, log_a4: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a1, a4 = torch.exp(log_a1), torch.exp(log_a4)
        if self.coupling == "none":
            return a1, torch.zeros_like(a1), torch.zeros_like(a4), a4
        mix = torch.tanh(self.mix.to(a1.dtype))
        return a1, -torch.expm1(log_a1) * mix[0], -torch.expm1(log_a4) * mix[1], a4


class Chimera2D(Layer[Chimera2DState]):
    """A selective state space model over time and variates at once."""

    axes: ClassVar[str] = "BLVD"

    def __init__(self, config: Chimera2DConfig) -> None:
        super().__init__(config)
        width = config.d_inner or config.d_model
        self.inputs = nn.Linear(config.d_model, 2 * width)
        self.conv = TemporalConv(width, config.taps)
        self.directions = nn.ModuleList(Direction(config) for _ in range(1 + config.both_ways))
        self.D = nn.Parameter(torch.ones(width))
        self.out = nn.Linear(width, config.d_model)

    def sequence(
        self, x: Tensor, state: Chimera2DState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Chimera2DState]:
        self._check_variates(x)
        u, gate = self.inputs(x).chunk(2, dim=-1)
        u, inputs = self._convolve(u, state.inputs, reset, lengths)
        u = F.silu(u)
        z, h1_ends, h2_ends = self.D * u, [], []
        for number, direction in enumerate(self._directions()):
            terms = direction.terms(_ordered(u, number))
            before = state.h1[:, number], state.h2[:, number]
            h1, h2 = direction.grid(terms, *before, reset)
            z = z + _ordered(_read(terms, h1, h2), number).to(u.dtype)
            h1_ends.append(at_end(h1, h1[:, -1], before[0], lengths))
            h2_ends.append(at_end(h2, h2[:, -1], before[1], lengths))
        y = self.out(F.silu(gate) * z)
        return y, Chimera2DState(torch.stack(h1_ends, 1), torch.stack(h2_ends, 1), inputs)

    def step(self, x_t: Tensor, state: Chimera2DState) -> tuple[Tensor, Chimera2DState]:
        u, gate = self.inputs(x_t).chunk(2, dim=-1)
        u, inputs = self.conv.step(u.flatten(0, 1), state.inputs.flatten(0, 1))
        u = F.silu(u).view_as(gate)
        z, ends = self.D * u, []
        for number, direction in enumerate(self._directions()):
            terms = direction.terms(_ordered(u, number))
            h1, h2 = direction.advance(terms, state.h1[:, number], state.h2[:, number])
            z = z + _ordered(_read(terms, h1, h2), number).to(u.dtype)
            ends.append((h1, h2))
        h1, h2 = (torch.stack(parts, 1) for parts in zip(*ends, strict=True))
        return self.out(F.silu(gate) * z), Chimera2DState(h1, h2, inputs.view_as(state.inputs))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Chimera2DState:
        config, width = self.config, self.out.in_features
        grid = (batch_size, len(self.directions), config.variates, width, config.d_state)
        tail = (batch_size, config.variates, config.taps - 1, width)
        return Chimera2DState(*(self.zeros(*size, device=device, dtype=dtype) for size in (grid, grid, tail)))

    def _convolve(
        self, u: Tensor, tail: Tensor, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The convolution over time of every variate: u (B, L, V, E) and the tail (B, V, K - 1, E)."""
        variates = u.shape[2]
        reset = None if reset is None else reset.repeat_interleave(variates, 0)
        lengths = None if lengths is None else lengths.repeat_interleave(variates, 0)
        rows = u.transpose(1, 2)
        y, after = self.conv(rows.flatten(0, 1), tail.flatten(0, 1), reset, lengths)
        return y.view(rows.shape).transpose(1, 2), after.view(tail.shape)

    def _directions(self) -> list[Direction]:
        return [part for part in self.directions if isinstance(part, Direction)]

    def _check_variates(self, x: Tensor) -> None:
        if x.shape[2] != self.config.variates:
            raise UserError(
                "another number of variates than the state has",
                where="Chimera2D",
                seen=str(x.shape[2]),
                expected=f"{self.config.variates}, as configured",
            )


def _ordered(x: Tensor, number: int) -> Tensor:
    """The variates (..., V, E) in the order in which a direction reads them; twice it changes nothing."""
    return x.flip(-2) if number else x


def _read(terms: _Terms, h1: Tensor, h2: Tensor) -> Tensor:
    """C1 h1 + C2 h2, (..., V, E)."""
    c1, c2 = terms.reads
    return (c1 * h1 + c2 * h2).sum(-1)
