"""Separation of speakers: training up to their order, and long files whose speakers keep their places.

Permutation-invariant training (Yu et al., 2017): the loss of a mixture is that of the best assignment of
outputs to speakers. A long file is separated in windows that overlap; before two windows are joined, the
outputs of the later one are put in the order in which they correlate best with those of the earlier one over
what both cover. Each output is scaled so that all together are closest to the mixture.

Letters: B batch, N samples, S speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from statewise.speech.losses import si_snr
from statewise.speech.mixing import Mixer
from statewise.speech.models.separator import Separator

__all__ = ["SeparationTask", "best_order", "permutation_loss", "separated", "separated_blocks"]

WINDOW, OVERLAP = 8.0, 2.0
"""Seconds of a window, and of what two of them share."""
TINY = 1e-9


class SeparationTask:
    """Fit a separator on mixtures of speakers that are drawn anew.

    Args:
        model: from mixtures (B, N) to sources (B, S, N).
        mixer: draws the speakers.
        validation: sources (S, N) of validation mixtures.
        size: mixtures in an epoch.
    """

    monitor = "valid_loss"

    def __init__(self, model: Separator, mixer: Mixer, validation: list[np.ndarray], size: int) -> None:
        self.model: nn.Module = model
        self.mixer, self.validation, self.size = mixer, validation, size
        self._speakers = model.speakers

    def batch(self, indices: Tensor) -> Tensor:
        """Fresh sources, (B, S, N)."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        drawn = [self.mixer.pair(rng, self._speakers) for _ in range(len(indices))]
        return torch.from_numpy(np.stack(drawn))

    def loss(self, model: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """The mean over the batch of minus SI-SNR, in the best order."""
        return permutation_loss(model(batch.sum(1)), batch).mean()

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss, and by how many dB SI-SNR is above that of the mixture."""
        losses, gains = [], []
        device = next(model.parameters()).device
        for sources in self.validation:
            target = torch.from_numpy(sources)[None].to(device)
            mixture = target.sum(1)
            loss = permutation_loss(model(mixture), target)
            before = si_snr(mixture[:, None], target).mean()
            losses.append(float(loss))
            gains.append(float(-loss - before))
        return {"valid_loss": float(np.mean(losses)), "valid_si_sdr_gain": float(np.mean(gains))}


def permutation_loss(estimates: Tensor, sources: Tensor) -> Tensor:
    """Minus the mean SI-SNR over speakers in the best of all orders: (B, S, N) twice to (B,)."""
    speakers = sources.shape[1]
    table = si_snr(estimates[:, :, None], sources[:, None])  # (B, estimate, source)
    orders = list(permutations(range(speakers)))
    means = [torch.stack([table[:, order[s], s] for s in range(speakers)]).mean(0) for order in orders]
    return -torch.stack(means).amax(0)


def best_order(estimates: np.ndarray, reference: np.ndarray) -> tuple[int, ...]:
    """The order of the estimates (S, N) in which they correlate best with the reference (S, N).

    A speaker who is silent in what is compared has no weight.
    """
    table = np.abs(estimates @ reference.T) / (np.linalg.norm(estimates, axis=1)[:, None] + TINY)
    orders = list(permutations(range(len(estimates))))
    return max(orders, key=lambda order: sum(table[order[s], s] for s in range(len(order))))


def separated(model: Separator, x: np.ndarray) -> np.ndarray:
    """A whole signal (N,) at the rate of the model to its speakers (S, N)."""
    empty = np.zeros((model.speakers, 0), dtype=np.float32)
    return np.concatenate([empty, *separated_blocks(model, [x])], axis=1)


def separated_blocks(
    model: Separator, blocks: Iterator[np.ndarray] | list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Blocks (n,) of one signal to blocks (S, n) of its speakers, in constant memory."""
    rate = model.sample_rate
    window, overlap = round(WINDOW * rate), round(OVERLAP * rate)
    waiting = np.zeros(0, dtype=np.float32)
    tail: np.ndarray | None = None
    for block in blocks:
        waiting = np.concatenate([waiting, block.astype(np.float32)])
        while len(waiting) > window:
            made = _joined(_window(model, waiting[:window]), tail)
            yield made[:, : window - overlap]
            tail, waiting = made[:, window - overlap :], waiting[window - overlap :]
    if len(waiting):
        yield _joined(_window(model, waiting), tail)


@torch.inference_mode()
def _window(model: Separator, x: np.ndarray) -> np.ndarray:
    """The speakers of one window, scaled so that their sum is closest to it: (S, n)."""
    y = model(torch.from_numpy(x)[None])[0].numpy().astype(np.float64)
    gram = y @ y.T
    gains = np.linalg.solve(gram + TINY * (np.trace(gram) + TINY) * np.eye(len(y)), y @ x)
    return (np.maximum(gains, 0)[:, None] * y).astype(np.float32)


def _joined(made: np.ndarray, tail: np.ndarray | None) -> np.ndarray:
    """A window in the order of the one before, faded in over its tail."""
    if tail is None:
        return made
    size = min(tail.shape[1], made.shape[1])
    made = made[list(best_order(made[:, :size], tail[:, :size]))].copy()
    rise = np.square(np.sin(0.5 * np.pi * (np.arange(size) + 0.5) / size)).astype(np.float32)
    made[:, :size] = rise * made[:, :size] + (1 - rise) * tail[:, :size]
    return made
