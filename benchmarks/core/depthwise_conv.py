"""`depthwise_conv` against its portable form and torch's `conv1d`, forward and backward, one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.ops import depthwise_conv, use_backend

CASES = (
    ("short convolution", (4, 1024, 1536, 4), 1, 12),
    ("short convolution, small", (32, 50, 64, 4), 10, 20),
    ("FSMN memory", (8, 256, 256, 20), 1, 20),
    ("PGN window", (8, 336, 16, 168), 1, 20),
)
"""What it is, shape (B, L, D, K), calls per turn, rounds."""
TABLE = (
    Column(key="case", label="as in"),
    Column(key="shape", label="B, L, D, K"),
    Column(key="rival", label="rival"),
    Column(key="median_ms", label="ms", format=".2f"),
    Column(key="ratio", label="times slower than numba", format=".1f"),
    Column(key="ratio_of_least", label="of the least times", format=".1f"),
)


def main() -> None:
    rows = [row for case in CASES for row in measure(*case)]
    against = [row["ratio"] for row in rows if row["rival"] == "conv1d"]
    publish(
        Result(
            benchmark="core/depthwise_conv",
            title="depthwise_conv against torch's convolution",
            summary=f"numba is {min(against):.1f} to {max(against):.1f} times as fast as conv1d with groups "
            "= D, its transpositions to and from (B, D, L) included. conv1d knows no resets and no lengths.",
            versions=versions("statewise-core", "torch", "numba"),
            protocol={
                "work": "forward, and the gradients of x, weight and bias for a given gradient of y; float32",
                "clock": "CPU time of one thread, in turns; a turn is one call, or 10 of the small shape; "
                "medians of the rounds' ratios",
            },
            rows=tuple(rows),
            tables=(Table(title="Forward and backward", columns=TABLE, rows=tuple(rows)),),
        )
    )


def measure(case: str, shape: tuple[int, int, int, int], calls: int, rounds: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    batch, length, width, taps = shape
    x = torch.randn(batch, length, width, requires_grad=True)
    weight, bias = torch.randn(taps, width, requires_grad=True), torch.randn(width, requires_grad=True)
    forwards = rivals_on(x, weight, bias)
    for run in forwards.values():
        torch.testing.assert_close(run(), forwards["conv1d"](), rtol=1e-3, atol=1e-3)
    rivals = {name: repeated(gradients_of(run, [x, weight, bias]), calls) for name, run in forwards.items()}
    return [
        {
            "case": case,
            "shape": ", ".join(map(str, shape)),
            "rival": name,
            **figures,
            "median_ms": figures["median_ms"] / calls,
            "least_ms": figures["least_ms"] / calls,
        }
        for name, figures in ratios(race(rivals, rounds=rounds), "numba").items()
    ]


def rivals_on(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> dict[str, Callable[[], torch.Tensor]]:
    taps, width = weight.shape

    def portable() -> torch.Tensor:
        with use_backend("portable"):
            return depthwise_conv(x, weight, bias)[0]

    def conv1d() -> torch.Tensor:
        padded = functional.pad(x.mT, (taps - 1, 0))
        return functional.conv1d(padded, weight.T[:, None], bias, groups=width).mT

    return {
        "numba": lambda: depthwise_conv(x, weight, bias)[0],
        "portable": portable,
        "conv1d": conv1d,
    }


def repeated(run: Callable[[], object], calls: int) -> Callable[[], object]:
    def turn() -> None:
        for _ in range(calls):
            run()

    return turn


if __name__ == "__main__":
    main()
