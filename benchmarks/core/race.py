"""Rivals timed in turns: one process, one thread, CPU time, so that a busy machine disturbs all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["gradients_of", "race", "ratios"]


def race(
    rivals: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 2, calls: int = 1
) -> dict[str, list[float]]:
    """CPU seconds per call of each rival in each round: all of them in turn, `calls` times each."""
    torch.set_num_threads(1)
    for _ in range(warmup):
        for run in rivals.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            begun = time.process_time()
            for _ in range(calls):
                run()
            seconds[name].append((time.process_time() - begun) / calls)
    return seconds


def ratios(seconds: Mapping[str, list[float]], ours: str) -> dict[str, dict[str, float]]:
    """Per rival: median and least milliseconds, and how many times slower than ours, by each."""
    return {
        name: {
            "median_ms": 1e3 * statistics.median(times),
            "least_ms": 1e3 * min(times),
            "ratio": statistics.median(a / b for a, b in zip(times, seconds[ours], strict=True)),
            "ratio_of_least": min(times) / min(seconds[ours]),
        }
        for name, times in seconds.items()
    }


def gradients_of(forward: Callable[[], torch.Tensor], leaves: list[torch.Tensor]) -> Callable[[], object]:
    """A call that runs `forward` and the gradient of its sum with respect to `leaves`."""
    with torch.no_grad():
        cotangent = torch.ones_like(forward())

    def run() -> object:
        return torch.autograd.grad(forward(), leaves, cotangent)

    return run
