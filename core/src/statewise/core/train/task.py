"""What the loop needs to know of a problem: its model, its examples, its loss and its score."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

__all__ = ["Task"]


class Task(Protocol):
    """A supervised problem. The loop owns the order of the examples, the task owns what an example is.

    Randomness (augmentation, negative samples) comes from torch's default generator inside `batch` and
    `loss`: the loop seeds it from the run's seed and the step, so that a resumed run draws the same again.
    """

    model: nn.Module
    """The network to fit; the loop moves it to the device and at the end loads the best weights into it."""

    @property
    def size(self) -> int:
        """Number of training examples."""
        ...

    @property
    def monitor(self) -> str:
        """The metric that chooses the best weights, smaller is better: of `validate`, or `train_loss`."""
        ...

    def batch(self, indices: torch.Tensor) -> Any:
        """The examples at `indices` ((n,) int64 on the CPU): a tensor, or a tuple, list or dict of them.

        The loop moves them to the device.
        """
        ...

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """Scalar loss, the mean over the examples of the batch; calls `model(...)`, not its other methods."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Metrics on validation data, empty without any; the model is in eval mode and gradients are off."""
        ...
