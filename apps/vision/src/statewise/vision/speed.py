"""Models timed in turns on this machine: one process, one thread, CPU time, so that all suffer alike."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from statewise.core.train import threads
from statewise.vision.models import build

__all__ = ["Timing", "extra_memory", "peak_growth", "race_models", "seconds_in_turns"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One model at one resolution."""

    model: str
    height: int
    width: int
    seconds: float
    """CPU time of a forward pass on one image, the least of several."""
    memory: int
    """Bytes by which the pass raised the process's peak, in a process of its own."""
    speed_up: float
    """How many times faster than the last model of the list."""


def race_models(
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    *,
    precision: str = "fp32",
    rounds: int = 3,
    progress: Callable[[float, str], None] | None = None,
) -> list[Timing]:
    """Time models at every size, made for that size.

    Args:
        names: `MODEL` or `MODEL-PRESET`; the last is the rival.
        sizes: heights and widths.
        precision: fp32 or bf16.
        rounds: passes of each.
        progress: told the fraction done.

    Raises:
        UnknownNameError: there is no such model or preset.
    """
    found = []
    for place, (height, width) in enumerate(sizes):
        if progress is not None:
            progress(place / len(sizes), f"{height} x {width}")
        rivals = {name: _network(name, height, width, precision) for name in dict.fromkeys(names)}
        seconds = seconds_in_turns(rivals, height, width, precision=precision, rounds=rounds)
        found += [
            Timing(
                model=name,
                height=height,
                width=width,
                seconds=seconds[name],
                memory=extra_memory(name, height, width, precision),
                speed_up=seconds[names[-1]] / seconds[name],
            )
            for name in rivals
        ]
    return found


def seconds_in_turns(
    rivals: dict[str, nn.Module], height: int, width: int, *, precision: str = "fp32", rounds: int = 3
) -> dict[str, float]:
    """The least CPU time of a forward pass of each, on one colour image and one thread."""
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    images = noise.to(PRECISIONS[precision])
    least = dict.fromkeys(rivals, float("inf"))
    with threads(1, parameters=0), torch.inference_mode():
        for network in rivals.values():
            network(images[..., : min(height, 224), : min(width, 224)])
        for _ in range(rounds):
            for name, network in rivals.items():
                begun = time.thread_time()
                network(images)
                least[name] = min(least[name], time.thread_time() - begun)
    return least


def extra_memory(name: str, height: int, width: int, precision: str = "fp32") -> int:
    """Bytes by which a pass raises the peak of a fresh process that holds the model, after a small pass."""
    command = [sys.executable, "-m", __name__, name, str(height), str(width), precision]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(answer.stdout.split()[-1])


def _network(name: str, height: int, width: int, precision: str) -> nn.Module:
    return build(name, height=height, width=width).eval().to(PRECISIONS[precision])


def _measure(name: str, height: int, width: int, precision: str) -> int:
    torch.set_num_threads(1)
    network = _network(name, height, width, precision)
    with torch.inference_mode():
        network(torch.zeros(1, 3, 64, 64, dtype=PRECISIONS[precision]))
        images = torch.zeros(1, 3, height, width, dtype=PRECISIONS[precision])
        return peak_growth(lambda: network(images))


def peak_growth(run: Callable[[], object]) -> int:
    """Bytes by which `run` raises the resident memory of this process at its peak.

    Linux can reset its count of the peak; elsewhere only what exceeds all peaks so far is seen.
    """
    resets = Path("/proc/self/clear_refs")
    if not resets.exists():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    resets.write_text("5")
    before = _kilobytes("VmRSS")
    run()
    return 1024 * max(0, _kilobytes("VmHWM") - before)


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    model, tall, wide, kind = sys.argv[1:]
    sys.stdout.write(f"{_measure(model, int(tall), int(wide), kind)}\n")
