"""Two further forms of Chimera's recurrence: companion matrices over time, and variates pooled.

Companion (does not depend on the input; Behrouz et al., 2024, after SpaceTime, Zhang et al., 2023):

    h1[v, t] = m S1 h1[v, t-1] + (1 - m) S2 h2[v, t-1] + B1 u[v, t]      S = shift + a learnt last column
    h2[v, t] = a3 * h1[v-1, t] + a4 * h2[v-1, t] + B2 u[v, t]            diagonal
    z[v, t]  = C1 h1[v, t] + C2 h2[v, t] + D * u[v, t]

A companion matrix can hold an autoregression of order N. It is bounded as the diagonal form is: a last column
of absolute sum 1 at most makes S of norm 1 at most (sum of absolute values), 0 < m < 1, |a3| + |a4| <= 1.

Pooled (after "VI 2D SSM", arXiv 2603.08753: an equivariant linear system over variates is a dynamics of
each one's own and a term that all share): the chain over variates becomes their mean,

    g[t]    = a_g g[t-1] + mean_v d2 B2 u[v, t]
    h[v, t] = a1 h[v, t-1] + (1 - a1) tanh(m) g[t] + d1 B1 u[v, t]
    z[v, t] = C1 h[v, t] + C2 g[t] + D * u[v, t]

so that permuting the variates permutes the outputs, and its depth does not depend on V.

Shapes: x and y (B, L, V, D), u and z (B, L, V, E), states (B, V, E, N), g (B, E, N).
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from statewise.core.ops import linear_scan

__all__ = ["CompanionGrid", "GridState", "PooledGrid"]


class GridState(NamedTuple):
    """What either form carries."""

    own: Tensor
    """h1 or h, (B, V, E, N)."""
    shared: Tensor
    """h2 (B, V, E, N), or g (B, E, N)."""


class CompanionGrid(nn.Module):
    """The companion form as a layer, (B, L, V, D) to the same.

    Args:
        d_model: D, which is E too.
        d_state: N.
        both_ways: read the variates in both orders, with parameters for each.
    """

    def __init__(self, d_model: int, d_state: int, *, both_ways: bool = True) -> None:
        super().__init__()
        self.inputs = nn.Linear(d_model, 2 * d_model)
        self.directions = nn.ModuleList(_Companion(d_model, d_state) for _ in range(1 + both_ways))
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[GridState, ...]]:
        """The layer over whole sequences, from zero states."""
        states: tuple[GridState, ...] | None = None
        steps = []
        for x_t in x.unbind(1):
            y_t, states = self.step(x_t, states)
            steps.append(y_t)
        assert states is not None
        return torch.stack(steps, 1), states

    def step(self, x_t: Tensor, states: tuple[GridState, ...] | None) -> tuple[Tensor, tuple[GridState, ...]]:
        """One step: x_t (B, V, D)."""
        u, gate = self.inputs(x_t).chunk(2, dim=-1)
        u = F.silu(u)
        z, after = torch.zeros_like(u), []
        for number, direction in enumerate(self.directions):
            seen = u.flip(-2) if number else u
            out, state = direction(seen, None if states is None else states[number])
            z = z + (out.flip(-2) if number else out)
            after.append(state)
        return self.out(F.silu(gate) * z), tuple(after)


class _Companion(nn.Module):
    """The recurrence in one order of the variates."""

    no_decay: ClassVar[frozenset[str]] = frozenset({"columns", "mix", "a4", "a3"})

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(0.1 * torch.randn(2, width, states))
        self.mix = nn.Parameter(torch.full((width, 1), 2.0))
        self.a4 = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(width, 1))
        self.a3 = nn.Parameter(0.5 * torch.randn(width, states))
        self.B = nn.Parameter(torch.randn(2, width, states) / math.sqrt(states))
        self.C = nn.Parameter(torch.randn(2, width, states) / math.sqrt(states))
        self.D = nn.Parameter(torch.ones(width))

    def gates(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The matrices A1 and A2, (E, N, N), and the diagonals a3 and a4, (E, N)."""
        columns = self.columns / self.columns.abs().sum(-1, keepdim=True).clamp(min=1.0)
        states = columns.shape[-1]
        shift = torch.diag(columns.new_ones(states - 1), -1)
        last = F.pad(columns[..., None], (states - 1, 0))
        companions = shift + last
        m = torch.sigmoid(self.mix)[..., None]
        a4 = torch.exp(-torch.exp(self.a4))
        return m * companions[0], (1 - m) * companions[1], (1 - a4) * torch.tanh(self.a3), a4

    def forward(self, u: Tensor, state: GridState | None) -> tuple[Tensor, GridState]:
        """One step of all variates: u (B, V, E)."""
        a1, a2, a3, a4 = self.gates()
        writes = u[..., None] * self.B[:, None, None]
        h1 = writes[0]
        if state is not None:
            h1 = h1 + torch.einsum("enk,bvek->bven", a1, state.own)
            h1 = h1 + torch.einsum("enk,bvek->bven", a2, state.shared)
        line = [writes[1][:, 0]]
        for v in range(1, u.shape[1]):
            line.append(a3 * h1[:, v - 1] + a4 * line[-1] + writes[1][:, v])
        h2 = torch.stack(line, 1)
        z = (self.C[0] * h1 + self.C[1] * h2).sum(-1) + self.D * u
        return z, GridState(h1, h2)


