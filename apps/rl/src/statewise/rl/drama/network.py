"""World model, actor and critic as one network: what a Drama run saves.

The actor and the critic read [z_t, d_{t-1}]: what is seen now and what the backbone made of everything
before. In place of z_t they can read the picture that it decodes to: a latent is a code without neighbours,
from which where something is has to be learnt place by place. Reading pictures: Micheli et al.,
"Transformers are Sample-Efficient World Models", 2023.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.rl.drama.world import WorldConfig, WorldModel
from statewise.rl.models.agent import Standardiser

__all__ = ["DramaConfig", "DramaNetwork"]


@dataclass(frozen=True, kw_only=True)
class DramaConfig:
    """Settings of `DramaNetwork`."""

    world: WorldConfig
    """The world model."""
    actor: tuple[int, ...] = field(default=(128, 128))
    """Units of the actor's hidden layers."""
    critic: tuple[int, ...] = field(default=(128, 128))
    """Units of the critic's hidden layers."""
    reads: str = "latent"
    """What actor and critic see: the latent as in the paper, or the decoded picture."""

    def __post_init__(self) -> None:
        require(self.reads in ("latent", "picture"), "reads", self.reads, "latent or picture")
        for name in ("actor", "critic"):
            sizes = getattr(self, name)
            require(bool(sizes) and min(sizes) > 0, name, sizes, "at least one layer of at least 1 unit")


class DramaNetwork(nn.Module):
    """The networks of a Drama agent."""

    def __init__(self, config: DramaConfig) -> None:
        super().__init__()
        self.config = config
        self.world = WorldModel(config.world)
        seen = config.world.pixels if config.reads == "picture" else config.world.latent
        features = seen + config.world.width
        self.standardiser = Standardiser(features)
        self.actor = _mlp(features, config.actor, config.world.actions)
        self.critic = _mlp(features, config.critic, self.world.twohot.bins)
        self.slow_critic = _mlp(features, config.critic, self.world.twohot.bins)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.slow_critic.requires_grad_(False)

    def features(self, z: Tensor, d: Tensor) -> Tensor:
        """What actor and critic read of z (..., V C) and d (..., D) before it: (..., F)."""
        seen = self.world.decode(z) if self.config.reads == "picture" else z
        return torch.cat([seen, d], -1)

    def logits(self, features: Tensor) -> Tensor:
        """The policy on features (..., F): (..., A)."""
        return self.actor(self.standardiser(features))

    def begin(self, count: int) -> tuple[Any, Tensor]:
        """The backbone's state and d before the first step of an episode."""
        d = torch.zeros(count, self.config.world.width)
        return self.world.backbone.initial_state(count), d

    def advance(self, z: Tensor, action: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of the backbone: z (B, V C) and action (B, A) one-hot to d (B, D)."""
        return self.world.backbone.step(self.world.join(torch.cat([z, action], -1)), state)


def _mlp(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *hidden[:-1]), hidden, strict=True):
        layers += [nn.Linear(before, after), nn.RMSNorm(after, eps=1e-5), nn.SiLU()]
    last = nn.Linear(hidden[-1], outputs)
    nn.init.normal_(last.weight, std=1e-3)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
