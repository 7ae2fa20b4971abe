"""`scan2d_matrix` against the weights of all pairs of nodes, by sizes of grid and head, one thread.

By these figures the layer plstm2d chooses between the two, and there is no third form that goes by tiles: its
products of matrices alone take longer than the scan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.layers.plstm2d import by_pairs, cheaper_form
from statewise.core.ops import scan2d_matrix

HEADS, ROUNDS = 4, 7
SIDES, WIDTHS = (8, 16, 24, 32), (16, 32, 64)
LARGE = 64
"""Side of a grid on which only the scan is measured with gradients: pairs take gigabytes there."""
TILE = 4
CACHED = 1 << 20
"""Bytes of the states of the tiles that are multiplied at once."""


def main() -> None:
    torch.set_num_threads(1)
    rows = [measure(width, side) for width in WIDTHS for side in (*SIDES, LARGE)]
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
                "tiles": f"the products, alone, of a form with tiles of {TILE} x {TILE} nodes, pairs inside "
                "and states from tile to tile: what nodes read of the states that enter, what they write to "
                "those that leave, and the way from edge to edge; batched over as many tiles as stay in the "
                "cache, into the same memory; four orientations",
                "clock": f"CPU time of one thread, in turns, {ROUNDS} rounds; medians, also of the ratios",
            },
            rows=tuple(rows),
            tables=(
                Table(
                    title="By size",
                    columns=(
                        Column(key="width", label="K"),
                        Column(key="side", label="grid"),
                        Column(key="scan", label="scan, µs per node and head", format=".2f"),
                        Column(key="tiles", label="products of tiles, µs", format=".2f"),
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


def measure(width: int, side: int) -> dict[str, Any]:
    """Times of both forms and their ratios on one grid."""
    inputs = drawn(width, side)
    forms = {"scan": lambda: scan2d_matrix(*inputs), "pairs": lambda: by_pairs(*inputs)}
    torch.testing.assert_close(forms["scan"](), forms["pairs"](), rtol=1e-3, atol=1e-3)

    def without(run: Any) -> Any:
        def call() -> Tensor:
            with torch.no_grad():
                return run()

        return call

    rivals = {name: without(run) for name, run in forms.items()} | {"tiles": tile_products(width, side)}
    forward = ratios(race(rivals, rounds=ROUNDS), "scan")
    training = None
    if side != LARGE:
        both = race({name: gradients_of(run, list(inputs)) for name, run in forms.items()}, rounds=ROUNDS)
        training = round(ratios(both, "scan")["pairs"]["ratio"], 3)
    nodes = side * side
    return {
        "width": width,
        "side": side,
        "scan": round(1e3 * forward["scan"]["median_ms"] / (nodes * HEADS), 3),
        "tiles": round(1e3 * forward["tiles"]["median_ms"] / (nodes * HEADS), 3),
        "forward": round(forward["pairs"]["ratio"], 3),
        "training": training,
        "chosen": cheaper_form(nodes, width, compiled=True, gradients=False),
        "chosen_training": cheaper_form(nodes, width, compiled=True, gradients=True),
    }


def tile_products(width: int, side: int) -> Callable[[], object]:
    """A call that makes the products with K x K states that a form by tiles has, on as many tiles.

    A tile has 2 b edges in and 2 b out: each node reads all that enter and writes to all that leave, and each
    edge that enters goes to each that leaves.
    """
    edges, nodes = 2 * TILE, TILE * TILE
    every = 4 * HEADS * (side * side // nodes)
    tiles = min(every, CACHED // (4 * edges * width * width))
    queries, values = torch.randn(tiles, nodes, width), torch.randn(tiles, nodes, width)
    states, keys = torch.randn(tiles, width, edges * width), torch.randn(tiles, edges * width, nodes)
    between, entering = torch.randn(tiles, edges, edges), torch.randn(tiles, edges, width * width)
    read, written, moved = queries @ states, keys @ values, between @ entering

    def run() -> None:
        for _ in range(every // tiles):
            torch.bmm(queries, states, out=read)
            torch.bmm(keys, values, out=written)
            torch.bmm(between, entering, out=moved)

    return run


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
