"""Steps of N environments in rings, each with the state that the policy acted from.

With the state at hand an update is one recurrent step from where the policy was, and no history has to be
read again. What follows a step is the next place of its ring; the last step of an episode that was cut off
has no next place of its own, and is left out, while one that terminated needs none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Moment", "Steps", "StoredSteps"]


class Moment(NamedTuple):
    """What a policy reads at B steps."""

    observation: Tensor
    """(B, D)."""
    before: Tensor
    """(B, A), the action before, in [-1, 1]."""
    to_go: Tensor
    """(B,), the return asked for."""
    state: list[Tensor]
    """The policy's, (B, ...) each, in the order of `flat_state`."""


class Steps(NamedTuple):
    """B steps and what followed."""

    now: Moment
    action: Tensor
    """(B, A) in [-1, 1]."""
    reward: Tensor
    """(B,)."""
    terminated: Tensor
    """(B,) bool; where it holds, `then` means nothing."""
    then: Moment


class StoredSteps:
    """Rings of steps.

    Args:
        environments: N.
        capacity: steps of each ring.
        observation: D.
        action: A.
        state: the policy's state in N environments, in the order of `flat_state`.
    """

    def __init__(
        self, environments: int, capacity: int, observation: int, action: int, state: Sequence[Tensor]
    ) -> None:
        self.capacity = capacity
        lead = (environments, capacity)
        self._rings = {
            "observation": torch.zeros(*lead, observation),
            "before": torch.zeros(*lead, action),
            "to_go": torch.zeros(lead),
            "action": torch.zeros(*lead, action),
            "reward": torch.zeros(lead),
            "terminated": torch.zeros(lead, dtype=torch.bool),
            "truncated": torch.zeros(lead, dtype=torch.bool),
        }
        for number, part in enumerate(state):
            self._rings[f"state{number}"] = torch.zeros(*lead, *part.shape[1:], dtype=part.dtype)
        self._parts = len(state)
        self.added = 0
        """Steps ever written to each ring."""

    @property
    def size(self) -> int:
        """Steps in each ring."""
        return min(self.added, self.capacity)

    def add(self, now: Moment, action: Tensor, reward: Tensor, terminated: Tensor, truncated: Tensor) -> None:
        """Write one step of every environment."""
        values = {
            "observation": now.observation,
            "before": now.before,
            "to_go": now.to_go,
            "action": action,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
        }
        values |= {f"state{number}": part for number, part in enumerate(now.state)}
        place = self.added % self.capacity
        for name, value in values.items():
            self._rings[name][:, place] = value
        self.added += 1

    def draw(self, count: int, generator: np.random.Generator) -> Steps:
        """Steps drawn evenly, with replacement."""
        order = (self.added - self.size + np.arange(self.size - 1)) % self.capacity
        usable = torch.nonzero(~self._rings["truncated"][:, order])
        chosen = usable[torch.from_numpy(generator.integers(len(usable), size=count))]
        rows, places = chosen[:, 0], torch.from_numpy(order)[chosen[:, 1]]
        rings = self._rings
        return Steps(
            now=self._moment(rows, places),
            action=rings["action"][rows, places],
            reward=rings["reward"][rows, places],
            terminated=rings["terminated"][rows, places],
            then=self._moment(rows, (places + 1) % self.capacity),
        )

    def state(self) -> dict[str, Tensor]:
        """What has been written, for a checkpoint."""
        written = {name: ring[:, : self.size].contiguous() for name, ring in self._rings.items()}
        return written | {"added": torch.tensor(self.added)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Hold what `state` returned."""
        self.added = int(state["added"])
        for name, ring in self._rings.items():
            ring[:, : self.size] = state[name]

    def _moment(self, rows: Tensor, places: Tensor) -> Moment:
        rings: dict[str, Any] = self._rings
        parts = [rings[f"state{number}"][rows, places] for number in range(self._parts)]
        return Moment(*(rings[name][rows, places] for name in ("observation", "before", "to_go")), parts)
