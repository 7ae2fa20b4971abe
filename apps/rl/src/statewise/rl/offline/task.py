"""Recorded episodes as a supervised problem for the shared training loop.

Letters: B batch, L steps, D numbers of an observation, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.train.device import to_device
from statewise.rl.data.trajectories import Trajectories
from statewise.rl.models.sequence import Inputs, SequencePolicy

__all__ = ["Batch", "SequenceTask", "Sequences"]

_VALIDATED = 256  # sequences of a validation at most


class Batch(NamedTuple):
    """Sequences, right-padded."""

    observation: Tensor
    """(B, L, D)."""
    before: Tensor
    """(B, L, A)."""
    to_go: Tensor
    """(B, L)."""
    time: Tensor
    """(B, L) int64."""
    lengths: Tensor
    """(B,) int64."""
    action: Tensor
    """What was done: (B, L) classes, or (B, L, A) numbers in [-1, 1]."""


class Sequences:
    """The episodes as arrays that batches are cut from.

    Args:
        data: the episodes.
    """

    def __init__(self, data: Trajectories) -> None:
        interface = data.interface
        self.discrete = interface.discrete
        self.observations = [interface.flat(one.observations[: one.steps]) for one in data.episodes]
        self.to_go = [part.astype(np.float32) for part in data.to_go()]
        self.taken = [interface.encode_action(one.actions) for one in data.episodes]
        self.targets = [
            np.asarray(one.actions, np.int64) if self.discrete else taken
            for one, taken in zip(data.episodes, self.taken, strict=True)
        ]
        self.lengths = np.array([one.steps for one in data.episodes])

    def cut(self, places: Sequence[tuple[int, int]], length: int | None) -> Batch:
        """Parts of episodes, each from a step on; of at most `length` steps, None for all that follow."""
        spans = []
        for episode, begin in places:
            left = int(self.lengths[episode]) - begin
            spans.append((episode, begin, left if length is None else min(left, length)))
        longest = max(size for _, _, size in spans)
        return Batch(
            _padded([self.observations[e][b : b + n] for e, b, n in spans], longest),
            _padded([_before(self.taken[e], b, n) for e, b, n in spans], longest),
            _padded([self.to_go[e][b : b + n] for e, b, n in spans], longest),
            _padded([np.arange(b, b + n) for _, b, n in spans], longest),
            torch.tensor([n for _, _, n in spans]),
            _padded([self.targets[e][b : b + n] for e, b, n in spans], longest),
        )


class SequenceTask:
    """A `statewise.core.train.Task`: say what was done.

    Args:
        model: the policy.
        sequences: all episodes.
        train: numbers of the episodes to train on.
        validation: numbers of those that are held out; empty for none.
        choose: keep the weights of the least held-out loss. On data of mixed quality that loss is mostly that
            of actions which nobody could foresee, and it is least when little has been learnt.
    """

    def __init__(
        self,
        model: SequencePolicy,
        sequences: Sequences,
        train: Sequence[int],
        validation: Sequence[int],
        *,
        choose: bool = False,
    ) -> None:
        self._choose = choose
        self.model: nn.Module = model
        self.sequences = sequences
        self.length = None if model.whole else getattr(model.config, "context", 1)
        self.places = _places(sequences, train, whole=model.whole)
        held_out = _places(sequences, validation, whole=model.whole)
        step = max(1, len(held_out) // _VALIDATED)
        self.held_out = held_out[::step]

    @property
    def monitor(self) -> str:
        """The loss that chooses the weights: held out where that is asked for, else that of training."""
        return "val_loss" if self._choose and self.held_out else "train_loss"

    @property
    def size(self) -> int:
        """Episodes, or steps at which a window can begin."""
        return len(self.places)

    def batch(self, indices: Tensor) -> Batch:
        """The sequences at `indices`."""
        return self.sequences.cut([self.places[i] for i in indices.tolist()], self.length)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean over steps: squared error of numbers, cross-entropy of classes."""
        said = model(Inputs(batch.observation, batch.before, batch.to_go, batch.time, batch.lengths))
        return _errors(said, batch, discrete=self.sequences.discrete).mean()

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """The mean error over the steps that are held out."""
        if not self.held_out:
            return {}
        total, count = 0.0, 0
        device = next(model.parameters()).device
        for begin in range(0, len(self.held_out), 64):
            batch = to_device(self.sequences.cut(self.held_out[begin : begin + 64], self.length), device)
            said = model(Inputs(batch.observation, batch.before, batch.to_go, batch.time, batch.lengths))
            errors = _errors(said, batch, discrete=self.sequences.discrete)
            total, count = total + float(errors.sum()), count + errors.numel()
        return {"val_loss": total / count}


def _errors(said: Tensor, batch: Batch, *, discrete: bool) -> Tensor:
    """The error of every step that is no padding, (steps,)."""
    live = torch.arange(said.shape[1], device=said.device) < batch.lengths[:, None]
    if discrete:
        return F.cross_entropy(said[live], batch.action[live], reduction="none")
    return (said[live] - batch.action[live]).square().mean(-1)


def _places(sequences: Sequences, episodes: Sequence[int], *, whole: bool) -> list[tuple[int, int]]:
    """Where sequences begin: at the first step of an episode, or at every step of it."""
    if whole:
        return [(int(e), 0) for e in episodes]
    return [(int(e), begin) for e in episodes for begin in range(int(sequences.lengths[e]))]


def _before(taken: np.ndarray, begin: int, count: int) -> np.ndarray:
    """The actions before the steps from `begin` on; zero before the first step of the episode."""
    if begin:
        return taken[begin - 1 : begin - 1 + count]
    return np.concatenate([np.zeros_like(taken[:1]), taken[: count - 1]])


def _padded(parts: Sequence[np.ndarray], length: int) -> Tensor:
    out = np.zeros((len(parts), length, *parts[0].shape[1:]), parts[0].dtype)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(out)
