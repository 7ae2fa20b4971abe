"""The cells of `rnn_scan` differentiated, in plain torch: what flows back through one step.

Written out because autograd does not record inside an operator, where a compiled graph calls this. Letters
as in `cells`; dp is the gradient of what enters the gates.

A function takes x (B, G, D), r (R h + bias (B, G, D), or a (G, D) for diagonal cells), the state that
entered the step and the gradient d of the state that left it, and returns the gradients of x, of r (per row
for diagonal cells, (B, G, D)), and of the state apart from what flows through r in dense cells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from statewise.core.ops.rnn_scan.cells import State

__all__ = ["GRADIENTS"]

Flow = tuple[Tensor, Tensor, State]


def elman(x: Tensor, r: Tensor, state: State, d: State) -> Flow:
    """Dp = dh (1 - h'^2)."""
    dp = _tanh(d[0][:, None], torch.tanh(x + r))
    return dp, dp, (torch.zeros_like(d[0]),)


def lstm(x: Tensor, r: Tensor, state: State, d: State) -> Flow:
    """All through c': dc = dc' + dh o (1 - tanh(c')^2)."""
    i, f, g, o = (x + r).unbind(1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = state[1]
    squashed = torch.tanh(f * c + i * g)
    dc = d[1] + _tanh(d[0] * o, squashed)
    dp = torch.stack(
        [_sigmoid(dc * g, i), _sigmoid(dc * c, f), _tanh(dc * i, g), _sigmoid(d[0] * squashed, o)], 1
    )
    return dp, dp, (torch.zeros_like(dc), dc * f)


def gru(x: Tensor, r: Tensor, state: State, d: State) -> Flow:
    """The candidate sees r_n times its gate, which the other gates do not."""
    (h,), (dh,) = state, d
    gate, z = torch.sigmoid(x[:, 0] + r[:, 0]), torch.sigmoid(x[:, 1] + r[:, 1])
    n = torch.tanh(x[:, 2] + gate * r[:, 2])
    dn = _tanh(dh * (1 - z), n)
    d_gate, dz = _sigmoid(dn * r[:, 2], gate), _sigmoid(dh * (h - n), z)
    return torch.stack([d_gate, dz, dn], 1), torch.stack([d_gate, dz, dn * gate], 1), (dh * z,)


def slstm(x: Tensor, r: Tensor, state: State, d: State) -> Flow:
    """The new m is a constant; the m that entered is not."""
    i, f, z, o = (x + r).unbind(1)
    _, c, n, m = state
    log_f, z, o = logsigmoid(f), torch.tanh(z), torch.sigmoid(o)
    m_new = torch.where(n == 0, i, torch.maximum(log_f + m, i))
    keep = torch.where(n == 0, torch.zeros_like(n), torch.exp(log_f + m - m_new))
    write = torch.exp(i - m_new)
    n_new = keep * n + write
    mean = (keep * c + write * z) / n_new
    dc = d[1] + d[0] * o / n_new
    dn = d[2] - d[0] * o * mean / n_new
    d_keep = (dc * c + dn * n) * keep
    d_write = (dc * z + dn) * write
    dp = torch.stack([d_write, d_keep * torch.sigmoid(-f), _tanh(dc * write, z), _sigmoid(d[0] * mean, o)], 1)
    return dp, dp, (torch.zeros_like(dc), dc * keep, dn * keep, d_keep)


def diag_gru(x: Tensor, a: Tensor, state: State, d: State) -> Flow:
    """The weights act on h by unit, the candidate's on the gated h."""
    (h,), (dh,) = state, d
    z, gate = torch.sigmoid(x[:, 0] + a[0] * h), torch.sigmoid(x[:, 1] + a[1] * h)
    n = torch.tanh(x[:, 2] + a[2] * (gate * h))
    dn = _tanh(dh * z, n)
    dz, d_gate = _sigmoid(dh * (n - h), z), _sigmoid(dn * a[2] * h, gate)
    da = torch.stack([dz * h, d_gate * h, dn * gate * h], 1)
    return (
        torch.stack([dz, d_gate, dn], 1),
        da,
        (dh * (1 - z) + dn * a[2] * gate + dz * a[0] + d_gate * a[1],),
    )


def diag_lstm(x: Tensor, a: Tensor, state: State, d: State) -> Flow:
    """As lstm with i = 1 - f; the weights act on h by unit."""
    h, c = state
    f, z, o = (x + a * h[:, None]).unbind(1)
    f, z, o = torch.sigmoid(f), torch.tanh(z), torch.sigmoid(o)
    squashed = torch.tanh(f * c + (1 - f) * z)
    dc = d[1] + _tanh(d[0] * o, squashed)
    dp = torch.stack([_sigmoid(dc * (c - z), f), _tanh(dc * (1 - f), z), _sigmoid(d[0] * squashed, o)], 1)
    return dp, dp * h[:, None], ((dp * a).sum(1), dc * f)


GRADIENTS: dict[str, Callable[..., Flow]] = {
    "elman": elman,
    "lstm": lstm,
    "gru": gru,
    "slstm": slstm,
    "diag-gru": diag_gru,
    "diag-lstm": diag_lstm,
}


def _sigmoid(d: Tensor, y: Tensor) -> Tensor:
    """The gradient before a sigmoid whose value is y."""
    return d * y * (1 - y)


def _tanh(d: Tensor, y: Tensor) -> Tensor:
    """The gradient before a tanh whose value is y."""
    return d * (1 - y * y)
