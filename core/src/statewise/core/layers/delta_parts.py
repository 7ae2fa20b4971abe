"""What the layers of the delta rule share: maps to heads behind a short convolution, the decay, the output.

    [q, k, v]_t = silu(conv(W x)_t),        q, k divided by their norm per head
    beta_t      = sigmoid(W_b x_t), times 2 where negative eigenvalues are allowed
    g_t         = -exp(A_log) softplus(W_a x_t + b)

With beta in (0, 1) the state can only keep or forget along a key; up to 2 it can also turn it around, which
is what counting and permuting take: Grazzi et al., "Unlocking State-Tracking in Linear RNNs Through Negative
Eigenvalues", 2025.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import blank
from statewise.core.layers.temporal_conv import TemporalConv
from statewise.core.ops import gated_delta_rule
from statewise.core.ops.gated_delta_rule import gated_delta_step, unit

__all__ = ["Decay", "DeltaHeads", "DeltaState", "HeadNorm"]

EPSILON = 1e-5


class DeltaState(NamedTuple):
    """What the layers of the delta rule carry."""

    s: Tensor
    """(B, H, K, V), the matrix that maps keys to values."""
    inputs: Tensor
    """(B, taps - 1, H (K + n K + n V)), the last inputs of the convolution, oldest first."""


class DeltaHeads(nn.Module):
    """H heads that read a state by queries and correct it by n keys, values and strengths per token.

    Args:
        d_model: D.
        heads: H.
        keys: K.
        values: V.
        taps: of the convolution over queries, keys and values.
        householders: n.
        negative: strengths in (0, 2) instead of (0, 1).
    """

    def __init__(
        self, d_model: int, heads: int, keys: int, values: int, taps: int, householders: int, negative: bool
    ) -> None:
        super().__init__()
        self.heads, self.keys, self.values, self.householders = heads, keys, values, householders
        self.taps, self.largest = taps, 2.0 if negative else 1.0
        self.width = heads * (keys + householders * (keys + values))
        self.maps = nn.Linear(d_model, self.width, bias=False)
        self.conv = TemporalConv(self.width, taps)
        self.strengths = nn.Linear(d_model, householders * heads, bias=False)

    def sequence(
        self, x: Tensor, g: Tensor | None, state: DeltaState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, DeltaState]:
        """What is recalled, (B, L, H, V), and the state at each row's end; g (B, L, H) or None."""
        mixed, inputs = self.conv(self.maps(x), state.inputs, reset, lengths)
        q, k, v = self._split(mixed)
        # No write and no decay: the state stands still after the end of a row.
        beta = blank(self._strengths(x), lengths)
        g = None if g is None else blank(g, lengths)
        k, v, beta = (tensor.flatten(1, 2) for tensor in (k, v, beta))
        o, s = gated_delta_rule(q, k, v, beta, g, householders=self.householders, s0=state.s, reset=reset)
        return o.to(x.dtype), DeltaState(s, inputs)

    def step(self, x_t: Tensor, g_t: Tensor | None, state: DeltaState) -> tuple[Tensor, DeltaState]:
        """One step of `sequence`: x_t (B, D), g_t (B, H) or None."""
        mixed, inputs = self.conv.step(self.maps(x_t), state.inputs)
        o, s = gated_delta_step(*self._split(mixed), self._strengths(x_t), g_t, state.s)
        return o.to(x_t.dtype), DeltaState(s, inputs)

    def state(
        self,
        layer: Layer[DeltaState],
        batch_size: int,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> DeltaState:
        """The state before the first step, all zeros."""
        s = layer.zeros(batch_size, self.heads, self.keys, self.values, device=device, dtype=dtype)
        return DeltaState(s, layer.zeros(batch_size, self.taps - 1, self.width, device=device, dtype=dtype))

    def _split(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., width) to queries (..., H, K), keys (..., n, H, K) and values (..., n, H, V)."""
        n, heads = self.householders, self.heads
        sizes = [heads * self.keys, n * heads * self.keys, n * heads * self.values]
        q, k, v = F.silu(mixed).split(sizes, -1)
        q = unit(q.to(state_dtype(q.dtype)).unflatten(-1, (heads, -1)))
        return q, k.unflatten(-1, (n, heads, -1)), v.unflatten(-1, (n, heads, -1))

    def _strengths(self, x: Tensor) -> Tensor:
        """beta, (..., D) to (..., n, H)."""
        logits = self.strengths(x).unflatten(-1, (self.householders, self.heads))
        return self.largest * torch.sigmoid(logits.to(state_dtype(logits.dtype)))


class Decay(nn.Module):
    """The logarithm of a decay per head, computed from the input: (..., D) to (..., H), at most zero.

    Args:
        d_model: D.
        heads: H.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset({"A_log"})

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.rate = nn.Linear(d_model, heads)
        self.A_log = nn.Parameter(torch.log(1 + 15 * torch.rand(heads)))
        # softplus of the bias is log-uniform in [0.001, 0.1]
        dt = torch.exp(math.log(1e-3) + torch.rand(heads) * (math.log(1e-1) - math.log(1e-3)))
        with torch.no_grad():
            self.rate.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x: Tensor) -> Tensor:
        dtype = state_dtype(self.A_log.dtype)
        return -torch.exp(self.A_log.to(dtype)) * F.softplus(self.rate(x).to(dtype))


class HeadNorm(nn.Module):
    """Each head divided by its root mean square, times a weight they share: (..., H, V) to (..., H V).

    Args:
        values: V.
    """

    def __init__(self, values: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(values))

    def forward(self, o: Tensor) -> Tensor:
        return (self.weight * o * torch.rsqrt(o.square().mean(-1, keepdim=True) + EPSILON)).flatten(-2)
