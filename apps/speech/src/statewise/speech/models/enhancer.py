"""What every enhancer is: a map from the noisy spectrum to the clean one, as a stream if it can.

    Y, state = model(X, state)         X, Y (B, T, F, 2), any T
    state = model.initial_state(B)     a NamedTuple of tensors, batch first

A streaming model gives the same frames for any cut of a signal into pieces. A model that looks at the whole
signal says so (`streaming` is False), is called with `state=None` and returns None. `latency` counts the
frames of the future that an output frame depends on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from statewise.speech.stft import STFT

__all__ = ["Enhancer", "Trained", "detached", "enhance", "initial"]


class Enhancer(nn.Module, ABC):
    """A model that takes noise out of spectra.

    Args:
        config: the settings; `sample_rate` in Hz and `hop` in samples are among them.
    """

    trains: ClassVar[bool] = True
    """False for signal processing without parameters."""
    learning_rate: ClassVar[float] = 1e-3
    """The peak learning rate that suits it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.stft = STFT(config.hop)

    @property
    def sample_rate(self) -> int:
        """Samples per second of the signals it takes."""
        return self.config.sample_rate

    @property
    def streaming(self) -> bool:
        """Whether it carries a state from chunk to chunk."""
        return True

    @property
    def latency(self) -> int | None:
        """Frames of the future that a frame depends on; None for all of them."""
        return 0

    @property
    def delay(self) -> float | None:
        """Seconds from a sample that comes in to the last output that it can change; None for all."""
        return None if self.latency is None else (2 + self.latency) * self.config.hop / self.sample_rate

    @abstractmethod
    def forward(self, spectrum: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The next frames; `state=None` begins a signal."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The state before the first frame; None where there is none."""


class Trained(Enhancer):
    """An enhancer with parameters, and one factor on its output.

    SI-SNR does not see the level, so what has been trained with it may be a few dB low; a fit measures by how
    much and makes up for it.
    """

    makeup: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("makeup", torch.ones(()))


def enhance(model: Enhancer, x: Tensor) -> Tensor:
    """Whole signals at once: (B, N) to (B, N)."""
    spectrum, _ = model(model.stft.spectrum(x))
    return model.stft.signal(spectrum, x.shape[1])


def initial(model: Enhancer, spectrum: Tensor, state: Any) -> Any:
    """`state`, or the one before the first frame of `spectrum`."""
    return model.initial_state(spectrum.shape[0]) if state is None and model.streaming else state


def detached(state: Any) -> Any:
    """A state whose tensors hold no graph and no memory of larger tensors."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach().clone()
    parts = [detached(part) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
