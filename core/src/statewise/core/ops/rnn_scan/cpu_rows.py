"""One step of each cell for one row of the batch and one head, and its gradient, for use inside numba
kernels.

W is the width of a head. `x` and `rh` (G, W) are what the inputs and R h contribute to the gates; `state` (S,
W) enters the step and `new` (S, W) leaves it; `kept` (K, W) is what the gradient needs. In a gradient, `d`
(S, W) holds the gradient of the leaving state and becomes the part of the gradient of the entering state that
does not pass through the gates; `dx` and `dz` (G, W) receive the gradients of `x` and of `rh`.

Each loop writes one array and reads few: LLVM checks every written array against every read one for overlap
before it vectorises a loop, and gives up when there are many.
"""

from __future__ import annotations

import math
from typing import Any

from statewise.core.ops.elementary import exp, sigmoid, tanh
from statewise.core.ops.kernel import kernel

__all__ = [
    "CODES",
    "OPTIONS",
    "backward",
    "backward_diagonal",
    "copy",
    "copy_rows",
    "fill",
    "fill_rows",
    "forward",
]

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "arcp"},
    "_nrt": False,  # else every row would count references to the arrays it is handed
}
ELMAN, LSTM, GRU, SLSTM, DIAG_GRU, DIAG_LSTM = range(6)
CODES = {
    "elman": ELMAN,
    "lstm": LSTM,
    "gru": GRU,
    "slstm": SLSTM,
    "diag-gru": DIAG_GRU,
    "diag-lstm": DIAG_LSTM,
}


@kernel(no_cpython_wrapper=True, **OPTIONS)
def fill(target, value):
    """Set a row; an assignment to a slice takes numba seconds to compile."""
    for k in range(len(target)):
        target[k] = value


@kernel(no_cpython_wrapper=True, **OPTIONS)
def copy(source, target):
    """Copy a row."""
    for k in range(len(target)):
        target[k] = source[k]


@kernel(no_cpython_wrapper=True, **OPTIONS)
def fill_rows(target, value):
    """Set some rows."""
    for i in range(len(target)):
        fill(target[i], value)


