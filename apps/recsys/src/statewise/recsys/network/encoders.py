"""The encoders: what turns a window of item vectors into a vector for each place.

causal, bidir        attention (see `attention`)
gru, lru, mamba ...  a stack of core's blocks around that layer: constant state, streams event by event
hybrid               three blocks of a recurrence, then one of attention over the last `length` events
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from statewise.core.blocks import Block, BlockConfig, Stack, StackConfig
from statewise.core.config import require
from statewise.core.errors import UnknownNameError
from statewise.core.layers.contract import Layer
from statewise.recsys.network.attention import AttentionEncoder
from statewise.recsys.network.dropout import ByteDropout

__all__ = ["ENCODERS", "RECURRENT", "EncoderConfig", "RecurrentEncoder", "build_encoder"]

RECURRENT: Mapping[str, str] = {
    "gru": "gru",
    "lstm": "lstm",
    "lru": "lru",
    "s5": "s5",
    "mamba": "mamba",
    "mamba2": "mamba2",
    "min-gru": "min-gru",
    "hgrn": "hgrn",
    "hgrn2": "hgrn2",
    "gla": "gla",
    "retnet": "retnet",
    "delta-net": "delta-net",
    "gated-delta-net": "gated-delta-net",
}
"""Encoders that are a stack of one of core's layers, and the layer."""

ENCODERS = ("causal", "bidir", *RECURRENT, "hybrid")
"""All encoders."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Settings of an encoder."""

    name: str = "causal"
    """One of `ENCODERS`."""
    d_model: int = 64
    """D, width."""
    depth: int = 2
    """Blocks."""
    heads: int = 2
    """Heads of attention; recurrences take theirs from `settings`."""
    length: int = 200
    """Longest window of events in training, and for attention in use."""
    dropout: float = 0.2
    """Probability of dropping an element, in training."""
    mlp_ratio: float = 4.0
    """Hidden units of the feed-forward part per feature."""
    gated: bool = False
    """Attention only: gate each branch (LiGR)."""
    gelu: bool = False
    """Attention only: GELU in place of ReLU."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Recurrences only: settings of core's layer."""

    def __post_init__(self) -> None:
        if self.name not in ENCODERS:
            raise UnknownNameError("encoder", self.name, ENCODERS)
        for name in ("d_model", "depth", "heads", "length"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        if self.name in ("causal", "bidir", "hybrid"):
            require(self.d_model % self.heads == 0, "heads", self.heads, "a divisor of d_model")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        require(self.mlp_ratio > 0, "mlp_ratio", self.mlp_ratio, "above 0")


class RecurrentEncoder(nn.Module):
    """A stack of core's blocks, with dropout on its input."""

    streaming = True

    def __init__(self, stack: Layer[Any], dropout: float) -> None:
        super().__init__()
        self.stack = stack
        self.dropout = ByteDropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        return self.stack(self.dropout(x), None, None, lengths)[0]

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One event: (B, D) to (B, D)."""
        return self.stack.step(x_t, state)


class _Hybrid(Stack):
    """Blocks of a recurrence with every fourth one attention."""

    def __init__(self, config: StackConfig, attention: BlockConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(
            Block(attention if place % 4 == 3 else config) for place in range(config.depth)
        )


def build_encoder(config: EncoderConfig) -> AttentionEncoder | RecurrentEncoder:
    """The encoder that a configuration describes."""
    if config.name in ("causal", "bidir"):
        return AttentionEncoder(
            config.d_model,
            config.depth,
            config.heads,
            config.length,
            config.dropout,
            mlp_ratio=config.mlp_ratio,
            causal=config.name == "causal",
            gated=config.gated,
            gelu=config.gelu,
        )
    common = {"d_model": config.d_model, "mlp_ratio": config.mlp_ratio, "dropout": config.dropout}
    mixer = RECURRENT.get(config.name, "gla")
    stack = StackConfig(mixer=mixer, settings=config.settings, depth=config.depth, **common)
    if config.name != "hybrid":
        return RecurrentEncoder(Stack(stack), config.dropout)
    settings = {"heads": config.heads, "window": config.length}
    attention = BlockConfig(mixer="attention", settings=settings, **common)
    return RecurrentEncoder(_Hybrid(stack, attention), config.dropout)
