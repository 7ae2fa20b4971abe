"""A running average of the weights that validates and predicts in place of the last ones.

    w' <- d w' + (1 - d) w,      d = min(decay, (1 + t) / (10 + t)) after t steps

The average is part of the module, so that checkpoints hold it and a resumed run goes on exactly.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Averaged"]


class Averaged(nn.Module):
    """A network with the average of its weights: training calls move the one, evaluation reads the other.

    Args:
        network: what is trained.
        decay: of the average; 0 keeps none.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network, self.decay = network, decay
        self.average = copy.deepcopy(network).requires_grad_(False) if decay else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def best(self) -> nn.Module:
        """What predicts."""
        return self.network if self.average is None else self.average

    def forward(self, *inputs: Any) -> Tensor:
        if not self.training:
            return self.best(*inputs)
        if self.average is not None:
            self._follow()
        return self.network(*inputs)

    @torch.no_grad()
    def _follow(self) -> None:
        """Take in the weights of the step before."""
        assert self.average is not None  # only called with one
        count = int(self.steps)
        decay = min(self.decay, (1 + count) / (10 + count))
        ours, theirs = self.average.state_dict(), self.network.state_dict()
        for name, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])
        self.steps += 1
