"""sLSTM: an LSTM with an exponential input gate, a normaliser, and heads that mix within themselves only.

    [i, f, z, o]_t = W x_t + b + R h_{t-1}                   R block-diagonal over heads
    c_t = sigmoid(f_t) * c_{t-1} + exp(i_t) * tanh(z_t)
    n_t = sigmoid(f_t) * n_{t-1} + exp(i_t)
    h_t = sigmoid(o_t) * c_t / n_t,        y_t = h_t

Beck et al., "xLSTM: Extended Long Short-Term Memory", 2024, equations 8 to 17.

Shapes: x (B, L, D), h, c, n and y (B, L, D), W (4D, D), R (H, 4W, W) with D = H W.

Differs from the paper: the state carries c / n and log n in place of c, n and the running maximum m that
stabilises them. Those three are known up to a common factor only, so that their gradients depend on how they
were reached; the ratio and the logarithm are functions of the inputs. The group norm, convolution and
projections around the cell belong to the block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.core.ops.rnn_scan import rnn_scan, rnn_step

__all__ = ["SLSTM", "SLSTMConfig", "SLSTMState"]


@dataclass(frozen=True, kw_only=True)
class SLSTMConfig:
    """Settings of `SLSTM`."""

    d_model: int
    """D, features in and out."""
    heads: int = 4
    """H, blocks of R on the diagonal; divides D."""
    forget_bias_first: float = 3.0
    """b_f of the first unit of a head at the start; the others follow in equal steps."""
    forget_bias_last: float = 6.0
    """b_f of the last unit of a head at the start; larger is a longer memory."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(
            self.heads > 0 and self.d_model % self.heads == 0, "heads", self.heads, "a divisor of d_model"
        )


class SLSTMState(NamedTuple):
    """What `SLSTM` carries."""

    h: Tensor
    """(B, D), the previous output."""
    ratio: Tensor
    """(B, D), c / n, the weighted mean of what was written."""
    log_n: Tensor
    """(B, D), log n, how much weight the mean has; 0 while nothing was written."""
    written: Tensor
    """(B, D) bool, whether anything was."""


class SLSTM(Layer[SLSTMState]):
    """An LSTM whose cell is a weighted mean, with weights from exponential gates."""

    def __init__(self, config: SLSTMConfig) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        width = d // heads
        self.gates = nn.Linear(d, 4 * d)
        bound = 1 / math.sqrt(width)
        self.recurrent = nn.Parameter(torch.empty(heads, 4 * width, width).uniform_(-bound, bound))
        ramp = torch.linspace(config.forget_bias_first, config.forget_bias_last, width)
        with torch.no_grad():
            self.gates.bias.zero_()
            self.gates.bias[d : 2 * d] = ramp.repeat(heads)

    def sequence(
        self, x: Tensor, state: SLSTMState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, SLSTMState]:
        y, last = rnn_scan(
            "slstm", self.gates(x), self.recurrent, _opened(state), reset=reset, lengths=lengths
        )
        return y.to(x.dtype), _closed(last)

    def step(self, x_t: Tensor, state: SLSTMState) -> tuple[Tensor, SLSTMState]:
        new = _closed(rnn_step("slstm", self.gates(x_t), self.recurrent, _opened(state)))
        return new.h.to(x_t.dtype), new

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> SLSTMState:
        shape = (batch_size, self.config.d_model)
        h, ratio, log_n = (self.zeros(*shape, device=device, dtype=dtype) for _ in range(3))
        return SLSTMState(h, ratio, log_n, torch.zeros_like(h, dtype=torch.bool))


def _opened(state: SLSTMState) -> tuple[Tensor, ...]:
    """The cell's own (h, c, n, m), with log n in m and n = 1, or n = 0 while nothing was written."""
    # The cell takes m as a constant: the gradient of log n has to pass through n, whose value is 1.
    m = state.log_n.detach()
    n = torch.where(state.written, torch.exp(state.log_n - m), 0.0)
    return state.h, state.ratio * n, n, m


def _closed(parts: tuple[Tensor, ...]) -> SLSTMState:
    """The state from the cell's (h, c, n, m)."""
    h, c, n, m = parts
    written = n > 0
    weight = torch.where(written, n, 1.0)
    return SLSTMState(h, c / weight, torch.where(written, m.detach() + torch.log(weight), 0.0), written)
