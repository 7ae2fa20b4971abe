"""What an action is worth: an MLP with residual paths on observation, action and the return asked for.

It has no memory of its own, as in Bar-David et al., "Decision S4", 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Critic"]


class Critic(nn.Module):
    """Q(o, a, R): (B, D), (B, A) and (B,) to (B,).

    Args:
        observation: D.
        action: A.
        width: features of the two residual layers.
    """

    def __init__(self, observation: int, action: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(observation + action + 1, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.out = nn.Linear(width, 1)

    def forward(self, observation: Tensor, action: Tensor, to_go: Tensor) -> Tensor:
        x = self.first(torch.cat([observation, action, to_go[..., None]], -1))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + F.silu(layer(norm(x)))
        return self.out(x)[..., 0]
