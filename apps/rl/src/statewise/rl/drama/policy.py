"""A Drama agent at work: it sees the present frame and carries the state of the backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.train.device import derive_seed
from statewise.rl.acting import Actor
from statewise.rl.drama.latent import draw
from statewise.rl.drama.network import DramaNetwork
from statewise.rl.interface import Interface
from statewise.rl.models.policy import replace_rows

if TYPE_CHECKING:
    from statewise.rl.saved import Policy

__all__ = ["DramaActor", "drama_actor"]


class DramaActor(Actor):
    """Acts on the latent of the present frame and on what the backbone made of everything before.

    Args:
        network: the agent.
        interface: of the environment.
        greedy: take the likeliest class of latents and actions instead of drawing them.
    """

    def __init__(self, network: DramaNetwork, interface: Interface, *, greedy: bool) -> None:
        self.network, self.interface, self.greedy = network, interface, greedy
        self.state: Any = None
        """The backbone's."""
        self.d = torch.zeros(0)
        """(N, D)."""
        self.generator = torch.Generator()

    def begin(self, count: int, seed: int) -> None:
        self.state, self.d = self.network.begin(count)
        self.generator.manual_seed(derive_seed(seed, "actions"))

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
        network = self.network
        if first.any():
            rows = torch.from_numpy(first.copy())
            fresh, d = network.begin(len(first))
            self.state = replace_rows(self.state, fresh, rows)
            self.d = torch.where(rows[:, None], d, self.d)
        chances = network.world.encode(torch.from_numpy(self.interface.flat(observation)))
        z = self._latent(chances).flatten(-2)
        logits = network.logits(network.features(z, self.d))
        if self.greedy:
            action = logits.argmax(-1)
        else:
            action = torch.multinomial(logits.softmax(-1), 1, generator=self.generator)[:, 0]
        hot = F.one_hot(action, network.config.world.actions).to(z.dtype)
        self.d, self.state = network.advance(z, hot, self.state)
        return action.numpy()

    def _latent(self, chances: Tensor) -> Tensor:
        if self.greedy:
            return F.one_hot(chances.argmax(-1), chances.shape[-1]).to(chances.dtype)
        return draw(chances, self.generator)


def drama_actor(policy: Policy, *, greedy: bool, target: float | None) -> DramaActor:
    """The actor of a saved agent; it cannot be asked for a return."""
    network: Any = policy.network
    return DramaActor(network, policy.interface, greedy=greedy)