@kernel(no_cpython_wrapper=True, **OPTIONS)
def copy_rows(source, target):
    """Copy some rows."""
    for i in range(len(target)):
        copy(source[i], target[i])


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _sigmoid_of_sum(a, b, out):
    for k in range(len(out)):
        out[k] = sigmoid(a[k] + b[k])


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _tanh_of_sum(a, b, out):
    for k in range(len(out)):
        out[k] = tanh(a[k] + b[k])


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _blend(gate, a, other, b, out):
    """`gate * a + other * b`."""
    for k in range(len(out)):
        out[k] = gate[k] * a[k] + other[k] * b[k]


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _sigmoid_slope(d, factor, gate, out):
    """Gradient through a sigmoid whose value is `gate` and whose use multiplies it by `factor`."""
    for k in range(len(out)):
        out[k] = d[k] * factor[k] * gate[k] * (1 - gate[k])


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _tanh_slope(d, factor, value, out):
    """Gradient through a tanh whose value is `value` and whose use multiplies it by `factor`."""
    for k in range(len(out)):
        out[k] = d[k] * factor[k] * (1 - value[k] * value[k])


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _elman(x, rh, new, kept):
    _tanh_of_sum(x[0], rh[0], kept[0])
    copy(kept[0], new[0])


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _elman_gradient(kept, d, dx):
    for k in range(d.shape[1]):
        dx[0, k] = d[0, k] * (1 - kept[0, k] * kept[0, k])
    fill(d[0], 0)


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _lstm(x, rh, state, new, kept):
    for gate in (0, 1, 3):
        _sigmoid_of_sum(x[gate], rh[gate], kept[gate])
    _tanh_of_sum(x[2], rh[2], kept[2])
    _blend(kept[1], state[1], kept[0], kept[2], new[1])
    cell, squashed, out, gate = new[1], kept[4], new[0], kept[3]
    for k in range(len(out)):
        squashed[k] = tanh(cell[k])
    for k in range(len(out)):
        out[k] = gate[k] * squashed[k]


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _lstm_gradient(state, kept, d, dx):
    i, f, g, o, squashed, dh, dc = kept[0], kept[1], kept[2], kept[3], kept[4], d[0], d[1]
    _sigmoid_slope(dh, squashed, o, dx[3])
    for k in range(len(dc)):
        dc[k] += dh[k] * o[k] * (1 - squashed[k] * squashed[k])
    _sigmoid_slope(dc, g, i, dx[0])
    _sigmoid_slope(dc, state[1], f, dx[1])
    _tanh_slope(dc, i, g, dx[2])
    for k in range(len(dc)):
        dc[k] *= f[k]
    fill(dh, 0)


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _gru(x, rh, state, new, kept):
    for gate in (0, 1):
        _sigmoid_of_sum(x[gate], rh[gate], kept[gate])
    copy(rh[2], kept[3])
    r, z, n, q, pre, h, out = kept[0], kept[1], kept[2], kept[3], x[2], state[0], new[0]
    for k in range(len(out)):
        n[k] = tanh(pre[k] + r[k] * q[k])
    for k in range(len(out)):
        out[k] = n[k] + z[k] * (h[k] - n[k])


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _gru_gradient(state, kept, d, dx, dz):
    r, z, n, q, h, dh = kept[0], kept[1], kept[2], kept[3], state[0], d[0]
    dn, du = dx[2], dx[1]
    for k in range(len(dh)):
        dn[k] = dh[k] * (1 - z[k]) * (1 - n[k] * n[k])
    for k in range(len(dh)):
        du[k] = dh[k] * (h[k] - n[k]) * z[k] * (1 - z[k])
    _sigmoid_slope(dn, q, r, dx[0])
    last = dz[2]
    for k in range(len(dh)):
        last[k] = dn[k] * r[k]
    copy(dx[0], dz[0])
    copy(dx[1], dz[1])
    for k in range(len(dh)):
        dh[k] *= z[k]


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _slstm(x, rh, state, new, kept):
    """The gates are kept as their effects: `write` = e^(i - m'), `keep` = e^(log f + m - m'), and
    sigmoid(f).
    """
    for k in range(state.shape[1]):
        i, f = x[0, k] + rh[0, k], x[1, k] + rh[1, k]
        opened = sigmoid(f)
        kept[4, k] = opened
        # log sigmoid(f) = min(f, 0) - log(1 + e^-|f|), and 1 + e^-|f| = 1 / max(sigmoid(f), 1 - sigmoid(f))
        carried = min(f, 0 * f) + math.log(max(opened, 1 - opened)) + state[3, k]
        empty = state[2, k] == 0
        m = i if empty or i > carried else carried
        kept[0, k] = exp(i - m)
        kept[1, k] = 0 if empty else exp(carried - m)
        new[3, k] = m
    _tanh_of_sum(x[2], rh[2], kept[2])
    _sigmoid_of_sum(x[3], rh[3], kept[3])
    _blend(kept[1], state[1], kept[0], kept[2], new[1])
    write, keep, n_old, n_new = kept[0], kept[1], state[2], new[2]
    for k in range(len(n_new)):
        n_new[k] = keep[k] * n_old[k] + write[k]
    o, c_new, out = kept[3], new[1], new[0]
    for k in range(len(out)):
        out[k] = o[k] * c_new[k] / n_new[k]


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _slstm_gradient(state, kept, d, dx):
    """M carries no gradient: h does not depend on it."""
    for k in range(d.shape[1]):
        write, keep, z, o, opened = kept[0, k], kept[1, k], kept[2, k], kept[3, k], kept[4, k]
        c_old, n_old = state[1, k], state[2, k]
        c, n = keep * c_old + write * z, keep * n_old + write
        dh = d[0, k]
        dc = d[1, k] + dh * o / n
        dn = d[2, k] - dh * o * c / (n * n)
        dx[0, k] = (dc * z + dn) * write
        dx[1, k] = (dc * c_old + dn * n_old) * keep * (1 - opened)
        dx[2, k] = dc * write * (1 - z * z)
        dx[3, k] = dh * c / n * o * (1 - o)
        d[0, k] = 0
        d[1, k] = dc * keep
        d[2, k] = dn * keep
        d[3, k] = 0


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _diag_gru(x, a, state, new, kept):
    h, z, r, n, out = state[0], kept[0], kept[1], kept[2], new[0]
    for k in range(len(h)):
        z[k] = sigmoid(x[0, k] + a[0, k] * h[k])
    for k in range(len(h)):
        r[k] = sigmoid(x[1, k] + a[1, k] * h[k])
    for k in range(len(h)):
        n[k] = tanh(x[2, k] + a[2, k] * r[k] * h[k])
    for k in range(len(h)):
        out[k] = h[k] + z[k] * (n[k] - h[k])


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _diag_gru_gradient(state, kept, d, dx, a, da):
    for k in range(d.shape[1]):
        z, r, n, h, dh = kept[0, k], kept[1, k], kept[2, k], state[0, k], d[0, k]
        dn = dh * z * (1 - n * n)
        dz = dh * (n - h) * z * (1 - z)
        through = dn * a[2, k]
        dr = through * h * r * (1 - r)
        dx[0, k], dx[1, k], dx[2, k] = dz, dr, dn
        da[0, k] += dz * h
        da[1, k] += dr * h
        da[2, k] += dn * r * h
        d[0, k] = dh * (1 - z) + dz * a[0, k] + dr * a[1, k] + through * r


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _diag_lstm(x, a, state, new, kept):
    h, c, f, z, o, squashed = state[0], state[1], kept[0], kept[1], kept[2], kept[3]
    for k in range(len(h)):
        f[k] = sigmoid(x[0, k] + a[0, k] * h[k])
    for k in range(len(h)):
        z[k] = tanh(x[1, k] + a[1, k] * h[k])
    for k in range(len(h)):
        o[k] = sigmoid(x[2, k] + a[2, k] * h[k])
    c_new, out = new[1], new[0]
    for k in range(len(h)):
        c_new[k] = z[k] + f[k] * (c[k] - z[k])
    for k in range(len(h)):
        squashed[k] = tanh(c_new[k])
    for k in range(len(h)):
        out[k] = o[k] * squashed[k]


