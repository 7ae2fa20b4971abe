"""Experience of N environments in rings, and which parts of it are learnt from.

Frequency-based sampling counts, for every step that a window can start from, how often the world model was
trained on it (v) and how often imagination started from it (b):

    world model    p ~ softmax(-v / tau)
    imagination    p ~ softmax((v - alpha b' - beta max(0, v - b')) / tau)

where b' is b times the windows trained on per window imagined from,

so that new experience is learnt soon, and nothing is imagined from much more often than it was learnt. Wang
et al., "Drama", 2025, section 3.3. Draws are without replacement: the largest of log-probability plus Gumbel
noise (Efraimidis and Spirakis, 2006), which overflows at no count. No window reaches across the write head of
a ring.

Rings of more than 256 MB live in a temporary file that is mapped into memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from statewise.rl.environments.stream import Transition

__all__ = ["Replay", "Window", "imagination_scores", "training_scores"]

MAPPED = 256 * 2**20
TAU = 10.0


@dataclass(frozen=True)
class Window:
    """Experience of B windows of L steps."""

    observation: np.ndarray
    """(B, L, ...) as it was stored."""
    action: np.ndarray
    """(B, L)."""
    reward: np.ndarray
    """(B, L) float32."""
    end: np.ndarray
    """(B, L) bool, terminated."""
    first: np.ndarray
    """(B, L) bool."""


def training_scores(trained: np.ndarray) -> np.ndarray:
    """Unnormalised log-probabilities of windows for the world model."""
    return -trained / TAU


def imagination_scores(
    trained: np.ndarray, imagined: np.ndarray, ratio: float, *, alpha: float = 1.0, beta: float = 1.0
) -> np.ndarray:
    """Unnormalised log-probabilities of windows to imagine from; `ratio` brings b to the scale of v.

    With alpha = beta = 1 this is min(0, v - b') / tau.
    """
    scaled = imagined * ratio
    return (trained - alpha * scaled - beta * np.maximum(0, trained - scaled)) / TAU


class Replay:
    """Rings of experience.

    Args:
        environments: N.
        capacity: steps of each ring.
        shape: of an observation.
        dtype: of an observation.
        uniform: draw evenly instead of by counts.
    """

    def __init__(
        self, environments: int, capacity: int, shape: tuple[int, ...], dtype: Any, *, uniform: bool = False
    ) -> None:
        self.capacity, self.uniform = capacity, uniform
        lead = (environments, capacity)
        self.observation = _array((*lead, *shape), np.dtype(dtype))
        self.action = np.zeros(lead, np.int64)
        self.reward = np.zeros(lead, np.float32)
        self.end = np.zeros(lead, bool)
        self.first = np.zeros(lead, bool)
        self.trained = np.zeros(lead, np.int64)
        self.imagined = np.zeros(lead, np.int64)
        self.added = 0
        """Steps ever written to each ring."""

    def add(self, step: Transition) -> None:
        """Write one step of every environment; what it overwrites is forgotten, its counts too."""
        place = self.added % self.capacity
        self.observation[:, place] = step.observation
        self.action[:, place] = step.action
        self.reward[:, place] = step.reward
        self.end[:, place] = step.terminated
        self.first[:, place] = step.first
        self.trained[:, place] = self.imagined[:, place] = 0
        self.added += 1

    @property
    def size(self) -> int:
        """Steps in each ring."""
        return min(self.added, self.capacity)

    def starts(self, length: int) -> np.ndarray:
        """Places of a ring, oldest first, from which `length` steps lie before the write head."""
        oldest = self.added - self.size
        return np.arange(oldest, self.added - length + 1) % self.capacity

    def draw_training(self, count: int, length: int, generator: np.random.Generator) -> Window:
        """Windows for the world model, counted as trained."""
        rows, places = self._draw(training_scores(self.trained), count, length, generator)
        self.trained[rows, places] += 1
        return self._cut(rows, places, length)

    def draw_imagination(
        self, count: int, length: int, ratio: float, generator: np.random.Generator
    ) -> Window:
        """Windows to imagine from, counted as imagined."""
        scores = imagination_scores(self.trained, self.imagined, ratio)
        rows, places = self._draw(scores, count, length, generator)
        self.imagined[rows, places] += 1
        return self._cut(rows, places, length)

    def state(self) -> dict[str, Tensor]:
        """What has been written, for a checkpoint."""
        used = self.size
        arrays = {name: getattr(self, name)[:, :used] for name in _FIELDS}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return tensors | {"added": torch.tensor(self.added)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Hold what `state` returned."""
        self.added = int(state["added"])
        for name in _FIELDS:
            getattr(self, name)[:, : self.size] = state[name].numpy()

    def _draw(
        self, scores: np.ndarray, count: int, length: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        places = self.starts(length)
        keys = np.zeros((len(scores), len(places))) if self.uniform else scores[:, places].astype(float)
        keys = keys + generator.gumbel(size=keys.shape)
        count = min(count, keys.size)
        chosen = np.argpartition(-keys.ravel(), count - 1)[:count]
        chosen.sort()
        return chosen // len(places), places[chosen % len(places)]

    def _cut(self, rows: np.ndarray, places: np.ndarray, length: int) -> Window:
        span = (places[:, None] + np.arange(length)) % self.capacity
        lanes = rows[:, None]
        return Window(*(getattr(self, name)[lanes, span] for name in _FIELDS[:5]))


_FIELDS = ("observation", "action", "reward", "end", "first", "trained", "imagined")


def _array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if int(np.prod(shape)) * dtype.itemsize < MAPPED:
        return np.zeros(shape, dtype)
    file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the array that is mapped onto it
    return np.memmap(file, dtype, "w+", shape=shape)
