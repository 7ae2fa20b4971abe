"""PGN, the Parallel Gated Network: one linear look at the last W inputs in place of a recurrence.

    h_t       = W_h vec(x_{t-W}, ..., x_{t-1}) + b_h                   zeros stand before the sequence
    [g_t, c_t] = W_g [x_t, h_t] + b_g
    y_t       = sigmoid(g_t) * h_t + (1 - sigmoid(g_t)) * tanh(c_t)

A gated update like a GRU's whose "previous state" is read from the history at once, so that all steps are
computed in parallel and the path between any two steps of a window has length one.

Jia et al., "PGN: The RNN's New Successor is Effective for Long-Range Time Series Forecasting", 2024.

Shapes: x (B, L, D), h, g, c and y (B, L, D'), W_h (D', W D) with the oldest input first.

Differs from the paper: there the window always spans the whole history and the layer runs on the rows of a
series folded by its period (TPGN); here the window is a setting and the layer works on any sequence, in
chunks and steps too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.core.layers.masking import tail, windows

__all__ = ["PGN", "PGNConfig", "PGNState"]


@dataclass(frozen=True, kw_only=True)
class PGNConfig:
    """Settings of `PGN`."""

    d_model: int
    """D, features in."""
    d_output: int | None = None
    """D', features out; D when unset."""
    window: int = 16
    """W, how many previous inputs a step sees."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_output is None or self.d_output > 0, "d_output", self.d_output, "at least 1")
        require(self.window > 0, "window", self.window, "at least 1")


class PGNState(NamedTuple):
    """What `PGN` carries."""

    inputs: Tensor
    """(B, W, D), the last W inputs, oldest first."""


class PGN(Layer[PGNState]):
    """A causal window read by one linear map, gated against the present input."""

    def __init__(self, config: PGNConfig) -> None:
        super().__init__(config)
        d, out = config.d_model, config.d_output or config.d_model
        self.history = nn.Linear(config.window * d, out)
        self.gates = nn.Linear(d + out, 2 * out)

    def sequence(
        self, x: Tensor, state: PGNState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, PGNState]:
        y = self._update(x, windows(x, state.inputs.to(x.dtype), reset))
        return y, PGNState(tail(x.to(state.inputs.dtype), state.inputs, reset, lengths))

    def step(self, x_t: Tensor, state: PGNState) -> tuple[Tensor, PGNState]:
        y_t = self._update(x_t, state.inputs.to(x_t.dtype))
        newest = x_t.to(state.inputs.dtype)[:, None]
        return y_t, PGNState(torch.cat([state.inputs[:, 1:], newest], dim=1))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> PGNState:
        return PGNState(
            self.zeros(batch_size, self.config.window, self.config.d_model, device=device, dtype=dtype)
        )

    def _update(self, x: Tensor, before: Tensor) -> Tensor:
        """The gated update: x (..., D) and its window (..., W, D) to (..., D')."""
        h = self.history(before.flatten(-2))
        # halves of few features would send tanh and sigmoid down their slow, strided path
        g, c = (half.contiguous() for half in self.gates(torch.cat([x, h], dim=-1)).chunk(2, dim=-1))
        return torch.lerp(torch.tanh(c), h, torch.sigmoid(g))