@kernel(no_cpython_wrapper=True, **OPTIONS)
def _diag_lstm_gradient(state, kept, d, dx, a, da):
    for k in range(d.shape[1]):
        f, z, o, squashed, h = kept[0, k], kept[1, k], kept[2, k], kept[3, k], state[0, k]
        dh = d[0, k]
        dc = d[1, k] + dh * o * (1 - squashed * squashed)
        do = dh * squashed * o * (1 - o)
        df = dc * (state[1, k] - z) * f * (1 - f)
        dz = dc * (1 - f) * (1 - z * z)
        dx[0, k], dx[1, k], dx[2, k] = df, dz, do
        da[0, k] += df * h
        da[1, k] += dz * h
        da[2, k] += do * h
        d[0, k] = df * a[0, k] + dz * a[1, k] + do * a[2, k]
        d[1, k] = dc * f


@kernel(no_cpython_wrapper=True, **OPTIONS)
def forward(cell, x, rh, state, new, kept):
    """One step of the cell numbered `cell`; for the diagonal ones `rh` is the vector per gate."""
    if cell == ELMAN:
        _elman(x, rh, new, kept)
    elif cell == LSTM:
        _lstm(x, rh, state, new, kept)
    elif cell == GRU:
        _gru(x, rh, state, new, kept)
    elif cell == SLSTM:
        _slstm(x, rh, state, new, kept)
    elif cell == DIAG_GRU:
        _diag_gru(x, rh, state, new, kept)
    else:
        _diag_lstm(x, rh, state, new, kept)


@kernel(no_cpython_wrapper=True, **OPTIONS)
def backward(cell, state, kept, d, dx, dz):
    """Gradient of one step of a dense cell."""
    if cell == GRU:
        _gru_gradient(state, kept, d, dx, dz)
        return
    if cell == ELMAN:
        _elman_gradient(kept, d, dx)
    elif cell == LSTM:
        _lstm_gradient(state, kept, d, dx)
    else:
        _slstm_gradient(state, kept, d, dx)
    copy_rows(dx, dz)


@kernel(no_cpython_wrapper=True, **OPTIONS)
def backward_diagonal(cell, state, kept, d, dx, a, da):
    """Gradient of one step of a diagonal cell; adds to `da`."""
    if cell == DIAG_GRU:
        _diag_gru_gradient(state, kept, d, dx, a, da)
    else:
        _diag_lstm_gradient(state, kept, d, dx, a, da)
