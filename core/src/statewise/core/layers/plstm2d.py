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

Two forms give the same numbers. `scan` moves the K x K states over the grid (`statewise.core.ops.
scan2d_matrix`), linear in the number N of nodes. `pairs` works out the weight of every node in what any other
reads (`statewise.core.ops.path_weights`) and multiplies q' k with it: N squared, but faster on small grids.
`cheaper_form` decides.

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
from statewise.core.ops import path_weights, scan2d_matrix
from statewise.core.ops.dispatch import is_written_out, kernels_installed
from statewise.core.ops.path_weights.reference import FLIPS

__all__ = ["PLSTM2D", "PLSTM2DConfig", "by_pairs", "cheaper_form"]


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
    """The gates of all orientations, (B, Y, X, O, H) each."""

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

    def forward(self, x: Tensor) -> _Edges:
        """The gates of all orientations."""
        moved = F.linear(x, self.direction.weight) / (2 * x.shape[-1]) + self.direction.bias
        source, mark, transition, moved = map(
            _oriented, (self.source(x), self.mark(x), self.transition(x), moved)
        )
        s, m, a = (torch.sigmoid(part) for part in (source, mark, moved))
        # sigmoid(-z) is 1 - a without the cancellation near 1.
        t, b = torch.tanh(5 * transition), torch.sigmoid(-moved)
        at, bt, bs = (a * t, 1 - a * t, 1 - a * s) if self.official else (a * t, b * t, b * s)
        return _Edges((at, bt, at, bt), (a * s, bs), (m, m))


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

    def forward(self, x: Tensor) -> _Edges:
        """The gates of all orientations."""
        s_x, s_y = (torch.sigmoid(_oriented(gate(x))) for gate in self.sources)
        m_x, m_y = (torch.sigmoid(_oriented(gate(x))) for gate in self.marks)
        xx, yy, yx = (torch.tanh(5 * _oriented(gate(x))) for gate in self.transitions)
        return _Edges((xx, torch.zeros_like(xx), yx, yy), (s_x, s_y), (m_x, m_y))


class PLSTM2D(Layer[Stateless]):
    """Every node of a grid sees all others, at a cost linear in their number."""

    streaming: ClassVar[bool] = False
    axes: ClassVar[str] = "BYXD"

    def __init__(self, config: PLSTM2DConfig) -> None:
        super().__init__(config)
        self._compiled = kernels_installed()
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
        transitions, sources, marks = (torch.stack(gates, 3).to(dtype) for gates in self.gates(x))
        # tensors without storage stand for those of a CPU: what is counted is what will run
        compiled = self._compiled and x.device.type in ("cpu", "meta") and not is_written_out()
        form = cheaper_form(
            x.shape[1] * x.shape[2], q.shape[-1], compiled=compiled, gradients=torch.is_grad_enabled()
        )
        read = scan2d_matrix if form == "scan" else by_pairs
        found = read(q.to(dtype), k.to(dtype), v.to(dtype), transitions, sources, marks)
        return self.maps.output(found, q, k, v), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Stateless:
        return Stateless()


def _oriented(gate: Tensor) -> Tensor:
    """(..., O H) to (..., O, H)."""
    return gate.unflatten(-1, (len(FLIPS), -1))


def cheaper_form(nodes: int, width: int, *, compiled: bool, gradients: bool) -> Literal["pairs", "scan"]:
    """The form that costs less on a grid of so many nodes, with heads of that width K.

    The compiled scan takes time in K squared per node, pairs in N K: measured, they meet at about N = 6 K
    forwards and at 10 K with gradients. Written in plain torch the scan holds the states of all nodes, 2 K
    squared numbers each, and is worth it where the pairs need more.

    Args:
        nodes: N.
        width: K.
        compiled: whether the scan is a kernel.
        gradients: whether they are wanted.
    """
    most = (10 if gradients else 6) * width if compiled else 2 * width * width
    return "pairs" if nodes <= most else "scan"


def by_pairs(q: Tensor, k: Tensor, v: Tensor, transitions: Tensor, sources: Tensor, marks: Tensor) -> Tensor:
    """What `scan2d_matrix` gives, from the weights of all pairs of nodes."""
    weights = path_weights(transitions, sources, marks)
    query, key, value = (part.flatten(1, 2).transpose(1, 2) for part in (q, k, v))
    found = (query @ key.transpose(-1, -2) * weights) @ value
    return found.transpose(1, 2).unflatten(1, q.shape[1:3])
