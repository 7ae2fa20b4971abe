"""pLSTM over a grid: matrix states on the edges between neighbours, read from all four corners.

At node (i, j), in the orientation that runs along rising i and j,

    C_x = T_xx C_x[i-1, j] + T_yx C_y[i, j-1] + S_x k v'             leaves towards (i+1, j)
    C_y = T_xy C_x[i-1, j] + T_yy C_y[i, j-1] + S_y k v'             leaves towards (i, j+1)
    o   = K^{-1/2} q' (M_x C_x[i-1, j] + M_y C_y[i, j-1])            reads what enters

The other orientations flip one axis or both, with gates of their own; their o are summed and D K^{-1/2} (q'
k) v is added once. y = W_o norm(o) per head. The two modes bound the states in two ways:

    P   T_xx = T_yx = a t,  T_xy = T_yy = (1 - a) t,  S_x = a s,  S_y = (1 - a) s,  M_x = M_y = m
    D   T_xx, T_yy, T_yx free,  T_xy = 0: one path only between any two nodes

P spreads along a direction a in [0, 1]: what enters an edge leaves with t times its sum of magnitudes. D
carries without any decay along lines that turn once.

Pöppel et al., "pLSTM: parallelizable Linear Source Transition Mark networks", 2025.

Shapes: x and y (B, Y, X, D), q, k, v (B, Y, X, H, K) with D = H K, gates (B, Y, X, H) per orientation, C
(B, Y, X, H, K, K); i runs over Y and j over X.

Two forms give the same numbers. `grid` scans the K x K states, linear in the number N of nodes. `pairs` works
out the weight of every node in what any other reads (`statewise.core.ops.path_weights`) and multiplies q' k
with it: N squared, but smaller and faster as long as N is at most 2 K squared. That decides which is taken.

Differs from the published code: P as in the paper. The code has 1 - a t in place of (1 - a) t and 1 - a s in
place of (1 - a) s, with which the states do not decay and, for negative t, grow; `parametrisation =
"official"` is that form, for weights that were trained with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, Stateless, state_dtype
from statewise.core.layers.plstm_parts import Gates, HeadMaps
from statewise.core.ops import path_weights, scan2d_edges
from statewise.core.ops.path_weights.reference import FLIPS, entering

__all__ = ["PLSTM2D", "PLSTM2DConfig"]


@dataclass(frozen=True, kw_only=True)
class PLSTM2DConfig:
    """Settings of `PLSTM2D`."""

    d_model: int
    """D, features in and out of a node."""
    heads: int = 3
    """H, heads; 4 H divides D, as each gate of each orientation sees its own slice."""
    mode: Literal["P", "D"] = "P"
    """P spreads along a direction, D along lines that turn once; the paper's models alternate them."""
    parametrisation: Literal["paper", "official"] = "paper"
    """Of mode P: official has 1 - a t and 1 - a s in place of (1 - a) t and (1 - a) s."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        divides = self.heads > 0 and self.d_model % (len(FLIPS) * self.heads) == 0
        require(divides, "heads", self.heads, "a divisor of d_model / 4")


class _Edges(NamedTuple):
    """The gates of one orientation, (B, Y, X, H) each."""

    transitions: tuple[Tensor, ...]
    """T_xx, T_xy, T_yx, T_yy."""
    sources: tuple[Tensor, ...]
    """S_x, S_y."""
    marks: tuple[Tensor, ...]
    """M_x, M_y."""


class SpreadGates(nn.Module):
    """Mode P: a source, a mark, a decay and a direction.

    Args:
        d_model: D.
        heads: H.
        official: take the published code's complement, 1 - a t.
    """

    def __init__(self, d_model: int, heads: int, *, official: bool = False) -> None:
        super().__init__()
        self.official = official
        count = len(FLIPS) * heads
        self.source = Gates(d_model, count, bias=-4.0)
        self.mark = Gates(d_model, count, bias=-4.0)
        self.transition = Gates(d_model, count, bias=1.0)
        self.direction = nn.Linear(d_model, count)
        nn.init.zeros_(self.direction.weight)
        with torch.no_grad():
            self.direction.bias.copy_(torch.linspace(-2, 2, heads).repeat(len(FLIPS)))

    def forward(self, x: Tensor) -> list[_Edges]:
        """The gates of each orientation."""
        moved = F.linear(x, self.direction.weight) / (2 * x.shape[-1]) + self.direction.bias
        edges = []
        for logits in _oriented(self.source(x), self.mark(x), self.transition(x), moved):
            s, m, a = (torch.sigmoid(part) for part in (logits[0], logits[1], logits[3]))
            # sigmoid(-z) is 1 - a without the cancellation near 1.
            t, b = torch.tanh(5 * logits[2]), torch.sigmoid(-logits[3])
            at, bt, bs = (a * t, 1 - a * t, 1 - a * s) if self.official else (a * t, b * t, b * s)
            edges.append(_Edges((at, bt, at, bt), (a * s, bs), (m, m)))
        return edges


class LineGates(nn.Module):
    """Mode D: sources, marks and transitions of their own for both kinds of edge, and one turn.

    Args:
        d_model: D.
        heads: H.
    """

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        count = len(FLIPS) * heads
        self.sources = nn.ModuleList(Gates(d_model, count, bias=-4.0) for _ in range(2))
        self.marks = nn.ModuleList(Gates(d_model, count, bias=-4.0) for _ in range(2))
        self.transitions = nn.ModuleList(Gates(d_model, count, bias=1.0) for _ in range(3))

    def forward(self, x: Tensor) -> list[_Edges]:
        """The gates of each orientation."""
        gates = [gate(x) for group in (self.sources, self.marks, self.transitions) for gate in group]
        edges = []
        for logits in _oriented(*gates):
            s_x, s_y, m_x, m_y = (torch.sigmoid(part) for part in logits[:4])
            xx, yy, yx = (torch.tanh(5 * part) for part in logits[4:])
            edges.append(_Edges((xx, torch.zeros_like(xx), yx, yy), (s_x, s_y), (m_x, m_y)))
        return edges


class PLSTM2D(Layer[Stateless]):
    """Every node of a grid sees all others, at a cost linear in their number."""

    streaming: ClassVar[bool] = False
    axes: ClassVar[str] = "BYXD"

    def __init__(self, config: PLSTM2DConfig) -> None:
        super().__init__(config)
        self.maps = HeadMaps(config.d_model, config.heads)
        if config.mode == "P":
            official = config.parametrisation == "official"
            self.gates: nn.Module = SpreadGates(config.d_model, config.heads, official=official)
        else:
            self.gates = LineGates(config.d_model, config.heads)

    def sequence(
        self, x: Tensor, state: Stateless, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Stateless]:
        q, k, v = self.maps.project(x)
        dtype = state_dtype(x.dtype)
        turns = [
            _Edges._make(tuple(part.to(dtype) for part in group) for group in edges)
            for edges in self.gates(x)
        ]
        read = _by_pairs if cheaper_form(x.shape[1] * x.shape[2], q.shape[-1]) == "pairs" else _by_grid
        return self.maps.output(read(q.to(dtype), k.to(dtype), v.to(dtype), turns), q, k, v), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Stateless:
        return Stateless()


def _oriented(*gates: Tensor) -> list[list[Tensor]]:
    """Gates (..., 4 H) by orientation: 4 lists of (..., H)."""
    return [list(parts) for parts in zip(*(gate.chunk(len(FLIPS), dim=-1) for gate in gates), strict=True)]


def _flipped(edges: _Edges, flips: tuple[int, ...]) -> _Edges:
    return _Edges._make(tuple(gate.flip(flips) for gate in group) for group in edges)


def cheaper_form(nodes: int, width: int) -> Literal["pairs", "grid"]:
    """The form that costs less on a grid of so many nodes, with heads of that width.

    Per node and head the states take 2 K squared numbers and the pairs N, of which several copies live at
    once: up to N = 2 K squared the pairs need no more memory. Measured, their time is less up to about
    4 K squared.
    """
    return "pairs" if nodes <= 2 * width * width else "grid"


def _by_grid(q: Tensor, k: Tensor, v: Tensor, turns: list[_Edges]) -> Tensor:
    """What all nodes read, (B, Y, X, H, K), from the matrix states on the edges."""
    found = torch.zeros_like(v)
    for flips, edges in zip(FLIPS, turns, strict=True):
        turned = _run(q.flip(flips), k.flip(flips), v.flip(flips), _flipped(edges, flips))
        found = found + turned.flip(flips)
    return found


def _by_pairs(q: Tensor, k: Tensor, v: Tensor, turns: list[_Edges]) -> Tensor:
    """The same from the weights of all pairs of nodes."""
    transitions, sources, marks = (
        torch.stack([torch.stack(gates, 3) for gates in group], 4) for group in zip(*turns, strict=True)
    )
    weights = path_weights(transitions, sources, marks)
    query, key, value = (part.flatten(1, 2).transpose(1, 2) for part in (q, k, v))
    found = (query @ key.transpose(-1, -2) * weights) @ value
    return found.transpose(1, 2).unflatten(1, q.shape[1:3])


def _run(q: Tensor, k: Tensor, v: Tensor, edges: _Edges) -> Tensor:
    """What the nodes read along one orientation, (B, Y, X, H, K)."""
    outer = k[..., :, None] * v[..., None, :]
    sources = torch.stack([source[..., None, None] * outer for source in edges.sources], 3)
    along, across = entering(scan2d_edges(torch.stack(edges.transitions, 3), sources)[0])
    m_x, m_y = (mark[..., None, None] for mark in edges.marks)
    return torch.einsum("...k,...kv->...v", q, m_x * along + m_y * across)
