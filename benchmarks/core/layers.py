"""Every layer of the catalogue at one size: parameters, time per token in training and per step of a stream.

The rows also go into the pages of docs/layers (`benchmarks.core.layer_pages`). `gru` runs in every round
beside each layer, so that a busy machine disturbs both alike.

    python -m benchmarks.core.layers [--keep]

With `--keep` the rows of the committed document count as finished, so that only new layers are measured.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.core.layer_pages import write_pages
from benchmarks.core.race import race
from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.core.layers import LAYERS, build
from statewise.core.layers.contract import Layer

NAME = "core/layers"
WIDTH, BATCH, LENGTH = 64, 4, 512
ROUNDS, STEPS = 7, 100
ANCHOR = "gru"

SETTINGS: dict[str, dict[str, Any]] = {
    "attention": {"window": LENGTH},
    "chimera2d": {"variates": 8},
    "chimera2d-companion": {"variates": 8},
    "convs5": {"height": 8, "width": 8},
    "plstm2d": {"heads": 2},
}
"""What differs from the defaults; d_model is `WIDTH` everywhere."""
SHAPES = {
    "chimera2d": (4, 64, 8, WIDTH),
    "chimera2d-companion": (4, 64, 8, WIDTH),
    "convs5": (1, 32, 8, 8, WIDTH),
    "plstm2d": (4, 16, 16, WIDTH),
}
"""Inputs of layers with more axes than (B, L, D); a token is then a variate, a pixel or a node."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true", help="count the committed rows as finished")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("layer",))
    if arguments.keep:
        ledger.keep_committed(lambda row: row["layer"] in LAYERS)
    for name in LAYERS:
        if LAYERS[name].origin == "statewise" and ledger.find(layer=name) is None:
            ledger.add(measure(name))
            print(ledger.rows[-1], flush=True)
    rows = sorted(ledger.rows, key=lambda row: row["layer"])
    publish(report(rows))
    write_pages(rows)


def measure(name: str) -> dict[str, Any]:
    """One row: counts and times of a layer, beside those of the anchor in the same rounds."""
    torch.manual_seed(0)
    layer, anchor = layer_of(name), layer_of(ANCHOR)
    shape = SHAPES.get(name, (BATCH, LENGTH, WIDTH))
    tokens = math.prod(shape[:-1])
    rivals = {name: training(layer, torch.randn(shape))}
    rivals.setdefault(ANCHOR, training(anchor, torch.randn(BATCH, LENGTH, WIDTH)))
    seconds = race(rivals, rounds=ROUNDS, warmup=1)
    per_token = [value / tokens for value in seconds[name]]
    row = {
        "layer": name,
        "shape": "x".join(map(str, shape)),
        "parameters": sum(parameter.numel() for parameter in layer.parameters()),
        "state": None,
        "token_us": 1e6 * median(per_token),
        "token_ratio": median(
            a / (b / (BATCH * LENGTH)) for a, b in zip(per_token, seconds[ANCHOR], strict=True)
        ),
        "step_us": None,
    }
    if layer.streaming:
        state = layer.initial_state(1)
        row["state"] = sum(part.numel() * part.element_size() for part in leaves(state))
        row["step_us"] = stepping(layer, torch.randn(1, *shape[2:]), state)
    return row


def layer_of(name: str) -> Layer[Any]:
    return build(name, d_model=WIDTH, **SETTINGS.get(name, {}))


def training(layer: Layer[Any], x: Tensor) -> Callable[[], object]:
    """A call that runs a layer forward and backward, for its parameters and its input."""
    x.requires_grad_()
    wanted = [x, *layer.parameters()]

    def run() -> object:
        y, _ = layer(x)
        return torch.autograd.grad(y, wanted, torch.ones_like(y), allow_unused=True)

    return run


@torch.no_grad()
def stepping(layer: Layer[Any], x_t: Tensor, state: Any) -> float:
    """Microseconds of CPU time per step of one stream: the least of a few runs of `STEPS` steps."""
    least = math.inf
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(STEPS):
            _, state = layer.step(x_t, state)
        least = min(least, time.process_time() - begun)
    return 1e6 * least / STEPS


def leaves(state: Any) -> list[Tensor]:
    """The tensors of a state."""
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in leaves(part)]


def report(rows: list[dict[str, Any]]) -> Result:
    shown = [{**row, **facts(row["layer"])} for row in rows]
    fastest = sorted((row for row in shown if row["layer"] not in SHAPES), key=lambda row: row["token_us"])
    slowest = fastest[-1]
    return Result(
        benchmark=NAME,
        title="All layers at one size",
        summary=f"At {WIDTH} features, training costs from {fastest[0]['token_us']:.1f} "
        f"({fastest[0]['layer']}) to {slowest['token_us']:.1f} microseconds per token "
        f"({slowest['layer']}) on one thread. It is one small size: at others the order differs.",
        versions=versions("statewise-core", "torch", "numba"),
        protocol={
            "size": f"d_model {WIDTH}, all other settings at their defaults except "
            + "; ".join(f"{name}: {described(settings)}" for name, settings in SETTINGS.items()),
            "training": f"forward and backward, for parameters and input, on ({BATCH}, {LENGTH}, {WIDTH}), "
            f"float32; other shapes are given; median of {ROUNDS} rounds",
            "times gru": f"the ratio to the layer {ANCHOR} at ({BATCH}, {LENGTH}, {WIDTH}), which runs in "
            "turns with each layer",
            "step": f"one stream, eager PyTorch, no gradient; least of {ROUNDS} runs of {STEPS} steps; "
            "most of it is the cost of calling PyTorch",
            "clock": "CPU time of one thread",
        },
        rows=tuple(rows),
        tables=(Table(title="Cost", columns=COLUMNS, rows=tuple(shown), note=NOTE),),
    )


def facts(name: str) -> dict[str, Any]:
    entry = LAYERS[name]
    return {"year": str(entry.year), "operators": ", ".join(entry.facts["ops"]) or "plain torch"}


def described(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


COLUMNS = (
    Column(key="layer", label="layer"),
    Column(key="year", label="year"),
    Column(key="operators", label="operators"),
    Column(key="shape", label="input"),
    Column(key="parameters", label="parameters", format=",d"),
    Column(key="token_us", label="µs per token, training", format=".2f"),
    Column(key="token_ratio", label="times gru", format=".2f"),
    Column(key="step_us", label="µs per step", format=".0f"),
    Column(key="state", label="state, bytes", format=",d"),
)
NOTE = (
    "A layer without figures for a step reads its sequence both ways. The state is what one stream keeps; "
    "that of `attention` grows with its window."
)


if __name__ == "__main__":
    main()
