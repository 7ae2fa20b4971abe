"""What a world model foresees when nobody tells it what happened: open-loop pictures and their errors.

After C real steps the model is given the real actions only. What it foresees for k steps ahead is compared
with what came, beside the plainest forecast there is: the last real picture, again and again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.rl.drama.world import WorldModel

__all__ = ["OpenLoop", "open_loop", "strip"]


class OpenLoop(NamedTuple):
    """B sequences of K foreseen steps."""

    pictures: Tensor
    """(B, K, pixels): what is foreseen."""
    real: Tensor
    """(B, K, pixels): what came."""
    last: Tensor
    """(B, pixels): the last picture that was seen."""

    def errors(self) -> tuple[Tensor, Tensor]:
        """Mean squared error of each horizon, of the model and of the last picture: (K,) each."""
        copied = self.last[:, None].expand_as(self.real)
        return tuple((guess - self.real).square().mean((0, 2)) for guess in (self.pictures, copied))  # pyright: ignore[reportReturnType]


@torch.no_grad()
def open_loop(world: WorldModel, observation: Tensor, action: Tensor, context: int) -> OpenLoop:
    """Foresee the rest of each sequence from its first C steps.

    Args:
        world: the model.
        observation: (B, C + K, pixels), each of one episode.
        action: (B, C + K, A) one-hot.
        context: C, at least 1.
    """
    z = _likeliest(world.encode(observation[:, :context]))
    d, state = world.backbone(world.join(torch.cat([z, action[:, :context]], -1)))
    last, pictures = d[:, -1], []
    for t in range(context, observation.shape[1]):
        z_t = _likeliest(world.foresee(last))
        pictures.append(world.decode(z_t))
        last, state = world.backbone.step(world.join(torch.cat([z_t, action[:, t]], -1)), state)
    return OpenLoop(torch.stack(pictures, 1), observation[:, context:], observation[:, context - 1])


def _likeliest(chances: Tensor) -> Tensor:
    """The likeliest class of every variable: (..., V, C) to (..., V C) one-hot."""
    return F.one_hot(chances.argmax(-1), chances.shape[-1]).to(chances.dtype).flatten(-2)


def strip(found: OpenLoop, image: tuple[int, ...], row: int = 0, scale: int = 6) -> np.ndarray:
    """One sequence as a picture (H, W, 3) uint8: what came above, what was foreseen below."""
    height, width, channels = image
    lines = []
    for part in (found.real[row], found.pictures[row]):
        frames = part.reshape(-1, height, width, channels).clamp(0, 1).numpy()
        padded = np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=0.3)
        lines.append(np.concatenate(list(padded), 1))
    picture = np.concatenate(lines, 0)
    picture = picture.repeat(3, 2) if channels == 1 else picture[..., :3]
    return (255 * picture).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
