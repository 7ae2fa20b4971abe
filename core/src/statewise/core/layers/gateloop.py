"""GateLoop: a linear recurrence whose complex transition is computed from the input.

    a_t = sigmoid(m_t) exp(i p_t)
    h_t = a_t * h_{t-1} + k_t * v_t
    y_t = W_o (silu(g_t) * Re(q_t * h_t))           [q, k, v, m, p, g]_t = W x_t + b

The amplitude chooses how much to keep and the phase how far to turn, which is what counting modulo a number
(parity, for instance) needs. Katsch, "GateLoop: Fully Data-Controlled Linear Recurrence for Sequence
Modeling", 2023, in its max-headed form: one key and one value per head.

Shapes: x and y (B, L, D), q, k, v, m, p, g (B, L, H) real, h (B, H) complex, W (6H, D), W_o (D, H).

Differs from the paper: no group norm over the heads, which have one element each; the amplitudes start
between `r_min` and `r_max`.
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

__all__ = ["GateLoop", "GateLoopConfig", "GateLoopState"]


@dataclass(frozen=True, kw_only=True)
class GateLoopConfig:
    """Settings of `GateLoop`."""

    d_model: int
    """D, features in and out."""
    d_hidden: int | None = None
    """H, heads of one element; D when unset."""
    r_min: float = 0.6
    """The smallest amplitude |a| at the start, for an input of zero."""
    r_max: float = 0.999
    """The largest amplitude |a| at the start, for an input of zero."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_hidden is None or self.d_hidden > 0, "d_hidden", self.d_hidden, "at least 1")
        require(0 < self.r_min < 1, "r_min", self.r_min, "between 0 and 1")
        require(self.r_min <= self.r_max < 1, "r_max", self.r_max, "between r_min and 1")


class GateLoopState(NamedTuple):
    """What `GateLoop` carries."""

    h: Tensor
    """(B, H) complex."""


class GateLoop(Layer[GateLoopState]):
    """A complex linear recurrence, everything in it chosen by the input."""

    def __init__(self, config: GateLoopConfig) -> None:
        super().__init__(config)
        hidden = config.d_hidden or config.d_model
        self.inputs = nn.Linear(config.d_model, 6 * hidden)
        self.out = nn.Linear(hidden, config.d_model)
        with torch.no_grad():
            self.inputs.bias.zero_()
            low, high = (torch.logit(torch.tensor(r)) for r in (config.r_min, config.r_max))
            self.inputs.bias[3 * hidden : 4 * hidden] = torch.lerp(low, high, torch.rand(hidden))

    def sequence(
        self, x: Tensor, state: GateLoopState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, GateLoopState]:
        q, a, write, gate = self._gates(x)
        h, last = linear_scan(a, write, state.h, reset=reset)
        return self._read(q, h, gate), GateLoopState(at_end(h, last, state.h, lengths))

    def step(self, x_t: Tensor, state: GateLoopState) -> tuple[Tensor, GateLoopState]:
        q, a, write, gate = self._gates(x_t)
        h = a * state.h + write
        return self._read(q, h, gate), GateLoopState(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> GateLoopState:
        hidden = self.out.in_features
        return GateLoopState(self.zeros(batch_size, hidden, device=device, dtype=dtype, complex=True))

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The query, the transition (complex), the write (complex) and the output gate, (..., H) each."""
        q, k, v, m, p, gate = self.inputs(x).chunk(6, dim=-1)
        dtype = state_dtype(x.dtype)
        amplitude, phase, write = torch.sigmoid(m.to(dtype)), p.to(dtype), k.to(dtype) * v.to(dtype)
        a = torch.complex(amplitude * torch.cos(phase), amplitude * torch.sin(phase))
        return q, a, torch.complex(write, torch.zeros_like(write)), gate

    def _read(self, q: Tensor, h: Tensor, gate: Tensor) -> Tensor:
        """The output; Re(q h) is q Re(h), since q is real."""
        return self.out(F.silu(gate) * (q * h.real.to(q.dtype)))
