"""`linear_scan` against the autograd loop, its portable form and mambapy, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mambapy.pscan import pscan

from benchmarks.core.machine import copy_bandwidth
from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.ops import linear_scan, use_backend

CASES = (((8, 1024, 512), 1, 30), ((4, 1024, 64), 1, 60), ((32, 50, 64), 20, 40), ((1, 256, 64), 20, 20))
"""Shape (B, L, D), calls per turn, rounds."""
TRAFFIC = 8
"""Arrays of (B, L, D) that forward and backward must read or write: a, b, h; the gradient, a, h, da, db."""
TABLE = (
    Column(key="shape", label="B, L, D"),
    Column(key="rival", label="rival"),
    Column(key="median_ms", label="ms", format=".2f"),
    Column(key="ratio", label="times slower than numba", format=".1f"),
    Column(key="ratio_of_least", label="of the least times", format=".1f"),
    Column(key="bandwidth", label="share of the copy bandwidth", format=".0%"),
)


def main() -> None:
    torch.set_num_threads(1)
    limit = copy_bandwidth(16)
    rows = [row for case in CASES for row in measure(*case, limit)]
    publish(
        Result(
            benchmark="core/linear_scan",
            title="linear_scan against the loop and a parallel scan",
            summary=summary(rows),
            versions=versions("statewise-core", "torch", "numba", "mambapy"),
            protocol={
                "work": "forward, and the gradients of a and b for a given gradient of h; float32",
                "loop": "torch.addcmul per step on unbound steps, differentiated by autograd",
                "mambapy": "pscan, one number of state per channel; it knows no initial state and no resets",
                "clock": "CPU time of one thread, in turns; a turn is one call, or 20 where L is at most "
                "256; medians of the rounds' ratios",
                "bandwidth": f"{TRAFFIC} arrays over the least time, over that of copying 16 MB arrays",
            },
            rows=tuple(rows),
            tables=(Table(title="Forward and backward", columns=TABLE, rows=tuple(rows)),),
        )
    )


def measure(shape: tuple[int, int, int], calls: int, rounds: int, limit: float) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    a, b = torch.rand(shape, requires_grad=True), torch.randn(shape, requires_grad=True)
    forwards = rivals_on(a, b)
    for run in forwards.values():
        torch.testing.assert_close(run(), forwards["autograd loop"](), rtol=1e-3, atol=1e-4)
    rivals = {name: repeated(gradients_of(run, [a, b]), calls) for name, run in forwards.items()}
    rows = ratios(race(rivals, rounds=rounds), "numba")
    bytes_moved = TRAFFIC * b.nbytes
    return [
        {
            "shape": ", ".join(map(str, shape)),
            "rival": name,
            **figures,
            "median_ms": figures["median_ms"] / calls,
            "least_ms": figures["least_ms"] / calls,
            "bandwidth": bytes_moved / (figures["least_ms"] / calls * 1e6) / limit,
        }
        for name, figures in rows.items()
    ]


def rivals_on(a: torch.Tensor, b: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    def portable() -> torch.Tensor:
        with use_backend("portable"):
            return linear_scan(a, b)[0]

    def loop() -> torch.Tensor:
        h, states = torch.zeros_like(b[:, 0]), []
        for decay, write in zip(a.unbind(1), b.unbind(1), strict=True):
            h = torch.addcmul(write, decay, h)
            states.append(h)
        return torch.stack(states, 1)

    return {
        "numba": lambda: linear_scan(a, b)[0],
        "portable": portable,
        "autograd loop": loop,
        "mambapy": lambda: pscan(a[..., None], b[..., None])[..., 0],
    }


def repeated(run: Callable[[], object], calls: int) -> Callable[[], object]:
    def turn() -> None:
        for _ in range(calls):
            run()

    return turn


def summary(rows: list[dict[str, Any]]) -> str:
    said = []
    for shape in dict.fromkeys(row["shape"] for row in rows):
        of = {row["rival"]: row["ratio"] for row in rows if row["shape"] == shape}
        said.append(
            f"At {shape} numba is {of['autograd loop']:.1f} times as fast as the autograd loop, "
            f"{of['mambapy']:.1f} times mambapy and {of['portable']:.1f} times portable."
        )
    return " ".join(said)


if __name__ == "__main__":
    main()
