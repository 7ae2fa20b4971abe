"""Decision S4: one token per step, state space layers over whole trajectories, constant cost when acting.

    e_t = W_in [W_s o_t, W_a a_{t-1}, W_r R_t],      h <- gelu(W gelu(SSM(h))) (+ h),      a_t = W_out h_t

Bar-David et al., "Decision S4: Efficient Sequence-Based RL via State Spaces Layers", 2023. It is trained on
whole trajectories, right-padded, through the parallel view of its layers; when it acts, the state of each
layer is carried for the whole episode, so that a step costs the same at any time and there is no window.

Shapes: maps to 128 each, W_in (H, 384), K layers of H features and N states.

Differs from the paper: the layers are S4D (see `statewise.core.layers.s4d`) by default, whose B is part of C;
any streaming layer can take the slot. A residual path around each layer is on by default. The action before
may be dropped in training: it predicts the next one so well on recorded data that a policy learns to copy it,
and then does nothing of its own when it acts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers import build
from statewise.core.layers.contract import Layer
from statewise.rl.models.sequence import Inputs, SequenceConfig, SequencePolicy

__all__ = ["DS4", "DS4Config"]


@dataclass(frozen=True, kw_only=True)
class DS4Config(SequenceConfig):
    """Settings of `DS4`."""

    embedding: int = 128
    """Features of each of the three inputs."""
    width: int = 64
    """H, features of a layer."""
    depth: int = 3
    """K, layers."""
    mixer: str = "s4d"
    """The layer in the slot: s4d, s4, s5, lru, mamba, gru, ..."""
    settings: dict[str, Any] = field(default_factory=lambda: {"d_state": 64})
    """Settings of the layer; d_state is N."""
    residual: bool = True
    """Whether a path leads around each layer."""
    dropout: float = 0.0
    """Probability of dropping an element behind a layer, in training."""
    forget: float = 0.3
    """Probability of hiding the action before, in training, each step by itself; 1 leaves it out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embedding", "width", "depth"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        require(0 <= self.forget <= 1, "forget", self.forget, "from 0 to 1")


class DS4(SequencePolicy):
    """The policy."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "small": {"width": 48, "depth": 2, "embedding": 48, "settings": {"d_state": 32}},
        "paper": {"residual": False, "forget": 0.0},
        "large": {"width": 96, "settings": {"d_state": 96}, "residual": False, "forget": 0.0},
    }
    config: DS4Config

    def __init__(self, config: DS4Config) -> None:
        super().__init__(config)
        e, h = config.embedding, config.width
        self.observations = nn.Linear(config.observation, e)
        self.actions = nn.Linear(config.outputs, e)
        self.returns = nn.Linear(1, e)
        self.inputs = nn.Linear(3 * e, h)
        self.layers = nn.ModuleList(
            build(config.mixer, d_model=h, **config.settings) for _ in range(config.depth)
        )
        self.maps = nn.ModuleList(nn.Linear(h, h) for _ in range(config.depth))
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(h, config.outputs, bias=False)

    def forward(self, inputs: Inputs) -> Tensor:
        x = self._encoded(inputs)
        for layer, map_ in zip(self.layers, self.maps, strict=True):
            y, _ = layer(x, lengths=inputs.lengths)
            x = self._added(x, y, map_)
        return self.out(x)

    def step(self, inputs: Inputs, state: Any) -> tuple[Tensor, Any]:
        x, after = self._encoded(inputs), []
        for layer, map_, before in zip(self.layers, self.maps, state, strict=True):
            y, new = layer.step(x, before)  # pyright: ignore[reportCallIssue]
            x = self._added(x, y, map_)
            after.append(new)
        return self.out(x), tuple(after)

    def initial_state(self, batch_size: int) -> Any:
        layers: list[Layer[Any]] = list(self.layers)  # pyright: ignore[reportAssignmentType]
        return tuple(layer.initial_state(batch_size) for layer in layers)

    def _encoded(self, inputs: Inputs) -> Tensor:
        before = inputs.before
        if self.config.forget == 1:
            before = torch.zeros_like(before)
        elif self.training and self.config.forget > 0:
            kept = torch.rand(before.shape[:-1], device=before.device) >= self.config.forget
            before = before * kept[..., None]
        parts = [
            self.observations(self.standardised(inputs.observation)),
            self.actions(before),
            self.returns(inputs.to_go[..., None] / self.config.scale),
        ]
        return self.inputs(torch.cat(parts, -1))

    def _added(self, x: Tensor, y: Tensor, map_: nn.Module) -> Tensor:
        y = self.dropout(F.gelu(map_(F.gelu(y))))
        return x + y if self.config.residual else y