class PooledGrid(nn.Module):
    """The pooled form as a layer, (B, L, V, D) to the same, for any V.

    Args:
        d_model: D, which is E too.
        d_state: N.
        steps: smallest and largest step d at the start.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset({"A_log", "mix"})

    def __init__(self, d_model: int, d_state: int, *, steps: tuple[float, float] = (1e-3, 1e-1)) -> None:
        super().__init__()
        self.inputs = nn.Linear(d_model, 2 * d_model)
        self.maps = nn.Linear(d_model, 4 * d_state, bias=False)
        self.steps = nn.Linear(d_model, 2 * d_model)
        low, high = (math.log(step) for step in steps)
        dt = torch.exp(low + (high - low) * torch.rand(2 * d_model))
        with torch.no_grad():
            self.steps.bias.copy_(torch.log(torch.expm1(dt)))
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, d_state + 1)).repeat(2, d_model, 1))
        self.mix = nn.Parameter(0.5 * torch.randn(d_model, d_state))
        self.D = nn.Parameter(torch.ones(d_model))
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> tuple[Tensor, GridState]:
        """The layer over whole sequences, from zero states."""
        u, gate, a1, write, a_g, pooled = self._terms(x)
        g, g_last = linear_scan(a_g, pooled)
        h, h_last = linear_scan(a1, write + (1 - a1) * torch.tanh(self.mix) * g[:, :, None])
        return self._read(u, gate, h, g[:, :, None]), GridState(h_last, g_last)

    def step(self, x_t: Tensor, state: GridState) -> tuple[Tensor, GridState]:
        """One step: x_t (B, V, D)."""
        u, gate, a1, write, a_g, pooled = self._terms(x_t)
        g = a_g * state.shared + pooled
        h = a1 * state.own + (1 - a1) * torch.tanh(self.mix) * g[:, None] + write
        return self._read(u, gate, h, g[:, None]), GridState(h, g)

    def _terms(self, x: Tensor) -> tuple[Tensor, ...]:
        """U and the gate (..., V, E), a1 and the writes (..., V, E, N), a_g and pooled writes (..., E, N)."""
        u, gate = self.inputs(x).chunk(2, dim=-1)
        u = F.silu(u)
        b1, b2, _, _ = self.maps(u).unsqueeze(-2).chunk(4, dim=-1)
        d1, d2 = F.softplus(self.steps(u)).unsqueeze(-1).chunk(2, dim=-2)
        rate = -torch.exp(self.A_log)
        own, shared = torch.exp(d1 * rate[0]), torch.exp(d2.mean(-3) * rate[1])
        driven = u.unsqueeze(-1)
        return u, gate, own, d1 * b1 * driven, shared, (d2 * b2 * driven).mean(-3)

    def _read(self, u: Tensor, gate: Tensor, h: Tensor, g: Tensor) -> Tensor:
        _, _, c1, c2 = self.maps(u).unsqueeze(-2).chunk(4, dim=-1)
        return self.out(F.silu(gate) * ((c1 * h + c2 * g).sum(-1) + self.D * u))
