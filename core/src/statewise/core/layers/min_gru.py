"""minGRU: a GRU whose gates read only the input, so that the recurrence is linear.

    z_t = sigmoid(W_z x_t + b_z),   v_t = W_h x_t + b_h
    h_t = (1 - z_t) * h_{t-1} + z_t * v_t

Feng et al., "Were RNNs All We Needed?", 2024.

Shapes: x (B, L, D), z, v and h (B, L, E D), y = h or, with an expansion E above 1, W_o h (B, L, D).

Differs from the paper: it is computed by a linear scan, so that the log-space form and its positive candidate
g(v) are not needed; the first state is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.ops import linear_scan

__all__ = ["MinGRU", "MinGRUConfig", "MinGRUState"]


@dataclass(frozen=True, kw_only=True)
class MinGRUConfig:
    """Settings of `MinGRU`."""

    d_model: int
    """D, features in and out."""
    expand: int = 1
    """E, hidden units per feature; above 1 an output projection leads back to D."""
    gate_bias: float = 0.0
    """b_z at the start; below 0 the unit starts with a longer memory."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.expand > 0, "expand", self.expand, "at least 1")


class MinGRUState(NamedTuple):
    """What `MinGRU` carries."""

    h: Tensor
    """(B, E D)."""


class MinGRU(Layer[MinGRUState]):
    """A gated running average of a linear candidate."""

    def __init__(self, config: MinGRUConfig) -> None:
        super().__init__(config)
        hidden = config.expand * config.d_model
        self.gates = nn.Linear(config.d_model, 2 * hidden)
        self.out = nn.Linear(hidden, config.d_model) if config.expand > 1 else nn.Identity()
        with torch.no_grad():
            self.gates.bias[:hidden] = config.gate_bias
            self.gates.bias[hidden:] = 0

    def sequence(
        self, x: Tensor, state: MinGRUState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, MinGRUState]:
        keep, write = self._gates(x)
        h, last = linear_scan(keep, write, state.h, reset=reset)
        return self.out(h.to(x.dtype)), MinGRUState(at_end(h, last, state.h, lengths))

    def step(self, x_t: Tensor, state: MinGRUState) -> tuple[Tensor, MinGRUState]:
        keep, write = self._gates(x_t)
        h = keep * state.h + write
        return self.out(h.to(x_t.dtype)), MinGRUState(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> MinGRUState:
        hidden = self.config.expand * self.config.d_model
        return MinGRUState(self.zeros(batch_size, hidden, device=device, dtype=dtype))

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The shares 1 - z and z * v, (..., D) to (..., E D) each."""
        gates = self.gates(x)
        z, v = gates.to(state_dtype(gates.dtype)).chunk(2, dim=-1)
        # sigmoid(-z) is 1 - z without the cancellation near 1.
        return torch.sigmoid(-z), torch.sigmoid(z) * v
