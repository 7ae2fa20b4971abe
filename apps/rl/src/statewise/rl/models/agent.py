"""A policy and a value on top of a memory: the network of the on-policy agents.

    e_t = encode(o_t, a_{t-1}),  m_t = memory(e_1, ..., e_t),  logits or mean = actor(m_t),  v = critic(m_t)

It is a layer itself: whole rollouts are read at once, with `reset` where an episode begins, and acting is one
`step` of constant cost. The reset inside the scan is that of Lu et al., "Structured State Space Models for
In-Context Reinforcement Learning", 2023.

Shapes: input (B, L, D), D = numbers of the observation + numbers of the action before (zero at the first step
of an episode); output (B, L, A + 1): what the actor says, then the value.

Differs from the paper: pre-norm blocks with a gated MLP (see `statewise.core.blocks`) where it has a
gated linear unit and no norm; no flag for the first step, which the reset already tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer
from statewise.rl.models.memory import MemoryConfig, build_memory

__all__ = ["Agent", "AgentConfig", "ImageEncoder", "Standardiser"]


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Settings of `Agent`."""

    d_model: int
    """D, numbers of a flat observation and of an action together."""
    outputs: int
    """A, classes or numbers of an action."""
    discrete: bool = True
    """Whether actions are classes."""
    image: tuple[int, ...] = ()
    """(H, W, C) of images; empty for vectors."""
    standardise: bool = False
    """Standardise vectors by running moments, frozen once trained."""
    width: int = 64
    """Features of the memory and of the heads."""
    memory: str = "s5"
    """The layer in the slot; mlp for none."""
    depth: int = 1
    """Blocks of memory."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the layer."""
    last_action: bool = True
    """Whether the action before is read; without it nothing but memory carries what was seen."""
    deviation: float = 0.6
    """Standard deviation of continuous actions at the start, for actions in [-1, 1]."""

    def __post_init__(self) -> None:
        for name in ("d_model", "outputs", "width", "depth"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(len(self.image) in (0, 3), "image", self.image, "empty or (H, W, C)")
        require(self.deviation > 0, "deviation", self.deviation, "above 0")


class Standardiser(nn.Module):
    """Standardises vectors by moments that are told apart from the forward pass: evaluation changes
    nothing.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("square", torch.zeros(size))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take the vectors (..., D) into the moments."""
        x = x.reshape(-1, x.shape[-1])
        total = self.count + len(x)
        change = x.mean(0) - self.mean
        self.square += x.var(0, unbiased=False) * len(x) + change.square() * self.count * len(x) / total
        self.mean += change * len(x) / total
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        variance = torch.where(
            self.count > 0, self.square / self.count.clamp(min=1), torch.ones_like(self.square)
        )
        return ((x - self.mean) * torch.rsqrt(variance + 1e-6)).clamp(-10, 10)


class ImageEncoder(nn.Module):
    """Three convolutions and a linear map: flat images (..., H W C) of 0 to 1, to (..., D)."""

    def __init__(self, image: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.image = image
        height, breadth, channels = image
        stride = 2 if min(height, breadth) >= 12 else 1
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=stride, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=stride, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 32, 3, stride=2 if height > 40 else 1, padding=1),
            nn.SiLU(),
        )
        with torch.no_grad():
            size = self.convolutions(torch.zeros(1, channels, height, breadth)).numel()
        self.out = nn.Linear(size, width)

    def forward(self, x: Tensor) -> Tensor:
        pictures = x.reshape(-1, *self.image).movedim(-1, 1)
        return self.out(self.convolutions(pictures).flatten(1)).unflatten(0, x.shape[:-1])


class Agent(Layer[Any]):
    """Encoder, memory, actor and critic."""

    no_decay: ClassVar[frozenset[str]] = frozenset({"log_deviation"})

    def __init__(self, config: AgentConfig) -> None:
        super().__init__(config)
        width = config.width
        self.size = math.prod(config.image) if config.image else config.d_model - config.outputs
        self.standardiser = Standardiser(self.size) if config.standardise else None
        self.observe = ImageEncoder(config.image, width) if config.image else nn.Linear(self.size, width)
        self.before = nn.Linear(config.outputs, width, bias=False) if config.last_action else None
        memory = MemoryConfig(d_model=width, kind=config.memory, depth=config.depth, settings=config.settings)
        self.memory = build_memory(memory)
        self.actor = _head(width, config.outputs, scale=0.01)
        self.critic = _head(width, 1, scale=1.0)
        if not config.discrete:
            start = math.log(config.deviation)
            self.log_deviation = nn.Parameter(torch.full((config.outputs,), start))

    def sequence(
        self, x: Tensor, state: Any, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Any]:
        m, state = self.memory(self._encoded(x), state, reset, lengths)
        return torch.cat([self.actor(m), self.critic(m)], -1), state

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        m, state = self.memory.step(self._encoded(x_t), state)
        return torch.cat([self.actor(m), self.critic(m)], -1), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Any:
        return self.memory.initial_state(batch_size, device=device, dtype=dtype)

    def deviation(self) -> Tensor:
        """(A,) standard deviation of continuous actions."""
        return self.log_deviation.clamp(-5, 1).exp()

    def _encoded(self, x: Tensor) -> Tensor:
        observation, action = x[..., : self.size], x[..., self.size :]
        if self.standardiser is not None:
            observation = self.standardiser(observation)
        encoded = self.observe(observation)
        return F.silu(encoded if self.before is None else encoded + self.before(action))


def _head(width: int, outputs: int, *, scale: float) -> nn.Sequential:
    """Two layers; the weights of the last one start near zero, so that the first policy is even."""
    last = nn.Linear(width, outputs)
    nn.init.orthogonal_(last.weight, gain=scale)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)
