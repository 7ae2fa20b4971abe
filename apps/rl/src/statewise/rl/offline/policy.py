"""A sequence policy at work: it is told what return is still asked for, and what it did before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from statewise.core.train.device import derive_seed
from statewise.rl.acting import Actor
from statewise.rl.interface import Interface
from statewise.rl.models.policy import replace_rows
from statewise.rl.models.sequence import Inputs, SequencePolicy

if TYPE_CHECKING:
    from statewise.rl.saved import Policy

__all__ = ["SequenceActor", "sequence_actor"]


class SequenceActor(Actor):
    """Acts with a sequence policy; the return asked for falls by every reward.

    Args:
        network: the policy.
        interface: of the environment.
        target: return asked for at the start of an episode.
        greedy: take the likeliest class instead of drawing one.
        delayed: the policy has learnt from rewards that all came at the end, so that what is asked for stays.
    """

    def __init__(
        self,
        network: SequencePolicy,
        interface: Interface,
        *,
        target: float,
        greedy: bool = True,
        delayed: bool = False,
    ) -> None:
        self.network, self.interface, self.target = network, interface, target
        self.greedy, self.delayed = greedy, delayed
        self._state: Any = None
        self._before = np.zeros((0, interface.action_width), np.float32)
        self._to_go, self._time = np.zeros(0), np.zeros(0, np.int64)
        self._generator: torch.Generator | None = None

    def begin(self, count: int, seed: int) -> None:
        self._state = self.network.initial_state(count)
        self._before = np.zeros((count, self.interface.action_width), np.float32)
        self._to_go, self._time = np.full(count, self.target, float), np.zeros(count, np.int64)
        self._generator = None if self.greedy else torch.Generator().manual_seed(derive_seed(seed, "actions"))

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
        if not self.delayed:
            self._to_go = self._to_go - reward
        if first.any():
            self._to_go[first], self._time[first], self._before[first] = self.target, 0, 0
            fresh = self.network.initial_state(len(first))
            self._state = replace_rows(self._state, fresh, torch.from_numpy(first.copy()))
        inputs = Inputs(
            torch.from_numpy(self.interface.flat(observation)),
            torch.from_numpy(self._before),
            torch.from_numpy(self._to_go).float(),
            torch.from_numpy(self._time.copy()),
        )
        said, self._state = self.network.step(inputs, self._state)
        if not self.interface.discrete:
            action = self.interface.decode_numbers(said.numpy())
        elif self._generator is None:
            action = said.argmax(-1).numpy()
        else:
            action = torch.multinomial(said.softmax(-1), 1, generator=self._generator)[:, 0].numpy()
        self._before = self.interface.encode_action(action)
        self._time += 1
        return action


def sequence_actor(policy: Policy, *, greedy: bool, target: float | None) -> SequenceActor:
    """The actor of a saved sequence policy; without a target, the one that was kept with it."""
    network: Any = policy.network
    return SequenceActor(
        network,
        policy.interface,
        target=policy.facts["target"] if target is None else target,
        greedy=greedy,
        delayed=policy.facts.get("delayed", False),
    )
