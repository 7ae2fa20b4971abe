"""Enhancement and separation as tasks for the shared training loop.

An epoch is a number of mixtures, not a pass over files: examples are drawn, from torch's generator, which the
loop seeds by the step, so that a resumed run draws the same ones again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from statewise.speech.losses import enhancement_loss, mask_loss, si_snr
from statewise.speech.mixing import Mixer
from statewise.speech.models.enhancer import Enhancer

__all__ = ["EnhancementTask", "Pair"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A noisy signal and the clean one in it, for validation."""

    noisy: np.ndarray
    """(N,) float32"""
    clean: np.ndarray


class EnhancementTask:
    """Fit a model that maps noisy spectra to clean ones.

    Args:
        model: the network.
        mixer: makes the examples.
        validation: pairs that choose the best weights.
        size: mixtures in an epoch.
        loss: `compressed`, the default, or `paper`.
    """

    monitor = "valid_loss"

    def __init__(
        self, model: Enhancer, mixer: Mixer, validation: Sequence[Pair], size: int, loss: str = "compressed"
    ) -> None:
        self.model: nn.Module = model
        self.stft, self.mixer, self.validation, self.size = model.stft, mixer, validation, size
        self._criterion = {"compressed": _compressed, "paper": _paper}[loss]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Fresh mixtures: noisy and clean, (B, N) each."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        noisy, clean = self.mixer.draw(rng, len(indices))
        return torch.from_numpy(noisy), torch.from_numpy(clean)

    def loss(self, model: Callable[..., tuple[Tensor, object]], batch: tuple[Tensor, Tensor]) -> Tensor:
        """The mean loss of a batch."""
        return self._through(model, *batch)[0].mean()

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss, and SI-SDR in dB of what comes out and of what went in."""
        rows = []
        for pair in self.validation:
            noisy, clean = (torch.from_numpy(x)[None].to(self.stft.window) for x in (pair.noisy, pair.clean))
            loss, estimate = self._through(model, noisy, clean)
            rows.append([float(x) for x in (loss, si_snr(estimate, clean), si_snr(noisy, clean))])
        loss, output, given = np.mean(rows, axis=0)
        return {"valid_loss": loss, "valid_si_sdr": output, "valid_si_sdr_noisy": given}

    def _through(
        self, model: Callable[..., tuple[Tensor, object]], noisy: Tensor, clean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss of each example, (B,), and what the model makes of it, (B, N)."""
        spectrum, target = self.stft.spectrum(noisy), self.stft.spectrum(clean)
        enhanced, _ = model(spectrum)
        estimate = self.stft.signal(enhanced, noisy.shape[1])
        return self._criterion(spectrum, enhanced, estimate, target, clean), estimate


def _compressed(noisy: Tensor, enhanced: Tensor, estimate: Tensor, target: Tensor, clean: Tensor) -> Tensor:
    level = noisy.square().mean((1, 2, 3)).sqrt()
    return enhancement_loss(estimate, enhanced, clean, target, level)


def _paper(noisy: Tensor, enhanced: Tensor, estimate: Tensor, target: Tensor, clean: Tensor) -> Tensor:
    return mask_loss(noisy, enhanced, target) - si_snr(estimate, clean)
