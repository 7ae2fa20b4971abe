"""What this machine can do at most on one thread: bandwidth and matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

__all__ = ["copy_bandwidth", "gemm_speed", "triad_bandwidth"]


def main() -> None:
    torch.set_num_threads(1)
    for megabytes in (16, 128):
        copy, triad = copy_bandwidth(megabytes), triad_bandwidth(megabytes)
        print(f"arrays of {megabytes} MB: copy {copy:.1f} GB/s, triad {triad:.1f} GB/s")
    for size in (512, 1024, 2048):
        print(f"float32 product of {size} x {size}: {gemm_speed(size):.0f} GFLOP/s")


def copy_bandwidth(megabytes: int) -> float:
    """GB/s of b = a, one read and one write."""
    a, b = _arrays(megabytes, 2)
    return 2 * a.nbytes / _least_seconds(lambda: np.copyto(b, a)) / 1e9


def triad_bandwidth(megabytes: int) -> float:
    """GB/s of c = a + s b, two reads and one write, in pieces that stay in the nearest cache."""
    a, b, c = _arrays(megabytes, 3)
    scratch = np.empty(4096, np.float32)

    def triad() -> None:
        for start in range(0, a.size, scratch.size):
            piece = slice(start, start + scratch.size)
            np.multiply(b[piece], np.float32(3), out=scratch[: b[piece].size])
            np.add(a[piece], scratch[: b[piece].size], out=c[piece])

    return 3 * a.nbytes / _least_seconds(triad) / 1e9


def gemm_speed(size: int) -> float:
    """GFLOP/s of a float32 matrix product."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    out = torch.empty(size, size)
    return 2 * size**3 / _least_seconds(lambda: torch.mm(a, b, out=out)) / 1e9


def _arrays(megabytes: int, count: int) -> list[np.ndarray]:
    return [np.ones(megabytes * 250_000, np.float32) for _ in range(count)]


def _least_seconds(run: Callable[[], object], rounds: int = 15) -> float:
    """The least CPU time of several calls: interruptions only ever add."""
    least = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        run()
        least = min(least, time.process_time() - begun)
    return least


if __name__ == "__main__":
    main()
