"""LSTM: a cell state that gates keep, write and read.

    [i, f, g, o]_t = W x_t + b + R h_{t-1} + b'
    c_t = sigmoid(f_t) * c_{t-1} + sigmoid(i_t) * tanh(g_t)
    h_t = sigmoid(o_t) * tanh(c_t),        y_t = h_t

Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; forget gate: Gers, Schmidhuber and Cummins,
"Learning to Forget", 2000.

Shapes: x (B, L, D), h, c and y (B, L, H), W (4H, D), R (4H, H). Names and layout of the parameters are those
of a single-layer `torch.nn.LSTM`, whose state_dict can be loaded.

Differs from the paper: no peepholes; the forget gate starts open (`forget_bias`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.core.ops.rnn_scan import rnn_scan, rnn_step

__all__ = ["LSTM", "LSTMConfig", "LSTMState"]


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    """Settings of `LSTM`."""

    d_model: int
    """D, features in."""
    d_hidden: int | None = None
    """H, hidden units and features out; D when unset."""
    forget_bias: float = 1.0
    """b_f at the start; above 0 the cell starts with a longer memory."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_hidden is None or self.d_hidden > 0, "d_hidden", self.d_hidden, "at least 1")


class LSTMState(NamedTuple):
    """What `LSTM` carries."""

    h: Tensor
    """(B, H), the previous output."""
    c: Tensor
    """(B, H), the cell."""


class LSTM(Layer[LSTMState]):
    """The classic gated recurrence, with resets inside a sequence."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__(config)
        hidden = config.d_hidden or config.d_model
        bound = 1 / math.sqrt(hidden)
        self.weight_ih_l0 = nn.Parameter(torch.empty(4 * hidden, config.d_model).uniform_(-bound, bound))
        self.weight_hh_l0 = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(4 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(4 * hidden))
        with torch.no_grad():
            self.bias_ih_l0[hidden : 2 * hidden] = config.forget_bias

    def sequence(
        self, x: Tensor, state: LSTMState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, LSTMState]:
        y, last = rnn_scan(
            "lstm", self._inputs(x), self.weight_hh_l0[None], state, reset=reset, lengths=lengths
        )
        return y.to(x.dtype), LSTMState(*last)

    def step(self, x_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        new = LSTMState(*rnn_step("lstm", self._inputs(x_t), self.weight_hh_l0[None], state))
        return new.h.to(x_t.dtype), new

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LSTMState:
        shape = (batch_size, self.weight_hh_l0.shape[1])
        return LSTMState(*(self.zeros(*shape, device=device, dtype=dtype) for _ in LSTMState._fields))

    def _inputs(self, x: Tensor) -> Tensor:
        """W x + b + b', (..., D) to (..., 4H)."""
        return F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
