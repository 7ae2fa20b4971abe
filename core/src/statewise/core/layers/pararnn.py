"""ParaRNN: GRU and LSTM cells whose recurrent weights are diagonal, so that units do not mix over time.

    diag-gru    z_t, r_t = sigmoid([W x_t + b + a * h_{t-1}])
                n_t = tanh(W_n x_t + b_n + a_n * (r_t * h_{t-1}))
                h_t = (1 - z_t) * h_{t-1} + z_t * n_t
    diag-lstm   f_t, o_t = sigmoid([W x_t + b + a * h_{t-1}]),   g_t = tanh(W_g x_t + b_g + a_g * h_{t-1})
                c_t = f_t * c_{t-1} + (1 - f_t) * g_t
                h_t = o_t * tanh(c_t)

The Jacobian of a step is diagonal, or a 2 x 2 block per unit. A parallel machine can therefore solve for all
steps at once by Newton's method (`statewise.core.ops.rnn_scan.newton`); on a CPU one fused loop costs as much
as a single of its iterations, and is what this layer runs.

Danieli et al., "ParaRNN: Unlocking Parallel Training of Nonlinear RNNs for Large Language Models", 2025.

Shapes: x (B, L, D), h, c and y (B, L, D), W (3D, D), a (3, D).

Differs from the paper: no output gating, convolution or heads around the cell, which belong to the block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.core.ops.rnn_scan import rnn_scan, rnn_step

__all__ = ["DiagonalGRUState", "DiagonalLSTMState", "ParaRNN", "ParaRNNConfig"]


@dataclass(frozen=True, kw_only=True)
class ParaRNNConfig:
    """Settings of `ParaRNN`."""

    d_model: int
    """D, features in and out."""
    cell: Literal["diag-gru", "diag-lstm"] = "diag-gru"
    """The recurrence; see the module."""
    gate_bias: float = -1.0
    """How closed the gates that overwrite the state start: b_z of diag-gru, -b_f of diag-lstm."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")


class DiagonalGRUState(NamedTuple):
    """What `ParaRNN` carries with the cell diag-gru."""

    h: Tensor
    """(B, D), the previous output."""


class DiagonalLSTMState(NamedTuple):
    """What `ParaRNN` carries with the cell diag-lstm."""

    h: Tensor
    """(B, D), the previous output."""
    c: Tensor
    """(B, D), the cell."""


class ParaRNN(Layer[DiagonalGRUState | DiagonalLSTMState]):
    """A nonlinear recurrence within each unit, a linear map across units of the input only."""

    no_decay: ClassVar[frozenset[str]] = frozenset({"a"})

    def __init__(self, config: ParaRNNConfig) -> None:
        super().__init__(config)
        d = config.d_model
        self.gates = nn.Linear(d, 3 * d)
        self.a = nn.Parameter(torch.empty(3, d).uniform_(-1, 1))
        with torch.no_grad():
            self.gates.bias.zero_()
            self.gates.bias[:d] = config.gate_bias if config.cell == "diag-gru" else -config.gate_bias

    def sequence(
        self,
        x: Tensor,
        state: DiagonalGRUState | DiagonalLSTMState,
        reset: Tensor | None,
        lengths: Tensor | None,
    ) -> tuple[Tensor, DiagonalGRUState | DiagonalLSTMState]:
        y, last = rnn_scan(self.config.cell, self.gates(x), self.a, state, reset=reset, lengths=lengths)
        return y.to(x.dtype), type(state)(*last)

    def step(
        self, x_t: Tensor, state: DiagonalGRUState | DiagonalLSTMState
    ) -> tuple[Tensor, DiagonalGRUState | DiagonalLSTMState]:
        new = type(state)(*rnn_step(self.config.cell, self.gates(x_t), self.a, state))
        return new.h.to(x_t.dtype), new

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DiagonalGRUState | DiagonalLSTMState:
        kind = DiagonalGRUState if self.config.cell == "diag-gru" else DiagonalLSTMState
        shape = (batch_size, self.config.d_model)
        return kind(*(self.zeros(*shape, device=device, dtype=dtype) for _ in kind._fields))
