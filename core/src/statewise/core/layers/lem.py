"""LEM, Long Expressive Memory: two coupled states that move at learnt, input-dependent time scales.

    d_t = dt sigmoid(W_1 y_{t-1} + V_1 u_t + b_1)
    e_t = dt sigmoid(W_2 y_{t-1} + V_2 u_t + b_2)
    z_t = (1 - d_t) * z_{t-1} + d_t * tanh(W_z y_{t-1} + V_z u_t + b_z)
    y_t = (1 - e_t) * y_{t-1} + e_t * tanh(W_y z_t + V_y u_t + b_y)

A discretised system of ordinary differential equations with two scales; its gradients neither vanish nor
explode exponentially. Rusch, Mishra, Erichson and Mahoney, "Long Expressive Memory for Sequence Modeling",
2022.

Shapes: u (B, L, D), y and z (B, L, D), V (4D, D) in the order 1, 2, z, y, W (3D, D) in the order 1, 2, z, W_y
(D, D).

Differs from the paper: nothing in the equations. The loop runs in plain torch: the second product needs z_t,
which no cell of `rnn_scan` has.
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
from statewise.core.layers.masking import at_end

__all__ = ["LEM", "LEMConfig", "LEMState"]


@dataclass(frozen=True, kw_only=True)
class LEMConfig:
    """Settings of `LEM`."""

    d_model: int
    """D, features in and out."""
    dt: float = 1.0
    """Delta t, the longest step of both states; smaller for slow signals."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(0 < self.dt <= 1, "dt", self.dt, "above 0 and at most 1")


class LEMState(NamedTuple):
    """What `LEM` carries."""

    y: Tensor
    """(B, D), the previous output."""
    z: Tensor
    """(B, D), the hidden partner of y."""


class LEM(Layer[LEMState]):
    """Two states, each relaxing towards a function of the other."""

    def __init__(self, config: LEMConfig) -> None:
        super().__init__(config)
        d = config.d_model
        bound = 1 / math.sqrt(d)
        self.inputs = nn.Linear(d, 4 * d)
        self.W = nn.Parameter(torch.empty(3 * d, d).uniform_(-bound, bound))
        self.W_y = nn.Parameter(torch.empty(d, d).uniform_(-bound, bound))

    def sequence(
        self, x: Tensor, state: LEMState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, LEMState]:
        driven = self.inputs(x).to(state.y.dtype)
        now, states = state, []
        for t, driven_t in enumerate(driven.unbind(1)):
            if reset is not None:
                now = LEMState(*(torch.where(reset[:, t, None], 0.0, part) for part in now))
            now = self._advance(driven_t, now)
            states.append(now)
        y, z = (torch.stack(parts, 1) for parts in zip(*states, strict=True))
        ends = (
            at_end(all_, last, first, lengths) for all_, last, first in zip((y, z), now, state, strict=True)
        )
        return y.to(x.dtype), LEMState(*ends)

    def step(self, x_t: Tensor, state: LEMState) -> tuple[Tensor, LEMState]:
        new = self._advance(self.inputs(x_t).to(state.y.dtype), state)
        return new.y.to(x_t.dtype), new

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LEMState:
        shape = (batch_size, self.config.d_model)
        return LEMState(*(self.zeros(*shape, device=device, dtype=dtype) for _ in LEMState._fields))

    def _advance(self, driven: Tensor, state: LEMState) -> LEMState:
        """One step from V u + b, (B, 4D)."""
        of_y = F.linear(state.y, self.W.to(driven.dtype))
        gates, towards_z, towards_y = driven.split(
            [2 * state.y.shape[1], state.y.shape[1], state.y.shape[1]], 1
        )
        d, e = (self.config.dt * torch.sigmoid(gates + of_y[:, : gates.shape[1]])).chunk(2, 1)
        z = torch.lerp(state.z, torch.tanh(towards_z + of_y[:, gates.shape[1] :]), d)
        y = torch.lerp(state.y, torch.tanh(towards_y + F.linear(z, self.W_y.to(driven.dtype))), e)
        return LEMState(y, z)
