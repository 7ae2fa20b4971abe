"""Complex layers on real tensors: convolutions, memory over one axis, and gates from means.

A complex feature map is (B, 2C, T, F): the C real parts, then the C imaginary parts. It is kept in
channels-last memory, so that a map is also, without a copy, T F positions of 2C features: what the memory
units want. Letters: B batch, C channels, T frames, F bins, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.layers.fsmn import FSMNConfig, MemoryUnit
from statewise.core.layers.temporal_conv import conv_step
from statewise.core.ops import depthwise_conv, linear_scan

__all__ = ["ComplexConv", "ComplexMemory", "ComplexTransposedConv", "Gate", "RunningMean", "RunningMeanState"]


class ComplexConv(nn.Module):
    """Y = (A + jB) * X + bias, as one real convolution with the block weight [[A, -B], [B, A]].

    A and B are two real convolutions with biases a and b of their own, so the bias is (a - b) + j(a + b).

    Args:
        inputs: complex channels in.
        outputs: complex channels out.
        kernel: (frames, bins).
        stride: bins between outputs.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        self.real = nn.Conv2d(inputs, outputs, kernel)
        self.imaginary = nn.Conv2d(inputs, outputs, kernel)
        self.stride = (1, stride)

    def block(self) -> tuple[Tensor, Tensor]:
        """The real weight (2 outputs, 2 inputs, frames, bins) and bias (2 outputs,)."""
        a, b = self.real, self.imaginary
        weight = torch.cat([torch.cat([a.weight, -b.weight], 1), torch.cat([b.weight, a.weight], 1)])
        return weight, _bias(a, b)

    def forward(self, x: Tensor, padding: int = 0) -> Tensor:
        """X (B, 2 inputs, T, F) with `padding` frames of zeros on both sides."""
        weight, bias = self.block()
        return F.conv2d(x, _channels_last(weight), bias, self.stride, (padding, 0))


