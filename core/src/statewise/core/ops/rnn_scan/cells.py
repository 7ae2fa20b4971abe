"""The cells of `rnn_scan`: one step each, as equations in plain torch. They define what every backend
computes.

Letters: B batch, D channels, H heads. `pre` is what the input and the previous output contribute to the
gates, (B, G, D); for dense cells it is W x + b + R h, for diagonal ones W x + b (the cell adds a * h itself).

| cell | gates, in order | state | source |
|---|---|---|---|
| elman | h | h | Elman 1990 |
| lstm | i f g o | h c | Hochreiter & Schmidhuber 1997; gate order of `torch.nn.LSTM` |
| gru | r z n | h | Cho et al. 2014; reset gate applied after R h + b, as in `torch.nn.GRU` |
| slstm | i f z o | h c n m | Beck et al. 2024 (xLSTM), eq. 8-17, stabilised |
| diag-gru | z r n | h | Danieli et al. 2025 (ParaRNN): diagonal recurrence |
| diag-lstm | f z o | h c | Danieli et al. 2025 (ParaRNN): coupled gates, diagonal recurrence |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["CELLS", "Cell", "State"]

State = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a backend needs to know of a cell."""

    gates: int
    """Gates G computed from the input."""
    states: int
    """Tensors in the state; the first is the output h."""
    step: Callable[..., State]
    """Dense: (x_t, R h + bias, state) -> state. Diagonal: (x_t, a, state) -> state. Gates are (B, G, D)."""
    saved: int
    """Multiples of D that a CPU kernel keeps per step for the gradient, beside the states."""
    diagonal: bool = False
    """True when the recurrent weight is a vector per gate."""


def elman(x: Tensor, rh: Tensor, state: State) -> State:
    """H = tanh(x + R h)."""
    return (torch.tanh(x[:, 0] + rh[:, 0]),)


def lstm(x: Tensor, rh: Tensor, state: State) -> State:
    """C = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)."""
    i, f, g, o = (x + rh).unbind(1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru(x: Tensor, rh: Tensor, state: State) -> State:
    """N = tanh(x_n + sigmoid(r) (R h)_n);  h = (1 - z) n + z h."""
    r = torch.sigmoid(x[:, 0] + rh[:, 0])
    z = torch.sigmoid(x[:, 1] + rh[:, 1])
    n = torch.tanh(x[:, 2] + r * rh[:, 2])
    return ((1 - z) * n + z * state[0],)


def slstm(x: Tensor, rh: Tensor, state: State) -> State:
    """Exponential input gate, kept in range by the running maximum m of the log gates.

    m' = max(logsig(f) + m, i), and m' = i while the normaliser is empty (n = 0); c' = e^(logsig(f) + m - m')
    c + e^(i - m') tanh(z);  n' likewise with 1 for tanh(z);  h = sigmoid(o) c' / n'. h does not depend on m',
    which therefore carries no gradient; n' >= 1, so that no floor is needed.
    """
    i, f, z, o = (x + rh).unbind(1)
    _, c, n, m = state
    log_f = logsigmoid(f)
    with torch.no_grad():
        m_new = torch.where(n == 0, i, torch.maximum(log_f + m, i))
    keep = torch.where(n == 0, torch.zeros_like(n), torch.exp(log_f + m - m_new))
    write = torch.exp(i - m_new)
    c = keep * c + write * torch.tanh(z)
    n = keep * n + write
    return torch.sigmoid(o) * c / n, c, n, m_new


def diag_gru(x: Tensor, a: Tensor, state: State) -> State:
    """z, r = sigmoid(x + a h);  n = tanh(x_n + a_n (r h));  h = (1 - z) h + z n."""
    (h,) = state
    z = torch.sigmoid(x[:, 0] + a[0] * h)
    r = torch.sigmoid(x[:, 1] + a[1] * h)
    n = torch.tanh(x[:, 2] + a[2] * (r * h))
    return ((1 - z) * h + z * n,)


def diag_lstm(x: Tensor, a: Tensor, state: State) -> State:
    """f, o = sigmoid(x + a h);  c = f c + (1 - f) tanh(x_z + a_z h);  h = o tanh(c)."""
    h, c = state
    f = torch.sigmoid(x[:, 0] + a[0] * h)
    z = torch.tanh(x[:, 1] + a[1] * h)
    o = torch.sigmoid(x[:, 2] + a[2] * h)
    c = f * c + (1 - f) * z
    return o * torch.tanh(c), c


CELLS: dict[str, Cell] = {
    "elman": Cell(gates=1, states=1, saved=1, step=elman),
    "lstm": Cell(gates=4, states=2, saved=5, step=lstm),
    "gru": Cell(gates=3, states=1, saved=4, step=gru),
    "slstm": Cell(gates=4, states=4, saved=5, step=slstm),
    "diag-gru": Cell(gates=3, states=1, saved=3, step=diag_gru, diagonal=True),
    "diag-lstm": Cell(gates=3, states=2, saved=4, step=diag_lstm, diagonal=True),
}
