"""PFGNet: convolutions over a window of frames, with large kernels chosen per place by local frequency.

Each frame is encoded by itself to a quarter of the resolution; the codes of the last W frames are stacked as
channels z, and blocks of two branches mix them:

    u = norm(z),   b_K = DW_{K x 1} DW_{1 x K} u - tanh(beta_K) DW_{3 x 3} u        for each kernel size K
    p = softmax over K of W [|sobel u|, |laplace u|, var u]      the three means over channels, per place
    z <- z + s_1 grn(gelu(sum_K p_K b_K))
    z <- z + s_2 grn(W_o (silu(W_g norm(z)) * DW_{3 x 3} W_v norm(z)))
    grn(y) = y + gamma y / |y| + delta           |y| over the places of a channel

The code of the last frame, plus its features at full resolution as a skip, is decoded to the next frame.
Cai, Sun, Wang, Yang and Wu, "PFGNet: A Fully Convolutional Frequency-Guided Peripheral Gating Network for
Efficient Spatiotemporal Predictive Learning", 2026.

Shapes: frames (B, T, C, Y, X), codes (B, T, D, Y / 4, X / 4), z (B T, W D, Y / 4, X / 4). The state is the
codes of the last W - 1 frames, zeros before the first.

Differs from the paper: it predicts the ten frames after a window at once; here each window gives the frame
after it, so that clips of any length train it and a rollout streams. Sizes are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.vision.video.models.frame_model import FrameConfig, FrameModel

__all__ = ["PFGNet", "PFGNetConfig", "presets"]

_EPSILON = 1e-6
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
_LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True, kw_only=True)
class PFGNetConfig(FrameConfig):
    """Settings of `PFGNet`."""

    d_model: int = 12
    """D, features per place of one encoded frame."""
    depth: int = 2
    """Blocks."""
    window: int = 5
    """W, frames that a prediction sees."""
    kernels: tuple[int, ...] = (9, 15, 31)
    """K, the sizes of the large kernels, odd."""
    expansion: int = 4
    """Hidden channels of a block's second branch, per channel of z."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.window >= 2, "window", self.window, "at least 2")
        require(self.expansion >= 1, "expansion", self.expansion, "at least 1")
        odd = bool(self.kernels) and all(k >= 1 and k % 2 == 1 for k in self.kernels)
        require(odd, "kernels", self.kernels, "odd numbers")


presets: dict[str, dict[str, Any]] = {"nano": {}, "micro": {"d_model": 16, "depth": 4, "window": 10}}


class ResponseNorm(nn.Module):
    """y + gamma y / |y| + delta, |y| over the places of each channel.

    Args:
        channels: of y.
    """

    no_decay = frozenset({"gamma", "delta"})

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))
        self.delta = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, y: Tensor) -> Tensor:
        """(B, D, y, x) to the same."""
        length = torch.linalg.vector_norm(y, dim=(-2, -1), keepdim=True)
        return y + self.gamma * (y / (length + _EPSILON)) + self.delta


