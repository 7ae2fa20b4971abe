"""The slot for memory: any streaming layer of the registry in a residual stack, or none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from statewise.core.blocks import GatedMLP, Stack, StackConfig
from statewise.core.config import require
from statewise.core.errors import ConfigError
from statewise.core.layers import LAYERS
from statewise.core.layers.contract import Layer, Stateless
from statewise.core.registry import canonical

__all__ = ["NONE", "MemoryConfig", "Memoryless", "build_memory"]

NONE = "mlp"
"""The name of no memory."""


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Settings of the memory of a model."""

    d_model: int
    """D, features in and out."""
    kind: str = "s5"
    """A streaming layer of `statewise layers`, or mlp for none."""
    depth: int = 1
    """K, blocks one after the other."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the layer, without d_model."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.depth > 0, "depth", self.depth, "at least 1")


class Memoryless(Layer[Stateless]):
    """The same stack without a mixer over time: x <- x + mlp(norm(x)), twice per block; D to D, per step."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__(config)
        d, count = config.d_model, 2 * config.depth
        self.norms = nn.ModuleList(nn.RMSNorm(d, eps=1e-6) for _ in range(count))
        self.maps = nn.ModuleList(GatedMLP(d, 2 * d) for _ in range(count))
        self.norm = nn.RMSNorm(d, eps=1e-6)

    def sequence(
        self, x: Tensor, state: Stateless, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Stateless]:
        return self.step(x, state)

    def step(self, x_t: Tensor, state: Stateless) -> tuple[Tensor, Stateless]:
        for norm, map_ in zip(self.norms, self.maps, strict=True):
            x_t = x_t + map_(norm(x_t))
        return self.norm(x_t), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Stateless:
        return Stateless()


def build_memory(config: MemoryConfig) -> Layer[Any]:
    """The stack of a configuration.

    Raises:
        UnknownNameError: there is no such layer.
        ConfigError: the layer reads both ways, which nothing that acts can do.
    """
    if canonical(config.kind) == NONE:
        return Memoryless(config)
    entry = LAYERS[config.kind]
    if not entry.facts.get("streaming", False):
        raise ConfigError(
            f"the layer '{config.kind}' reads its sequence both ways, an agent sees only the past",
            where="memory",
            seen=config.kind,
            expected="a layer that streams",
            fix="choose s5, gru, lstm, mamba, mamba2 or lru",
        )
    stack = StackConfig(
        d_model=config.d_model, mixer=config.kind, settings=config.settings, depth=config.depth
    )
    return Stack(stack)
