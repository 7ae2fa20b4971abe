"""A trained policy as a file for other runtimes: one step, its state explicit.

    x (B, D), state_<part>, ...   ->   y (B, D'), next_<part>, ...

Beside the file stands `<name>.json`: what x is made of, what y means, the environment, and what the state
starts from, so that RLlib, a C++ program or a robot can drive it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from statewise.core.config import to_dict
from statewise.core.errors import UserError
from statewise.core.export import Exported, Format, export_step
from statewise.core.layers.contract import Layer
from statewise.core.train.atomic import write_text
from statewise.rl.models.sequence import Inputs, SequencePolicy
from statewise.rl.saved import Policy

__all__ = ["export_policy"]


@dataclass(frozen=True)
class Width:
    """What the exporter asks of a layer's configuration."""

    d_model: int
    """Numbers of x."""


class SequenceStep(Layer[Any]):
    """A sequence policy as a layer: x = [observation, action before, return to come, number of the step]."""

    def __init__(self, policy: SequencePolicy) -> None:
        config = policy.config
        super().__init__(Width(config.observation + config.outputs + 2))
        self.policy = policy
        self.sizes = (config.observation, config.outputs, 1, 1)

    def sequence(
        self, x: Tensor, state: Any, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Any]:
        raise NotImplementedError("a policy is exported step by step")

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        observation, before, to_go, time = x_t.split(self.sizes, -1)
        inputs = Inputs(observation, before, to_go[..., 0], time[..., 0].long())
        return self.policy.step(inputs, state)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Any:
        return self.policy.initial_state(batch_size)


def export_policy(policy: Policy, path: Path, *, batch_size: int = 1, format: Format = "onnx") -> Exported:
    """Write the step of a policy, and the description beside it.

    Raises:
        UserError: the policy has no step of constant size, or the file cannot be written.
        MissingExtraError: ONNX is asked for and its packages are not installed.
    """
    network: Any = policy.network
    if policy.family == "agent":
        layer, inputs, outputs = network, _agent_inputs(policy), _agent_outputs(policy)
    elif policy.family == "sequence" and network.whole:
        layer, inputs, outputs = SequenceStep(network), _sequence_inputs(policy), _sequence_outputs(policy)
    else:
        raise UserError(
            "has no step of constant size to export",
            where=policy.model,
            fix="export a policy that carries a state: s5-ppo, gru-ppo, ds4, aaren, ...",
        )
    exported = export_step(layer, path, batch_size, format)
    facts = asdict(exported)
    note = {
        "model": policy.model,
        "environment": to_dict(policy.spec),
        "interface": to_dict(policy.interface),
        "x": inputs,
        "shape of x": facts.pop("x"),
        "y": outputs,
        "reset": "at the first step of an episode set every state input to its initial value",
        "facts": policy.facts,
        **{name: value for name, value in facts.items() if name != "path"},
    }
    write_text(path.with_suffix(".json"), json.dumps(note, indent=2) + "\n")
    return exported


def _parts(policy: Policy) -> list[dict[str, Any]]:
    face = policy.interface
    observation = "flat observation" + (" / 255" if face.is_image else "")
    kind = "one-hot" if face.discrete else "scaled to [-1, 1]"
    return [
        {"name": observation, "size": face.size},
        {"name": f"action before, {kind}; zeros at the first step of an episode", "size": face.action_width},
    ]


def _agent_inputs(policy: Policy) -> list[dict[str, Any]]:
    return _parts(policy)


def _sequence_inputs(policy: Policy) -> list[dict[str, Any]]:
    to_go = {"name": "return to come: the target, less every reward so far", "size": 1}
    return [*_parts(policy), to_go, {"name": "number of the step in its episode, from 0", "size": 1}]


def _action_words(policy: Policy) -> str:
    if policy.interface.discrete:
        return "score of each action; the largest is the greedy one"
    low, high = policy.interface.low, policy.interface.high
    return f"action in [-1, 1], to be clipped and scaled to {list(low)} .. {list(high)}"


def _agent_outputs(policy: Policy) -> list[dict[str, Any]]:
    return [
        {"name": _action_words(policy), "size": policy.interface.action_width},
        {"name": "value", "size": 1},
    ]


def _sequence_outputs(policy: Policy) -> list[dict[str, Any]]:
    return [{"name": _action_words(policy), "size": policy.interface.action_width}]
