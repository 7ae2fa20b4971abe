"""Chimera's 2-D state space model with companion matrices over time, whose gates do not depend on the input.

    h1[v, t] = m S1 h1[v, t-1] + (1 - m) S2 h2[v, t-1] + B1 u[v, t]      over time
    h2[v, t] = a3 * h1[v-1, t] + a4 * h2[v-1, t] + B2 u[v, t]            over variates
    z[v, t]  = C1 h1[v, t] + C2 h2[v, t] + D * u[v, t]
    y = W_o (silu(W_g x) * z),     u = silu(W_u x)

S is a companion matrix: it moves every state to the next place and adds the last one times a learnt column p
to all, so that one channel can hold an autoregression of order N, which a diagonal matrix cannot in real
numbers. Along the variates the recurrence is linear and the same at every step, hence a matrix:

    h2[v, t] = sum_{w <= v} a4^{v-w} (B2 u[w, t] + a3 * h1[w-1, t])

Behrouz, Santacatterina and Zabih, "Chimera: Effectively Modeling Multivariate Time Series with 2-Dimensional
State Space Models", 2024; companion matrices: Zhang et al., "Effectively Modeling Time Series with Simple
Discrete State Spaces", 2023.

Shapes: x and y (B, L, V, D), u and z (B, L, V, E), h1 and h2 (B, V, E, N) for each direction, S1 and S2
(E, N, N), a3 and a4 (E, N), B and C (E, N) for each kind of state.

Differs from the paper: the matrices are bounded. |p| sums to 1 at most, 0 < m < 1, a4 = exp(-exp(.)) and
a3 = (1 - a4) tanh(.), so that no sum over the absolute values of what enters a state is above 1. A sequence
is run step by step: the matrix over time is dense.
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

__all__ = ["Chimera2DCompanion", "Chimera2DCompanionConfig", "Chimera2DCompanionState"]


@dataclass(frozen=True, kw_only=True)
class Chimera2DCompanionConfig:
    """Settings of `Chimera2DCompanion`."""

    d_model: int
    """D, features in and out per variate."""
    variates: int
    """V, series that are read together."""
    d_inner: int | None = None
    """E, channels of the state space model; D when unset."""
    d_state: int = 8
    """N, states per channel, of each of the two kinds; the order of the autoregression."""
    both_ways: bool = True
    """Read the variates in both orders; they rarely have one."""

    def __post_init__(self) -> None:
        for name in ("d_model", "variates", "d_state"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(self.d_inner is None or self.d_inner > 0, "d_inner", self.d_inner, "at least 1")


class Chimera2DCompanionState(NamedTuple):
    """What `Chimera2DCompanion` carries."""

    h1: Tensor
    """(B, R, V, E, N), the states over time of each of R directions, variates in the order they are read."""
    h2: Tensor
    """(B, R, V, E, N), the states over variates at the last step."""


class _Maps(NamedTuple):
    """The recurrence of one direction as matrices.

    They are applied as products and sums: a matrix product is what autocast would round to half precision.
    """

    own: Tensor  # m S1, (E, N, N)
    other: Tensor  # (1 - m) S2, (E, N, N)
    chain: Tensor  # a4^(v - w) for w <= v, (V, V, E, N)
    across: Tensor  # what h1 of w adds to h2 of v, (V, V, E, N)


class Companion(nn.Module):
    """The recurrence over a grid in one order of the variates.

    Args:
        config: the settings.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset({"columns", "share", "rate", "mix"})

    def __init__(self, config: Chimera2DCompanionConfig) -> None:
        super().__init__()
        width, states = config.d_inner or config.d_model, config.d_state
        self.variates = config.variates
        self.columns = nn.Parameter(0.1 * torch.randn(2, width, states))
        self.share = nn.Parameter(torch.full((width, 1, 1), 2.0))
        self.rate = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(width, 1))
        self.mix = nn.Parameter(0.5 * torch.randn(width, states))
        self.B = nn.Parameter(torch.randn(2, width, states) / math.sqrt(states))
        self.C = nn.Parameter(torch.randn(2, width, states) / math.sqrt(states))

    def maps(self, dtype: torch.dtype) -> _Maps:
        """The matrices of the recurrence."""
        columns = self.columns.to(dtype)
        columns = columns / columns.abs().sum(-1, keepdim=True).clamp(min=1)
        states = columns.shape[-1]
        moved = torch.eye(states, dtype=dtype, device=columns.device)[:, 1:].expand(2, len(self.rate), -1, -1)
        companions = torch.cat([moved, columns[..., None]], -1)
        share, rate = torch.sigmoid(self.share.to(dtype)), torch.exp(self.rate.to(dtype))
        place = torch.arange(self.variates, device=columns.device)
        apart = (place[:, None] - place)[..., None, None]
        chain = torch.exp(-rate * apart.clamp(min=0)) * (apart >= 0)
        coupling = -torch.expm1(-rate) * torch.tanh(self.mix.to(dtype))
        across = F.pad(chain[:, 1:], (0, 0, 0, 0, 0, 1)) * coupling
        return _Maps(share * companions[0], (1 - share) * companions[1], chain, across)

    def writes(self, u: Tensor, maps: _Maps) -> tuple[Tensor, Tensor]:
        """What inputs u (..., V, E) add to h1 and, along all variates, to h2: (..., V, E, N)."""
        driven = u.to(maps.own.dtype).unsqueeze(-1)
        b1, b2 = self.B.to(driven.dtype)
        return driven * b1, _along(maps.chain, driven * b2)

    def advance(
        self, maps: _Maps, writes: tuple[Tensor, Tensor], h1: Tensor, h2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both states of the next step, (B, V, E, N)."""
        own, other = (maps.own * h1.unsqueeze(-2)).sum(-1), (maps.other * h2.unsqueeze(-2)).sum(-1)
        h1 = own + other + writes[0]
        return h1, _along(maps.across, h1) + writes[1]

    def read(self, h1: Tensor, h2: Tensor) -> Tensor:
        """C1 h1 + C2 h2, (..., V, E)."""
        c1, c2 = self.C.to(h1.dtype)
        return (c1 * h1 + c2 * h2).sum(-1)


class Chimera2DCompanion(Layer[Chimera2DCompanionState]):
    """A linear state space model over time and variates at once, with autoregressions of order N."""

    axes: ClassVar[str] = "BLVD"

    def __init__(self, config: Chimera2DCompanionConfig) -> None:
        super().__init__(config)
        width = config.d_inner or config.d_model
        self.inputs = nn.Linear(config.d_model, 2 * width)
        self.directions = nn.ModuleList(Companion(config) for _ in range(1 + config.both_ways))
        self.D = nn.Parameter(torch.ones(width))
        self.out = nn.Linear(width, config.d_model)

    def sequence(
        self, x: Tensor, state: Chimera2DCompanionState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Chimera2DCompanionState]:
        self._check_variates(x)
        u, gate = self.inputs(x).chunk(2, dim=-1)
        u = F.silu(u)
        z, ends = self.D * u, []
        for number, direction in enumerate(self._directions()):
            before = state.h1[:, number], state.h2[:, number]
            h1, h2 = _run(direction, _ordered(u, number), *before, reset)
            z = z + _ordered(direction.read(h1, h2), number).to(u.dtype)
            pairs = zip((h1, h2), before, strict=True)
            ends.append([at_end(h, h[:, -1], first, lengths) for h, first in pairs])
        h1, h2 = (torch.stack(parts, 1) for parts in zip(*ends, strict=True))
        return self.out(F.silu(gate) * z), Chimera2DCompanionState(h1, h2)

    def step(self, x_t: Tensor, state: Chimera2DCompanionState) -> tuple[Tensor, Chimera2DCompanionState]:
        u, gate = self.inputs(x_t).chunk(2, dim=-1)
        u = F.silu(u)
        z, ends = self.D * u, []
        for number, direction in enumerate(self._directions()):
            maps = direction.maps(state_dtype(u.dtype))
            writes = direction.writes(_ordered(u, number), maps)
            h1, h2 = direction.advance(maps, writes, state.h1[:, number], state.h2[:, number])
            z = z + _ordered(direction.read(h1, h2), number).to(u.dtype)
            ends.append((h1, h2))
        h1, h2 = (torch.stack(parts, 1) for parts in zip(*ends, strict=True))
        return self.out(F.silu(gate) * z), Chimera2DCompanionState(h1, h2)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Chimera2DCompanionState:
        config = self.config
        grid = (batch_size, len(self.directions), config.variates, self.out.in_features, config.d_state)
        return Chimera2DCompanionState(*(self.zeros(*grid, device=device, dtype=dtype) for _ in range(2)))

    def _directions(self) -> list[Companion]:
        return [part for part in self.directions if isinstance(part, Companion)]

    def _check_variates(self, x: Tensor) -> None:
        if x.shape[2] != self.config.variates:
            raise UserError(
                "another number of variates than the state has",
                where="Chimera2DCompanion",
                seen=str(x.shape[2]),
                expected=f"{self.config.variates}, as configured",
            )


def _run(
    direction: Companion, u: Tensor, h1: Tensor, h2: Tensor, reset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Both states after every step, (B, L, V, E, N), from those before the first."""
    maps = direction.maps(state_dtype(u.dtype))
    first, second = direction.writes(u, maps)
    kept = []
    for t, writes in enumerate(zip(first.unbind(1), second.unbind(1), strict=True)):
        if reset is not None:
            begins = reset[:, t, None, None, None]
            h1, h2 = torch.where(begins, 0, h1), torch.where(begins, 0, h2)
        h1, h2 = direction.advance(maps, writes, h1, h2)
        kept.append((h1, h2))
    over_time, over_variates = (torch.stack(parts, 1) for parts in zip(*kept, strict=True))
    return over_time, over_variates


def _along(matrix: Tensor, h: Tensor) -> Tensor:
    """A matrix over the variates (V, V, E, N) times states (..., V, E, N)."""
    return (matrix * h.unsqueeze(-4)).sum(-3)


def _ordered(x: Tensor, number: int) -> Tensor:
    """The variates (..., V, E) in the order in which a direction reads them; twice it changes nothing."""
    return x.flip(-2) if number else x
