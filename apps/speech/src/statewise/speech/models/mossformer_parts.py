"""The two kinds of blocks of MossFormer2: gated attention in groups, and gated memory without recurrence.

Zhao et al., "MossFormer2: Combining Transformer and RNN-Free Recurrent Network for Enhanced Time-Domain
Monaural Speech Separation", ICASSP 2024. Letters: B batch, L length, D width, E inner width, G group, K width
of queries and keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.ops.depthwise_conv import depthwise_conv

__all__ = ["ConvModule", "GatedAttention", "GatedMemory", "Rotary"]

TAPS = 17
"""Of the depthwise convolution behind every projection."""
ROTATED = 32
"""Features of queries and keys that are rotated."""
ORDER = 20
"""Taps of the dilated memory to each side."""


class ScaleNorm(nn.Module):
    """The vector divided by its length, times sqrt(D) and one learnt factor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.factor, self.scale = nn.Parameter(torch.ones(1)), width**-0.5

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.norm(dim=-1, keepdim=True) * self.scale).clamp(min=1e-5) * self.factor


class ConvModule(nn.Module):
    """Norm, linear map, SiLU, plus a depthwise convolution of it: (B, L, D) to (B, L, D')."""

    def __init__(self, inputs: int, outputs: int, norm: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm, self.linear = norm, nn.Linear(inputs, outputs)
        self.conv = nn.Conv1d(outputs, outputs, TAPS, padding=TAPS // 2, groups=outputs, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.linear(self.norm(x)))
        return self.dropout(x + _filtered(x, self.conv.weight[:, 0]))


class Rotary(nn.Module):
    """Rotates pairs of the first features by an angle that grows with the position; shared by all blocks.

    The frequencies are not trained; they count among the parameters as they do in the released model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = min(ROTATED, width)
        steps = torch.arange(0, self.width, 2) / self.width
        self.frequencies = nn.Parameter(10_000.0**-steps, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate x (B, L, ..., K) along its second axis."""
        positions = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        angle = positions[:, None] * self.frequencies
        angle = angle.reshape(1, x.shape[1], *[1] * (x.ndim - 3), -1)
        pairs, rest = x[..., : self.width].unflatten(-1, (-1, 2)), x[..., self.width :]
        a, b = pairs.unbind(-1)
        turned = torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)
        return torch.cat([turned.flatten(-2), rest], dim=-1)


class GatedAttention(nn.Module):
    """Softmax-free attention within groups of G steps, plus linear attention over all of them.

        A = relu(q k^T / G)^2,   o(v) = A v + q' (k'^T v) / L
        x <- x + out( (o(u) v) sigmoid(o(v) u) )

    Half of the features are delayed by one step first.

    Args:
        width: D.
        keys: K.
        group: G.
        rotary: shared by all blocks.
        dropout: of projections and of the weights within groups.
    """

    def __init__(self, width: int, keys: int, group: int, rotary: Rotary, dropout: float) -> None:
        super().__init__()
        self.group, self.rotary = group, rotary
        self.hidden = ConvModule(width, 4 * width, ScaleNorm(width), dropout)
        self.keys = ConvModule(width, keys, ScaleNorm(width), dropout)
        self.gain = nn.Parameter(0.02 * torch.randn(4, keys))
        self.offset = nn.Parameter(torch.zeros(4, keys))
        self.out = ConvModule(2 * width, width, ScaleNorm(2 * width), dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        delayed, rest = x.chunk(2, dim=-1)
        shifted = torch.cat([F.pad(delayed, (0, 0, 1, -1)), rest], dim=-1)
        v, u = self.hidden(shifted).chunk(2, dim=-1)
        heads = self.keys(shifted)[:, :, None] * self.gain + self.offset
        at_v, at_u = self._attend(self.rotary(heads), torch.cat([v, u], dim=-1)).chunk(2, dim=-1)
        return x + self.out(at_u * v * torch.sigmoid(at_v * u))

    def _attend(self, heads: Tensor, values: Tensor) -> Tensor:
        """Both attentions of values (B, L, 4D) by heads (B, L, 4, K)."""
        length = values.shape[1]
        more = -length % self.group
        padded = F.pad(heads, (0, 0, 0, 0, 0, more))
        q, lin_q, k, lin_k = padded.unflatten(1, (-1, self.group)).unbind(3)
        grouped = F.pad(values, (0, 0, 0, more)).unflatten(1, (-1, self.group))
        weights = self.dropout(F.relu(q @ k.transpose(-1, -2) / self.group).square())
        memory = torch.einsum("bgnk,bgnd->bkd", lin_k, grouped) / length
        linear = torch.einsum("bgnk,bkd->bgnd", lin_q, memory)
        return (weights @ grouped + linear).flatten(1, 2)[:, :length]


class GatedMemory(nn.Module):
    """A gated unit around a dilated memory: what stands in for a recurrence, and looks both ways.

        y = narrow(x),   y <- v(y) memory(u(y)) + y,   x <- x + widen(y)

    Args:
        width: D.
        inner: E.
        dropout: of its projections.
    """

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.narrow = nn.Linear(width, inner)
        self.bend = nn.PReLU()
        self.before, self.after = nn.LayerNorm(inner), nn.LayerNorm(inner)
        self.u, self.v = (ConvModule(inner, inner, nn.LayerNorm(inner), dropout) for _ in range(2))
        self.memory = _DilatedMemory(inner)
        self.widen = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(self.bend(self.narrow(x)))
        y = self.v(y) * self.memory(self.u(y)) + y
        return x + self.widen(self.after(y))


class _DilatedMemory(nn.Module):
    """An FSMN whose filter is two dilated ones, densely connected: (B, L, E)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.project = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        taps = 2 * ORDER - 1
        self.filters = nn.ModuleList(
            nn.Conv1d(width * (i + 1), width, taps, dilation=2**i, padding="same", groups=width, bias=False)
            for i in range(2)
        )
        self.norms = nn.ModuleList(nn.InstanceNorm1d(width, affine=True) for _ in range(2))
        self.bends = nn.ModuleList(nn.PReLU(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        seen = out = self.project(F.relu(self.hidden(x)))
        for i, (conv, norm, bend) in enumerate(zip(self.filters, self.norms, self.bends, strict=True)):
            # output e reads the inputs e (i + 1) to e (i + 1) + i
            parts = [_filtered(seen[..., j :: i + 1], conv.weight[:, j], 2**i) for j in range(i + 1)]
            out = bend(norm(sum(parts).transpose(1, 2))).transpose(1, 2)
            seen = torch.cat([out, seen], dim=2)
        return x + out


def _filtered(x: Tensor, taps: Tensor, dilation: int = 1) -> Tensor:
    """Each feature of x (B, L, D) filtered by its own odd number of taps (D, T), centred; zero outside."""
    half = taps.shape[1] // 2
    length, more = x.shape[1], -x.shape[1] % dilation
    # the steps of each phase side by side, as features of their own, and room for what looks ahead
    x = F.pad(x, (0, 0, 0, more + half * dilation)).unflatten(1, (-1, dilation)).flatten(2)
    y, _ = depthwise_conv(x, taps.t().repeat(1, dilation))
    return y[:, half:].unflatten(2, (dilation, -1)).flatten(1, 2)[:, :length]
