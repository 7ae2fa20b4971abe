"""What an agent's outputs mean: a distribution over actions, how to draw from it, and its likelihoods.

Continuous actions live in [-1, 1] here and are brought to the environment's bounds by `Interface`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from statewise.core.train.device import derive_seed
from statewise.rl.acting import Actor
from statewise.rl.interface import Interface
from statewise.rl.models.agent import Agent

if TYPE_CHECKING:
    from statewise.rl.saved import Policy

__all__ = ["AgentActor", "agent_actor", "draw", "log_likelihood", "replace_rows"]


def draw(agent: Agent, output: Tensor, generator: torch.Generator | None) -> Tensor:
    """Actions from the actor's outputs (N, A): classes (N,), or numbers (N, A).

    Args:
        agent: whose outputs they are.
        output: what the actor says.
        generator: of the chance; None takes the likeliest action.
    """
    if agent.config.discrete:
        if generator is None:
            return output.argmax(-1)
        return torch.multinomial(output.softmax(-1), 1, generator=generator)[:, 0]
    if generator is None:
        return output
    noise = torch.randn(output.shape, generator=generator, dtype=output.dtype)
    return output + agent.deviation() * noise


def log_likelihood(agent: Agent, output: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """Log-likelihood of actions and entropy of the policy, each of the leading shape of `output` (..., A)."""
    if agent.config.discrete:
        logs = output.log_softmax(-1)
        entropy = -(logs.exp() * logs).sum(-1)
        return logs.gather(-1, action.long()[..., None])[..., 0], entropy
    deviation = agent.deviation()
    z = (action - output) / deviation
    constant = 0.5 * math.log(2 * math.pi)
    logs = (-0.5 * z.square() - deviation.log() - constant).sum(-1)
    entropy = (deviation.log() + constant + 0.5).sum().expand(logs.shape)
    return logs, entropy


def replace_rows(state: Any, fresh: Any, rows: Tensor) -> Any:
    """A nested state with the rows (N,) bool taken from `fresh`."""
    if isinstance(state, Tensor):
        return torch.where(rows.reshape(-1, *[1] * (state.ndim - 1)), fresh, state)
    parts = [replace_rows(one, other, rows) for one, other in zip(state, fresh, strict=True)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


class AgentActor(Actor):
    """An agent at work: its memory of every environment, and the actions before.

    Args:
        agent: the network.
        interface: of the environment.
        greedy: take the likeliest action instead of drawing one.
    """

    def __init__(self, agent: Agent, interface: Interface, *, greedy: bool) -> None:
        self.agent, self.interface, self.greedy = agent, interface, greedy
        self._state: Any = None
        self._before = np.zeros((0, interface.action_width), np.float32)
        self._generator: torch.Generator | None = None

    def begin(self, count: int, seed: int) -> None:
        self._state = self.agent.initial_state(count)
        self._before = np.zeros((count, self.interface.action_width), np.float32)
        if not self.greedy:
            self._generator = torch.Generator().manual_seed(derive_seed(seed, "actions"))

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
        if first.any():
            fresh = self.agent.initial_state(len(first))
            self._state = replace_rows(self._state, fresh, torch.from_numpy(first.copy()))
            self._before[first] = 0
        x = np.concatenate([self.interface.flat(observation), self._before], -1)
        output, self._state = self.agent.step(torch.from_numpy(x), self._state)
        drawn = draw(self.agent, output[:, :-1], self._generator).numpy()
        action = drawn if self.interface.discrete else self.interface.decode_numbers(drawn)
        self._before = self.interface.encode_action(action)
        return action


def agent_actor(policy: Policy, *, greedy: bool, target: float | None) -> AgentActor:
    """The actor of a saved agent; it cannot be asked for a return."""
    network: Any = policy.network
    return AgentActor(network, policy.interface, greedy=greedy)
