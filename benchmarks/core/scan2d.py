"""`scan2d` against the autograd loop over its nodes, forward and backward, one thread."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.ops import scan2d, use_backend

BATCH, ROWS, COLUMNS, WIDTH = 8, 32, 32, 256
ROUNDS = 30
TABLE = (
    Column(key="rival", label="rival"),
    Column(key="median_ms", label="ms", format=".1f"),
    Column(key="ratio", label="times slower than numba", format=".1f"),
    Column(key="ratio_of_least", label="of the least times", format=".1f"),
)


def main() -> None:
    rows = measure()
    loop = next(row for row in rows if row["rival"] == "autograd loop")
    publish(
        Result(
            benchmark="core/scan2d",
            title="scan2d against the loop over nodes",
            summary=f"numba is {loop['ratio']:.1f} times as fast as the loop over nodes under autograd.",
            versions=versions("statewise-core", "torch", "numba"),
            protocol={
                "shape": f"batch {BATCH}, grid {ROWS} x {COLUMNS}, {WIDTH} features, float32",
                "loop": "nodes taken with unbind (indexing under autograd is slower), two addcmul each",
                "clock": f"CPU time of one thread, in turns, {ROUNDS} rounds; medians of the rounds' ratios",
            },
            rows=tuple(rows),
            tables=(Table(title="Forward and backward", columns=TABLE, rows=tuple(rows)),),
        )
    )


def measure() -> list[dict[str, Any]]:
    torch.manual_seed(0)
    shape = (BATCH, ROWS, COLUMNS, WIDTH)
    down, right = (torch.rand(shape).mul_(0.5).requires_grad_() for _ in range(2))
    x = torch.randn(shape, requires_grad=True)
    leaves = [down, right, x]

    def numba() -> torch.Tensor:
        return scan2d(down, right, x)[0]

    def portable() -> torch.Tensor:
        with use_backend("portable"):
            return scan2d(down, right, x)[0]

    def loop() -> torch.Tensor:
        above = list(torch.zeros(BATCH, COLUMNS, WIDTH).unbind(1))
        grid = []
        for d_row, r_row, x_row in zip(down.unbind(1), right.unbind(1), x.unbind(1), strict=True):
            left = torch.zeros(BATCH, WIDTH)
            line = []
            for j, (d, r, node) in enumerate(
                zip(d_row.unbind(1), r_row.unbind(1), x_row.unbind(1), strict=True)
            ):
                left = torch.addcmul(torch.addcmul(node, d, above[j]), r, left)
                line.append(left)
            above = line
            grid.append(torch.stack(line, 1))
        return torch.stack(grid, 1)

    torch.testing.assert_close(numba(), loop(), rtol=1e-4, atol=1e-5)
    rivals = {"numba": numba, "portable": portable, "autograd loop": loop}
    seconds = race({name: gradients_of(run, leaves) for name, run in rivals.items()}, rounds=ROUNDS)
    return [{"rival": name, **figures} for name, figures in ratios(seconds, "numba").items()]


if __name__ == "__main__":
    main()
