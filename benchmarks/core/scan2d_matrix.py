"""`scan2d_matrix` against the weights of all pairs of nodes, by sizes of grid and head, one thread.

By these figures the layer plstm2d chooses between the two, and there is no third form that goes by tiles:
even at the speed of one large product of matrices it would be no faster.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.core.machine import gemm_speed
from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.layers.plstm2d import by_pairs, cheaper_form
from statewise.core.ops import scan2d_matrix

HEADS, ROUNDS = 4, 7
SIDES, WIDTHS = (8, 14, 24, 32), (16, 32, 64)
LARGE = 64
"""Side of a grid on which only the scan is measured with gradients: pairs take gigabytes there."""
TILE = 4


def main() -> None:
    torch.set_num_threads(1)
    speed = gemm_speed(1024)
    rows = [measure(width, side, speed) for width in WIDTHS for side in (*SIDES, LARGE)]
    large = next(row for row in rows if (row["width"], row["side"]) == (64, LARGE))
    publish(
        Result(
            benchmark="core/scan2d_matrix",
            title="scan2d_matrix against all pairs of nodes",
            summary=f"On a grid of {LARGE} x {LARGE} nodes with heads of 64 the scan is "
            f"{large['forward']:.1f} times as fast as the weights of all pairs, forwards.",
            versions=versions("statewise-core", "torch", "numba"),
            protocol={
                "shape": f"batch 1, {HEADS} heads of K keys and values, four orientations, float32",
                "pairs": "path_weights times q k', times v",
                "scan": "scan2d_matrix, both with kernels",
                "tiles": f"a form with tiles of {TILE} x {TILE} nodes, pairs inside and states between, has "
                f"{_tile_products()} K x K products per node and orientation, where the scan has 8; their "
                "time is that of as many in a product of 1024 x 1024",
                "clock": f"CPU time of one thread, in turns, {ROUNDS} rounds; medians, also of the ratios",
                "machine": f"float32 product of 1024 x 1024: {speed:.1f} GFLOP/s",
            },
            rows=tuple(rows),
            tables=(
                Table(
                    title="By size",
                    columns=(
                        Column(key="width", label="K"),
                        Column(key="side", label="grid"),
                        Column(key="scan", label="scan, µs per node and head", format=".2f"),
                        Column(key="tiles", label="tiles at least, µs", format=".2f"),
                        Column(key="forward", label="times faster than pairs, forwards", format=".2f"),
                        Column(key="training", label="with gradients", format=".2f"),
                        Column(key="chosen", label="the layer takes, forwards"),
                        Column(key="chosen_training", label="with gradients"),
                    ),
                    rows=tuple(rows),
                    note=f"The grid of {LARGE} x {LARGE} is not measured for pairs with gradients.",
                ),
            ),
        )
    )


def measure(width: int, side: int, speed: float) -> dict[str, Any]:
    """Times of both forms and their ratios on one grid."""
    inputs = drawn(width, side)
    forms = {"scan": lambda: scan2d_matrix(*inputs), "pairs": lambda: by_pairs(*inputs)}
    torch.testing.assert_close(forms["scan"](), forms["pairs"](), rtol=1e-3, atol=1e-3)

    def without(run: Any) -> Any:
        def call() -> Tensor:
            with torch.no_grad():
                return run()

        return call

    forward = ratios(race({name: without(run) for name, run in forms.items()}, rounds=ROUNDS), "scan")
    training = None
    if side != LARGE:
        both = race({name: gradients_of(run, list(inputs)) for name, run in forms.items()}, rounds=ROUNDS)
        training = round(ratios(both, "scan")["pairs"]["ratio"], 3)
    nodes = side * side
    return {
        "width": width,
        "side": side,
        "scan": round(1e3 * forward["scan"]["median_ms"] / (nodes * HEADS), 3),
        "tiles": round(4 * _tile_products() * width**2 / (speed * 1e3 / 2), 3),
        "forward": round(forward["pairs"]["ratio"], 3),
        "training": training,
        "chosen": cheaper_form(nodes, width, compiled=True, gradients=False),
        "chosen_training": cheaper_form(nodes, width, compiled=True, gradients=True),
    }


def _tile_products() -> int:
    """Products of K x K numbers per node and orientation of a form by tiles.

    A tile has 2 b edges in and 2 b out: each node reads all that enter and writes to all that leave, and each
    edge that enters goes to each that leaves.
    """
    edges, nodes = 2 * TILE, TILE * TILE
    return 2 * edges + edges * edges // nodes


def drawn(width: int, side: int) -> tuple[Tensor, ...]:
    """Queries, keys, values, transitions, sources and marks, with gates like those of mode P."""
    make = torch.Generator().manual_seed(0)
    states = [torch.randn(1, side, side, HEADS, width, generator=make) / width**0.5 for _ in range(3)]
    share, decay = (torch.rand(1, side, side, 4, HEADS, generator=make) for _ in range(2))
    along, across = share * decay, (1 - share) * decay
    sides = [torch.rand(1, side, side, 2, 4, HEADS, generator=make) for _ in range(2)]
    gates = [torch.stack([along, across, along, across], 3), *sides]
    return tuple(tensor.requires_grad_() for tensor in (*states, *gates))


if __name__ == "__main__":
    main()
