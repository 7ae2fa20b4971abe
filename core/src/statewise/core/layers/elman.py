"""Elman's recurrent network: a tanh of the input and the previous output.

    h_t = tanh(W x_t + b + R h_{t-1} + b'),        y_t = h_t

Elman, "Finding Structure in Time", 1990.

Shapes: x (B, L, D), h and y (B, L, H), W (H, D), R (H, H). Names and layout of the parameters are those of a
single-layer `torch.nn.RNN`, whose state_dict can be loaded.

Differs from the paper: two biases, as in `torch.nn.RNN`; tanh for the logistic function.
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

__all__ = ["Elman", "ElmanConfig", "ElmanState"]


@dataclass(frozen=True, kw_only=True)
class ElmanConfig:
    """Settings of `Elman`."""

    d_model: int
    """D, features in."""
    d_hidden: int | None = None
    """H, hidden units and features out; D when unset."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_hidden is None or self.d_hidden > 0, "d_hidden", self.d_hidden, "at least 1")


class ElmanState(NamedTuple):
    """What `Elman` carries."""

    h: Tensor
    """(B, H), the previous output."""


class Elman(Layer[ElmanState]):
    """The simplest nonlinear recurrence."""

    def __init__(self, config: ElmanConfig) -> None:
        super().__init__(config)
        hidden = config.d_hidden or config.d_model
        bound = 1 / math.sqrt(hidden)
        self.weight_ih_l0 = nn.Parameter(torch.empty(hidden, config.d_model).uniform_(-bound, bound))
        self.weight_hh_l0 = nn.Parameter(torch.empty(hidden, hidden).uniform_(-bound, bound))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(hidden))

    def sequence(
        self, x: Tensor, state: ElmanState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, ElmanState]:
        y, last = rnn_scan(
            "elman", self._inputs(x), self.weight_hh_l0[None], state, reset=reset, lengths=lengths
        )
        return y.to(x.dtype), ElmanState(*last)

    def step(self, x_t: Tensor, state: ElmanState) -> tuple[Tensor, ElmanState]:
        new = ElmanState(*rnn_step("elman", self._inputs(x_t), self.weight_hh_l0[None], state))
        return new.h.to(x_t.dtype), new

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ElmanState:
        return ElmanState(self.zeros(batch_size, self.weight_hh_l0.shape[1], device=device, dtype=dtype))

    def _inputs(self, x: Tensor) -> Tensor:
        """W x + b + b', (..., D) to (..., H)."""
        return F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