class ComplexTransposedConv(nn.Module):
    """The transpose of a strided convolution over bins; the last frame and the first are cut off.

    Args:
        inputs: complex channels of each source; the sources stand behind each other.
        outputs: complex channels out.
        kernel: (frames, bins).
        stride: bins between inputs.
    """

    def __init__(self, inputs: Sequence[int], outputs: int, kernel: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.sources = list(inputs)
        self.real = nn.ConvTranspose2d(sum(inputs), outputs, kernel)
        self.imaginary = nn.ConvTranspose2d(sum(inputs), outputs, kernel)
        self.stride = (1, stride)

    def block(self) -> tuple[Tensor, Tensor]:
        """The real weight (2 inputs, 2 outputs, frames, bins), source by source, and bias (2 outputs,)."""
        rows = []
        real, imaginary = self.real.weight, self.imaginary.weight
        for a, b in zip(real.split(self.sources), imaginary.split(self.sources), strict=True):
            rows += [torch.cat([a, b], 1), torch.cat([-b, a], 1)]
        return torch.cat(rows), _bias(self.real, self.imaginary)

    def forward(self, x: Tensor) -> Tensor:
        """X (B, 2 inputs, T, F) to (B, 2 outputs, T - 1, F'): frame t sees the inputs t and t + 1."""
        weight, bias = self.block()
        return F.conv_transpose2d(x, _channels_last(weight), bias, self.stride, (1, 0))


class ComplexMemory(nn.Module):
    """A complex FSMN over one axis: Re y = R(Re x) - I(Im x), Im y = R(Im x) + I(Re x); causal in that axis.

    Args:
        channels: C.
        hidden: H of the two units.
        order: taps on the present and the past.
        rotates: add (1 + j) x in place of x, as units with a skip connection inside do.
    """

    def __init__(self, channels: int, hidden: int, order: int, *, rotates: bool) -> None:
        super().__init__()
        config = FSMNConfig(d_model=channels, d_hidden=hidden, look_back=order)
        self.real, self.imaginary = MemoryUnit(channels, config), MemoryUnit(channels, config)
        self.rotates = rotates

    @property
    def carried(self) -> tuple[int, int]:
        """Shape of the tail of one sequence: (order - 1, 4C)."""
        return self.real.config.look_back - 1, 4 * self.real.config.d_model

    def forward(self, x: Tensor, tail: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From x (N, L, 2C) to y (N, L, 2C), and the tail (N, order - 1, 4C) for what follows."""
        p, taps = self._bottleneck(x), self._taps()
        if x.shape[1] == 1 and tail is not None:
            filtered, tail = conv_step(p[:, 0], taps, tail)
            filtered = filtered[:, None]
        elif torch.compiler.is_exporting():
            filtered, tail = _plain_filter(p, taps), p[:, :0]
        else:
            filtered, tail = depthwise_conv(p, taps, None, tail)
        return self._skip(x) + filtered.unflatten(-1, (2, -1)).sum(-2), tail

    def _bottleneck(self, x: Tensor) -> Tensor:
        """R(Re x), R(Im x), -I(Im x), I(Re x) before their filters: (N, L, 4C).

        In this order the two halves add up to the parts of the product. Two matrix products do it all: the
        first makes the hidden units R(Re x), I(Re x), R(Im x), I(Im x), the second has a block for each.
        """
        r, i = self.real, self.imaginary
        weight = torch.cat([r.hidden.weight, i.hidden.weight])
        bias = torch.cat([r.hidden.bias, i.hidden.bias])
        hidden = F.relu(F.linear(x.unflatten(-1, (2, -1)), weight, bias)).flatten(-2)
        real, imaginary = r.project.weight, i.project.weight
        none = torch.zeros_like(real)
        rows = [
            [real, none, none, none],
            [none, none, real, none],
            [none, none, none, -imaginary],
            [none, imaginary, none, none],
        ]
        return F.linear(hidden, torch.cat([torch.cat(row, dim=1) for row in rows]))

    def _taps(self) -> Tensor:
        """The filters (order, 4C), with one added to the present tap: it lets p itself through."""
        real, imaginary = self.real.back, self.imaginary.back
        taps = torch.cat((real, real, imaginary, imaginary), dim=1)
        through = torch.zeros_like(taps)
        through[-1] = 1
        return taps + through

    def _skip(self, x: Tensor) -> Tensor:
        if not self.rotates:
            return x
        re, im = x.chunk(2, dim=-1)
        return torch.cat([re - im, re + im], dim=-1)


class RunningMeanState(NamedTuple):
    """A mean over the frames so far."""

    mean: Tensor
    """(B, D)"""
    seen: Tensor
    """Frames seen, at most the memory; (B, 1)."""


class RunningMean(nn.Module):
    """The mean over the past frames, which forgets: m_t = m_{t-1} + (x_t - m_{t-1}) / n_t.

    n_t = min(t, memory): the exact mean at the beginning, an exponential one later, so that a file of an hour
    is treated as the first seconds of it were.

    Args:
        memory: frames.
    """

    def __init__(self, memory: int) -> None:
        super().__init__()
        self.memory = memory

    def forward(self, x: Tensor, state: RunningMeanState) -> tuple[Tensor, RunningMeanState]:
        """From x (B, T, D) to the means (B, T, D), each with its own frame included."""
        steps = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
        count = (state.seen + steps).clamp(max=self.memory)[..., None]
        if x.shape[1] == 1:
            mean = state.mean[:, None] + (x - state.mean[:, None]) / count
        else:
            mean, _ = linear_scan(1 - 1 / count, x / count, state.mean)
        return mean, RunningMeanState(mean[:, -1], count[:, -1])

    def initial_state(self, batch_size: int, width: int, like: Tensor) -> RunningMeanState:
        """No frame seen yet."""
        return RunningMeanState(like.new_zeros(batch_size, width), like.new_zeros(batch_size, 1))


class Gate(nn.Module):
    """Squeeze and excitation of a complex map: each part of a channel is scaled by what the means say.

        g_re = f(m_re) - h(m_im),   g_im = f(m_im) + h(m_re),   y = g_re Re x + j g_im Im x

    with two small networks f and h that end in a sigmoid. It is not a complex product. The means are over
    bins and over all frames, or over the past ones.

    Args:
        channels: C.
        reduction: C / reduction hidden units.
        memory: frames of the running mean; None takes the mean of the whole signal.
    """

    def __init__(self, channels: int, reduction: int, memory: int | None) -> None:
        super().__init__()
        self.real, self.imaginary = (_squeeze(channels, reduction) for _ in range(2))
        self.mean = None if memory is None else RunningMean(memory)

    def forward(self, x: Tensor, state: RunningMeanState | None) -> tuple[Tensor, RunningMeanState | None]:
        """Scale a map x (B, 2C, T, F)."""
        means = x.mean(dim=3).transpose(1, 2)
        if self.mean is None or state is None:
            means = means.mean(dim=1, keepdim=True)
        else:
            means, state = self.mean(means, state)
        re, im = means.chunk(2, dim=-1)
        gates = [self.real(re) - self.imaginary(im), self.real(im) + self.imaginary(re)]
        return x * torch.cat(gates, dim=-1).transpose(1, 2)[..., None], state


def _bias(a: nn.Conv2d | nn.ConvTranspose2d, b: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    if a.bias is None or b.bias is None:
        raise TypeError("both parts of a complex convolution have a bias")
    return torch.cat([a.bias - b.bias, a.bias + b.bias])


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def _plain_filter(p: Tensor, taps: Tensor) -> Tensor:
    """`depthwise_conv` from silence as a convolution of torch, which other runtimes know: p (N, L, D)."""
    padded = F.pad(p.transpose(1, 2), (taps.shape[0] - 1, 0))
    return F.conv1d(padded, taps.T[:, None], groups=taps.shape[1]).transpose(1, 2)


def _squeeze(channels: int, reduction: int) -> nn.Sequential:
    hidden = max(1, channels // reduction)
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())
