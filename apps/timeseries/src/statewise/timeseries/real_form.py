"""Recurrences with complex states in real numbers, for formats that know no others.

    h_t = a h_{t-1} + W u_t,    y_t = Re(C h_t) + D u_t

With h = p + iq and a = r + is,

    p_t = r p_{t-1} - s q_{t-1} + Re(W) u_t,    q_t = r q_{t-1} + s p_{t-1} + Im(W) u_t,
    y_t = C' [p_t, q_t] + D u_t

S5 (Smith et al., 2023) and LRU (Orvieto et al., 2023) are both of this form once their parameters are
fixed: only the numbers differ. The loop over time is written out, so that a trace of it holds nothing but
sums and products.

Shapes: u (B, L, D), p and q (B, N), W (2N, D), C' (D, 2N).
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from statewise.core.layers.contract import Layer
from statewise.core.layers.lru import LRU
from statewise.core.layers.s5 import S5

__all__ = ["with_real_states"]


class _RealRecurrence(nn.Module):
    """What a fitted S5 or LRU does to whole sequences from a state of zeros."""

    decay: Tensor
    inputs: Tensor
    outputs: Tensor
    direct: Tensor

    def __init__(self, layer: S5 | LRU) -> None:
        super().__init__()
        width = layer.config.d_model
        steps = cast(Layer[Any], layer)
        empty = steps.initial_state(width)
        # one step from a state of zeros is the write of each input, one without input from ones the decay
        writes = steps.step(torch.eye(width), empty)[1].h
        decay = steps.step(torch.zeros(width, width), empty._replace(h=torch.ones_like(empty.h)))[1].h[0]
        scale = 2.0 if isinstance(layer, S5) and layer.config.conj_sym else 1.0
        read = torch.cat([scale * layer.C[..., 0], -scale * layer.C[..., 1]], dim=1)
        self.register_buffer("decay", torch.view_as_real(decay).detach().clone())
        self.register_buffer("inputs", torch.cat([writes.real, writes.imag], dim=1).T.detach().clone())
        self.register_buffer("outputs", read.detach().clone())
        self.register_buffer("direct", layer.D.detach().clone())

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> None:
        """A sequence is one whole: nothing is carried into it."""

    def forward(
        self, x: Tensor, state: None = None, reset: None = None, lengths: None = None
    ) -> tuple[Tensor, None]:
        """(B, L, D) to (B, L, D); it keeps no state."""
        real, imaginary = self.decay[:, 0], self.decay[:, 1]
        writes = F.linear(x, self.inputs)
        count = len(real)
        p, q = torch.zeros_like(writes[:, 0, :count]), torch.zeros_like(writes[:, 0, count:])
        states = []
        for t in range(x.shape[1]):
            p, q = (
                real * p - imaginary * q + writes[:, t, :count],
                real * q + imaginary * p + writes[:, t, count:],
            )
            states.append(torch.cat([p, q], dim=-1))
        return F.linear(torch.stack(states, dim=1), self.outputs) + self.direct * x, None


def with_real_states(model: nn.Module) -> nn.Module:
    """Put the real form in the place of every S5 and LRU of a model; the same model."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, (S5, LRU)):
                setattr(module, name, _RealRecurrence(child))
    return model
