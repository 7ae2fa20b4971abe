"""Prediction of frames for the shared loop: each from the true ones before it, or further ahead.

Teacher-forced on all frames, a network never meets its own errors, and in a rollout they grow from frame to
frame until it is worse than the mean frame. Teacher-forced on the frames that are given, it learns with its
own predictions fed back behind them, as it will be used, and grows vague where it cannot know.

Letters: n clips, B batch, T frames, C channels, Y and X pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from statewise.vision.video.metrics import frame_scores
from statewise.vision.video.models.frame_model import FrameModel, followed, rollout
from statewise.vision.video.settings import Forcing

__all__ = ["VideoTask", "baseline_scores", "divergence", "rollout_scores"]

_AT_ONCE = 16
_LEAST = 1e-12


class VideoTask:
    """The divergence of the frames to come; chosen by the error of a rollout.

    Args:
        model: predicts frames.
        clips: (n, T, C, Y, X) bytes.
        train: indices that train.
        validation: indices that choose the weights.
        given: frames that a rollout is shown.
        forcing: feed the true frames given, then those predicted; or all true frames, in parallel over time.
    """

    monitor = "val_mse"

    def __init__(
        self,
        model: FrameModel,
        clips: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        given: int,
        forcing: Forcing = "given",
    ) -> None:
        self.network = model
        self.model: nn.Module = model
        self.clips, self.given, self.forcing, self._validation = clips, given, forcing, validation
        self._train = torch.from_numpy(train)

    @property
    def size(self) -> int:
        return len(self._train)

    def batch(self, indices: Tensor) -> Any:
        return torch.from_numpy(self.clips[self._train[indices].numpy()]).float() / 255

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        count = batch.shape[1] - self.given if self.forcing == "given" else 1
        predicted = followed(model, batch[:, : batch.shape[1] - count], count)
        return divergence(predicted.float(), batch[:, 1:]).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        scores = rollout_scores(self.network, self.clips[self._validation], self.given)
        return {f"val_{name}": float(values.mean()) for name, values in scores.items()}


def divergence(predicted: Tensor, true: Tensor) -> Tensor:
    """KL(true || predicted) of each pixel, from 0 to 1 and taken as a chance.

    Its best prediction is the mean, as that of the squared error, and its gradient passes a saturated
    sigmoid: with squared and absolute errors, which small figures on black invite to predict black, a network
    that has become sure of that never comes back.
    """
    dark, not_dark = 1 - true, 1 - predicted
    entropy = -(torch.xlogy(true, true) + torch.xlogy(dark, dark))
    cross = true * predicted.clamp(min=_LEAST).log() + dark * not_dark.clamp(min=_LEAST).log()
    return -cross - entropy


@torch.no_grad()
def rollout_scores(model: FrameModel, clips: np.ndarray, given: int) -> dict[str, Tensor]:
    """Figures of a rollout over what follows the frames given, (n, T - given) each."""
    device = next(model.parameters()).device
    parts = []
    for begin in range(0, len(clips), _AT_ONCE):
        true = torch.from_numpy(clips[begin : begin + _AT_ONCE]).float().to(device) / 255
        predicted = rollout(model, true[:, :given], true.shape[1] - given)
        parts.append({name: one.cpu() for name, one in frame_scores(predicted, true[:, given:]).items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def baseline_scores(clips: np.ndarray, given: int, mean: np.ndarray) -> dict[str, dict[str, Tensor]]:
    """The same for repeating the last frame given, and for the mean frame of the training clips.

    Args:
        clips: (n, T, C, Y, X) bytes.
        given: frames that are shown.
        mean: (C, Y, X) from 0 to 1.
    """
    true = torch.from_numpy(clips).float() / 255
    later = true[:, given:]
    still = true[:, given - 1 : given].expand_as(later)
    average = torch.from_numpy(mean).float().expand_as(later)
    return {
        "last frame": frame_scores(still, later),
        "mean frame": frame_scores(average, later),
    }
