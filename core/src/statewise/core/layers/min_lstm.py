"""minLSTM: an LSTM whose gates read only the input and add up to one, so that the recurrence is linear.

    f_t = sigmoid(W_f x_t + b_f),   i_t = sigmoid(W_i x_t + b_i),   v_t = W_h x_t + b_h
    h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * v_t

Feng et al., "Were RNNs All We Needed?", 2024.

Shapes: x (B, L, D), f, i, v and h (B, L, E D), y = h or, with an expansion E above 1, W_o h (B, L, D).

Differs from the paper: it is computed by a linear scan, so that the log-space form and its positive candidate
g(v) are not needed; f / (f + i) is taken as sigmoid(log f - log i), which is finite for any gate; the first
state is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.ops import linear_scan

__all__ = ["MinLSTM", "MinLSTMConfig", "MinLSTMState"]


@dataclass(frozen=True, kw_only=True)
class MinLSTMConfig:
    """Settings of `MinLSTM`."""

    d_model: int
    """D, features in and out."""
    expand: int = 1
    """E, hidden units per feature; above 1 an output projection leads back to D."""
    forget_bias: float = 0.0
    """b_f at the start; above 0 the unit starts with a longer memory."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.expand > 0, "expand", self.expand, "at least 1")


class MinLSTMState(NamedTuple):
    """What `MinLSTM` carries."""

    h: Tensor
    """(B, E D)."""


class MinLSTM(Layer[MinLSTMState]):
    """A gated running average of a linear candidate, with a forget and an input gate."""

    def __init__(self, config: MinLSTMConfig) -> None:
        super().__init__(config)
        hidden = config.expand * config.d_model
        self.gates = nn.Linear(config.d_model, 3 * hidden)
        self.out = nn.Linear(hidden, config.d_model) if config.expand > 1 else nn.Identity()
        with torch.no_grad():
            self.gates.bias[:hidden] = config.forget_bias
            self.gates.bias[hidden:] = 0

    def sequence(
        self, x: Tensor, state: MinLSTMState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, MinLSTMState]:
        keep, write = self._gates(x)
        h, last = linear_scan(keep, write, state.h, reset=reset)
        return self.out(h.to(x.dtype)), MinLSTMState(at_end(h, last, state.h, lengths))

    def step(self, x_t: Tensor, state: MinLSTMState) -> tuple[Tensor, MinLSTMState]:
        keep, write = self._gates(x_t)
        h = keep * state.h + write
        return self.out(h.to(x_t.dtype)), MinLSTMState(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> MinLSTMState:
        hidden = self.config.expand * self.config.d_model
        return MinLSTMState(self.zeros(batch_size, hidden, device=device, dtype=dtype))

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The shares f / (f + i) and i / (f + i) * v, (..., D) to (..., E D) each."""
        gates = self.gates(x)
        f, i, v = gates.to(state_dtype(gates.dtype)).chunk(3, dim=-1)
        odds = F.logsigmoid(f) - F.logsigmoid(i)
        return torch.sigmoid(odds), torch.sigmoid(-odds) * v
