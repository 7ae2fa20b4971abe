"""PGN against the zero-padded convolution of the paper, and its reach."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from statewise.core.layers.pgn import PGN, PGNConfig


def test_equals_the_convolution_of_the_paper() -> None:
    layer = PGN(PGNConfig(d_model=3, d_output=2, window=4)).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    kernel = layer.history.weight.view(2, 4, 3).movedim(1, 2)
    rows = F.pad(x, (0, 0, 4, 0))[:, :-1].movedim(1, 2)
    h = F.conv1d(rows, kernel, layer.history.bias).movedim(1, 2)
    g, c = layer.gates(torch.cat([x, h], -1)).chunk(2, -1)
    gate = torch.sigmoid(g)
    torch.testing.assert_close(layer(x)[0], gate * h + (1 - gate) * torch.tanh(c))


def test_reach_is_the_window() -> None:
    layer = PGN(PGNConfig(d_model=1, window=3))
    x = torch.randn(1, 8, 1, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x)[0][0, 6].sum(), x)
    assert (grad[0, :, 0] != 0).tolist() == [False, False, False, True, True, True, True, False]
