"""GRU: one state that an update gate keeps or replaces.

    r_t = sigmoid(W_r x_t + b_r + R_r h_{t-1} + b'_r)
    z_t = sigmoid(W_z x_t + b_z + R_z h_{t-1} + b'_z)
    n_t = tanh(W_n x_t + b_n + r_t * (R_n h_{t-1} + b'_n))
    h_t = (1 - z_t) * n_t + z_t * h_{t-1},        y_t = h_t

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
2014.

Shapes: x (B, L, D), h and y (B, L, H), W (3H, D), R (3H, H), gates in the order r, z, n. Names and layout of
the parameters are those of a single-layer `torch.nn.GRU`, whose state_dict can be loaded.

Differs from the paper: the reset gate is applied after R_n h + b', not before, which leaves one product per
step; the update gate may start open (`update_bias`).
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

__all__ = ["GRU", "GRUConfig", "GRUState"]


@dataclass(frozen=True, kw_only=True)
class GRUConfig:
    """Settings of `GRU`."""

    d_model: int
    """D, features in."""
    d_hidden: int | None = None
    """H, hidden units and features out; D when unset."""
    update_bias: float = 0.0
    """b_z at the start; above 0 the unit starts with a longer memory."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_hidden is None or self.d_hidden > 0, "d_hidden", self.d_hidden, "at least 1")


class GRUState(NamedTuple):
    """What `GRU` carries."""

    h: Tensor
    """(B, H), the previous output."""


class GRU(Layer[GRUState]):
    """The gated recurrence with one state, with resets inside a sequence."""

    def __init__(self, config: GRUConfig) -> None:
        super().__init__(config)
        hidden = config.d_hidden or config.d_model
        bound = 1 / math.sqrt(hidden)
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden, config.d_model).uniform_(-bound, bound))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden, hidden).uniform_(-bound, bound))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(3 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(3 * hidden))
        with torch.no_grad():
            self.bias_ih_l0[hidden : 2 * hidden] = config.update_bias

    def sequence(
        self, x: Tensor, state: GRUState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, GRUState]:
        y, last = rnn_scan(
            "gru",
            F.linear(x, self.weight_ih_l0, self.bias_ih_l0),
            self.weight_hh_l0[None],
            state,
            bias=self.bias_hh_l0,
            reset=reset,
            lengths=lengths,
        )
        return y.to(x.dtype), GRUState(*last)

    def step(self, x_t: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        inputs = F.linear(x_t, self.weight_ih_l0, self.bias_ih_l0)
        new = GRUState(*rnn_step("gru", inputs, self.weight_hh_l0[None], state, bias=self.bias_hh_l0))
        return new.h.to(x_t.dtype), new

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> GRUState:
        return GRUState(self.zeros(batch_size, self.weight_hh_l0.shape[1], device=device, dtype=dtype))
