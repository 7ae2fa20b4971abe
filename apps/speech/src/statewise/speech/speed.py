"""How fast the models are on this machine: real-time factor and time per block, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from statewise.speech.models.enhancer import Enhancer
from statewise.speech.stepping import BlockEnhancer

__all__ = ["Speed", "measure"]

SECONDS = 4.0
"""Of the signal that is enhanced at once."""
BLOCKS = 100
"""Blocks whose time is taken."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The speed of one model."""

    model: str
    parameters: int
    factor: float
    """CPU time per second of sound, whole signals, best of the rounds."""
    delay: float | None
    """Milliseconds from a sample in to the last one out that depends on it; None for whole signals."""
    hop: float
    """Milliseconds of a block."""
    p50: float | None
    """Milliseconds of computing per block, one at a time; None for models of whole signals."""
    p99: float | None


@torch.inference_mode()
def measure(
    models: Mapping[str, Enhancer], *, rounds: int = 3, progress: Callable[[float, str], None] | None = None
) -> list[Speed]:
    """Time all models in turn, round by round, so that a busy moment hits them alike."""
    rng = torch.Generator().manual_seed(0)
    factors: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds):
        for name, model in models.items():
            if progress is not None:
                progress(number / (rounds + 1), name)
            x = 0.05 * torch.randn(1, round(SECONDS * model.sample_rate), generator=rng)
            if number == 0:
                model(model.stft.spectrum(x[:, : model.sample_rate // 2]))
            begun = time.process_time()
            model.stft.signal(model(model.stft.spectrum(x))[0], x.shape[1])
            factors[name].append((time.process_time() - begun) / SECONDS)
    rows = []
    for name, model in models.items():
        if progress is not None:
            progress(rounds / (rounds + 1), f"{name}, block by block")
        times = _block_times(model, rng) if model.streaming else None
        rows.append(
            Speed(
                model=name,
                parameters=sum(parameter.numel() for parameter in model.parameters()),
                factor=min(factors[name]),
                delay=None if model.delay is None else 1000 * model.delay,
                hop=1000 * model.stft.hop / model.sample_rate,
                p50=None if times is None else float(np.percentile(times, 50)),
                p99=None if times is None else float(np.percentile(times, 99)),
            )
        )
    return rows


def _block_times(model: Enhancer, rng: torch.Generator) -> list[float]:
    layer = BlockEnhancer(model).eval()
    state, times = layer.initial_state(1), []
    for _ in range(BLOCKS + 5):
        block = 0.05 * torch.randn(1, model.stft.hop, generator=rng)
        begun = time.perf_counter()
        _, state = layer.step(block, state)
        times.append(1000 * (time.perf_counter() - begun))
    return times[5:]