class PeripheralMixer(nn.Module):
    """Large kernels less their centre, chosen per place by how the image changes there.

    Args:
        channels: of z.
        kernels: K.
    """

    no_decay = frozenset({"beta"})

    def __init__(self, channels: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.along = nn.ModuleList(_depthwise(channels, (1, k)) for k in kernels)
        self.across = nn.ModuleList(_depthwise(channels, (k, 1)) for k in kernels)
        self.centre = nn.ModuleList(_depthwise(channels, (3, 3)) for _ in kernels)
        self.beta = nn.Parameter(torch.zeros(len(kernels), channels, 1, 1))
        self.choice = nn.Conv2d(3, len(kernels), 1)

    def forward(self, u: Tensor) -> Tensor:
        """(B, D, y, x) to the same."""
        shares = torch.softmax(self.choice(frequencies(u)), 1)
        total = torch.zeros_like(u)
        branches = zip(self.along, self.across, self.centre, torch.tanh(self.beta), strict=True)
        for i, (along, across, centre, weight) in enumerate(branches):
            total = total + shares[:, i : i + 1] * (across(along(u)) - weight * centre(u))
        return total


def frequencies(u: Tensor) -> Tensor:
    """Gradient, curvature and variance at each place, over channels: (B, D, y, x) to (B, 3, y, x)."""
    sobel, laplace = u.new_tensor(_SOBEL), u.new_tensor(_LAPLACE)
    filters = torch.stack([sobel, sobel.T, laplace])[:, None]
    flat = u.flatten(0, 1)[:, None]
    right, down, curved = F.conv2d(flat, filters, padding=1).unflatten(0, u.shape[:2]).unbind(2)
    gradient = torch.sqrt(right.square() + down.square() + _EPSILON)
    variance = F.avg_pool2d(u.square(), 3, 1, 1) - F.avg_pool2d(u, 3, 1, 1).square()
    return torch.stack([part.mean(1) for part in (gradient, curved.abs(), variance.clamp(min=0))], 1)


class Block(nn.Module):
    """Peripheral mixing and a gated convolution, each around a residual scaled from nearly zero."""

    no_decay = frozenset({"scales"})

    def __init__(self, channels: int, config: PFGNetConfig) -> None:
        super().__init__()
        hidden = config.expansion * channels
        self.first_norm, self.second_norm = _group_norm(channels), _group_norm(channels)
        self.mixer = PeripheralMixer(channels, config.kernels)
        self.inputs = nn.Conv2d(channels, 2 * hidden, 1)
        self.local = _depthwise(hidden, (3, 3))
        self.out = nn.Conv2d(hidden, channels, 1)
        self.first_response, self.second_response = ResponseNorm(channels), ResponseNorm(channels)
        self.scales = nn.Parameter(torch.full((2, channels, 1, 1), 1e-6))

    def forward(self, z: Tensor) -> Tensor:
        """(B, D, y, x) to the same."""
        mixed = F.gelu(self.mixer(self.first_norm(z)))
        z = z + self.scales[0] * self.first_response(mixed)
        gate, value = self.inputs(self.second_norm(z)).chunk(2, 1)
        return z + self.scales[1] * self.second_response(self.out(F.silu(gate) * self.local(value)))


class Scale(nn.Module):
    """A kernel of k x k made of its row and its column, a 3 x 3 and the place itself, then fewer channels.

    Args:
        channels: of z.
        k: odd.
        width: channels out.
    """

    def __init__(self, channels: int, k: int, width: int) -> None:
        super().__init__()
        self.line = nn.Sequential(_depthwise(channels, (1, k)), _depthwise(channels, (k, 1)))
        self.small, self.place = _depthwise(channels, (3, 3)), _depthwise(channels, (1, 1))
        nn.init.dirac_(self.place.weight, groups=channels)
        self.narrow = nn.Conv2d(channels, width, 1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, D, y, x) to (B, width, y, x)."""
        return self.narrow(self.line(z) + self.small(z) + self.place(z))


class MultiScale(nn.Module):
    """The start of the blocks: kernels of 3, 5 and 7 side by side, a third of the channels each.

    Args:
        channels: of z.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        third = channels // 3
        widths = (channels - 2 * third, third, third)
        self.scales = nn.ModuleList(Scale(channels, k, w) for k, w in zip((3, 5, 7), widths, strict=True))
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, z: Tensor) -> Tensor:
        """(B, D, y, x) to the same."""
        return F.gelu(self.norm(torch.cat([scale(z) for scale in self.scales], 1)))


class PFGNet(FrameModel):
    """Frames encoded one by one, mixed in windows, decoded one by one."""

    def __init__(self, config: PFGNetConfig) -> None:
        super().__init__(config)
        d, channels = config.d_model, config.window * config.d_model
        self.first = _step(config.channels, d, 1)
        self.encoder = nn.Sequential(_step(d, d, 2), _step(d, d, 1), _step(d, d, 2))
        self.spread = MultiScale(channels)
        self.blocks = nn.Sequential(*(Block(channels, config) for _ in range(config.depth)))
        self.decoder = nn.Sequential(_raised(d), _step(d, d, 1), _raised(d))
        self.last = nn.Sequential(_step(d, d, 1), nn.Conv2d(d, config.channels, 1))

    def forward(self, frames: Tensor, state: Any = None) -> tuple[Tensor, Tensor]:
        batch, past = frames.shape[:2], self.config.window - 1
        skip = self.first(2 * frames.flatten(0, 1) - 1)
        codes = self.encoder(skip).unflatten(0, batch)
        if state is None:
            state = codes.new_zeros(batch[0], past, *codes.shape[2:])
        known = torch.cat([state, codes], 1)
        windows = [known[:, i : i + batch[1]] for i in range(past + 1)]
        z = self.blocks(self.spread(torch.cat(windows, 2).flatten(0, 1)))
        decoded = self.decoder(z[:, -self.config.d_model :])
        after = torch.sigmoid(self.last(decoded + skip) - 2.0)  # frames are dark at the start
        return after.unflatten(0, batch), known[:, -past:]


def _step(before: int, after: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1)
    return nn.Sequential(convolution, _group_norm(after, most=2), nn.SiLU())


def _raised(channels: int) -> nn.Sequential:
    """At twice the resolution."""
    convolution = nn.Conv2d(channels, 4 * channels, 3, padding=1)
    return nn.Sequential(convolution, nn.PixelShuffle(2), _group_norm(channels, most=2), nn.SiLU())


def _depthwise(channels: int, kernel: tuple[int, int]) -> nn.Conv2d:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False)


def _group_norm(channels: int, most: int = 32) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, most), channels)
