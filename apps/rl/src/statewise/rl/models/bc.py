"""Behaviour cloning: what the data did on this observation, without memory and without a return to ask for.

    a_t = MLP(o_t)

The plainest thing to learn from recorded episodes, and what every other policy has to beat. On the best part
of the episodes only (`percent-bc`) it is the yardstick of Chen et al., "Decision Transformer: Reinforcement
Learning via Sequence Modeling", 2021, section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from statewise.core.config import require
from statewise.rl.models.sequence import Inputs, SequenceConfig, SequencePolicy

__all__ = ["BC", "BCConfig"]


@dataclass(frozen=True, kw_only=True)
class BCConfig(SequenceConfig):
    """Settings of `BC`."""

    width: int = 256
    """Units of each hidden layer."""
    depth: int = 2
    """Hidden layers."""
    dropout: float = 0.0
    """Probability of dropping a unit, in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class BC(SequencePolicy):
    """The policy; its state is empty."""

    whole: ClassVar[bool] = False
    wants_return: ClassVar[bool] = False
    presets: ClassVar[dict[str, dict[str, Any]]] = {"small": {"width": 64}}
    config: BCConfig

    def __init__(self, config: BCConfig) -> None:
        super().__init__(config)
        sizes = [config.observation, *[config.width] * config.depth]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.SiLU(), nn.Dropout(config.dropout)]
        self.network = nn.Sequential(*layers, nn.Linear(config.width, config.outputs))

    def forward(self, inputs: Inputs) -> Tensor:
        return self.network(self.standardised(inputs.observation))

    def step(self, inputs: Inputs, state: Any) -> tuple[Tensor, Any]:
        return self.forward(inputs), state

    def initial_state(self, batch_size: int) -> Any:
        return ()
