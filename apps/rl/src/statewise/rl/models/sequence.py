"""What the sequence policies share: their inputs, their settings, and how one step at a time is asked for.

A policy sees, at every step t of an episode, the return that is still to come R_t, the observation o_t and
the action before a_{t-1}, and says what to do. It is asked in two ways: over whole sequences in training, and
step by step with a state when it acts. Both give the same numbers.

Letters: B batch, L steps, D numbers of an observation, A numbers of an action.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from statewise.core.config import require

__all__ = ["Inputs", "SequenceConfig", "SequencePolicy"]


class Inputs(NamedTuple):
    """What a policy reads; (B, L, ...) over sequences, (B, ...) in a step."""

    observation: Tensor
    """(B, L, D)."""
    before: Tensor
    """(B, L, A): the action before; zero at the first step of an episode."""
    to_go: Tensor
    """(B, L): the return to come."""
    time: Tensor
    """(B, L) int64: the number of the step in its episode."""
    lengths: Tensor | None = None
    """(B,) int64: the end of each right-padded sequence."""


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """What every sequence policy is told of the data."""

    observation: int
    """D, numbers of an observation."""
    outputs: int
    """A, classes or numbers of an action."""
    discrete: bool = False
    """Whether actions are classes."""
    scale: float = 1.0
    """Returns-to-go are divided by it."""

    def __post_init__(self) -> None:
        require(self.observation > 0, "observation", self.observation, "at least 1")
        require(self.outputs > 0, "outputs", self.outputs, "at least 1")
        require(self.scale > 0, "scale", self.scale, "above 0")


class SequencePolicy(nn.Module, ABC):
    """A network that says actions from returns, observations and the actions before.

    Args:
        config: its settings.
    """

    whole: ClassVar[bool] = True
    """Trained on whole episodes; False: on windows of `config.context` steps."""
    wants_return: ClassVar[bool] = True
    """Whether it reads the return to come."""
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.observation))
        self.register_buffer("deviation", torch.ones(config.observation))

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """What to do at every step: (B, L, A), class scores, or numbers in [-1, 1]."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The state before the first step of an episode: a nested tuple of tensors, batch first."""

    @abstractmethod
    def step(self, inputs: Inputs, state: Any) -> tuple[Tensor, Any]:
        """What to do now, (B, A), and the next state."""

    def standardised(self, observation: Tensor) -> Tensor:
        """Observations by the mean and the deviation of the training data, which the weights hold."""
        return (observation - self.mean) / self.deviation
