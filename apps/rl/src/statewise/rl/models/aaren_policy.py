"""The decision transformer with attention as a recurrence: Aaren in the place of self-attention.

    tokens   (R_t, o_t, a_t) as in `dt`;      block   x <- x + aaren(norm(x)),   x <- x + mlp(norm(x))

Feng et al., "Attention as an RNN", 2024. A step costs the same at any time: each layer carries a maximum and
two sums per head, over the whole episode.

Differs from the paper: trained on whole episodes, since the state is carried for whole episodes; one token
per step, the sum of the three maps, in place of three tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from statewise.core.blocks import Stack, StackConfig
from statewise.core.config import require
from statewise.rl.models.sequence import Inputs, SequenceConfig, SequencePolicy

__all__ = ["AarenPolicy", "AarenPolicyConfig"]


@dataclass(frozen=True, kw_only=True)
class AarenPolicyConfig(SequenceConfig):
    """Settings of `AarenPolicy`."""

    width: int = 128
    """E, features of a token."""
    depth: int = 3
    """Blocks."""
    heads: int = 4
    """Queries side by side."""
    dropout: float = 0.1
    """Probability of dropping an element of what a residual branch adds, in training."""
    longest: int = 1000
    """Steps of an episode that have an embedding."""
    forget: float = 0.3
    """Probability of hiding the action before, in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth", "heads", "longest"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        require(0 <= self.forget <= 1, "forget", self.forget, "from 0 to 1")


class AarenPolicy(SequencePolicy):
    """The policy."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"small": {"width": 64, "depth": 2}}
    config: AarenPolicyConfig

    def __init__(self, config: AarenPolicyConfig) -> None:
        super().__init__(config)
        width = config.width
        self.time = nn.Embedding(config.longest, width)
        nn.init.normal_(self.time.weight, std=0.02)
        self.observations = nn.Linear(config.observation, width)
        self.actions = nn.Linear(config.outputs, width, bias=False)
        self.returns = nn.Linear(1, width, bias=False)
        self.stack = Stack(
            StackConfig(
                d_model=width,
                mixer="aaren",
                settings={"heads": config.heads},
                depth=config.depth,
                dropout=config.dropout,
            )
        )
        self.out = nn.Linear(width, config.outputs)

    def forward(self, inputs: Inputs) -> Tensor:
        x, _ = self.stack(self._tokens(inputs), lengths=inputs.lengths)
        return self.out(x)

    def step(self, inputs: Inputs, state: Any) -> tuple[Tensor, Any]:
        x, state = self.stack.step(self._tokens(inputs), state)
        return self.out(x), state

    def initial_state(self, batch_size: int) -> Any:
        return self.stack.initial_state(batch_size)

    def _tokens(self, inputs: Inputs) -> Tensor:
        before = inputs.before
        if self.config.forget == 1:
            before = torch.zeros_like(before)
        elif self.training and self.config.forget > 0:
            kept = torch.rand(before.shape[:-1], device=before.device) >= self.config.forget
            before = before * kept[..., None]
        return (
            self.observations(self.standardised(inputs.observation))
            + self.actions(before)
            + self.returns(inputs.to_go[..., None] / self.config.scale)
            + self.time(inputs.time.clamp(max=self.config.longest - 1))
        )
