"""Forecasting as a supervised problem for the shared training loop: windows in, mean squared error out.

Windows of one series are x (B, L, C) and y (B, H), those of series that are read together x (B, L, V, C) and
y (B, V, H).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from statewise.core.train.device import to_device
from statewise.timeseries.joint_windows import JointWindows
from statewise.timeseries.row_windows import RowWindows
from statewise.timeseries.windows import Batch, Windows

__all__ = ["AT_ONCE", "WindowTask"]

AT_ONCE = 2**18
"""Steps of input in a batch of an evaluation."""


class WindowTask:
    """A `statewise.core.train.Task`: fit a window module.

    A module that has a method `penalty()` has its value added to the loss.

    Args:
        model: the module.
        windows: where the examples are.
        train: starts of the training windows.
        validation: starts of the windows that choose the best weights.
    """

    monitor = "val_mse"

    def __init__(
        self,
        model: nn.Module,
        windows: Windows | JointWindows | RowWindows,
        train: Tensor,
        validation: Tensor,
    ) -> None:
        self.model = model
        self.windows = windows
        self.train, self.validation = train, validation

    @property
    def size(self) -> int:
        """Number of training windows."""
        return len(self.train)

    def batch(self, indices: Tensor) -> Batch:
        """The training windows at `indices`."""
        return self.windows.gather(self.train[indices])

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean squared error over what was observed, and the penalty of the module."""
        squares = (model(batch.x) - batch.y).square()
        weight = batch.weight
        error = squares.mean() if weight is None else (squares * weight).sum() / weight.sum()
        penalty = getattr(self.model, "penalty", None)
        return error if penalty is None else error + penalty()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Errors over all validation windows, each observed step counting the same."""
        squares, absolutes, count = errors(model, self.windows, self.validation).sum(dim=0).tolist()
        return {"val_mse": squares / count, "val_mae": absolutes / count}


@torch.no_grad()
def errors(model: nn.Module, windows: Windows | JointWindows | RowWindows, starts: Tensor) -> Tensor:
    """Per window: sum of squared errors, of absolute errors, number of observed steps; (n, 3) float64."""
    device = next(model.parameters()).device
    sums = []
    for part in starts.split(max(1, AT_ONCE // windows.steps)):
        x, y, weight = to_device(windows.gather(part), device)
        error = (model(x) - y).double().flatten(1)
        weight = torch.ones_like(error) if weight is None else weight.double().flatten(1)
        parts = (weight * error.square()).sum(1), (weight * error.abs()).sum(1), weight.sum(1)
        sums.append(torch.stack(parts, dim=1).cpu())
    return torch.cat(sums)
