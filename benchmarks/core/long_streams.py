"""Every recurrent operator over streams of up to a million steps, in chunks: time per step, and memory.

Each runs in a process of its own: the peak of memory belongs to a process. gated_linear_attention and
selective_scan have such a table in their own benchmarks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.core.streaming import CHUNK, LENGTHS, stream
from benchmarks.results import ROOT, Column, Result, Table, publish, versions
from statewise.core import ops

COLUMNS = (
    Column(key="operator", label="operator"),
    Column(key="sizes", label="sizes"),
    *(Column(key=f"us_{length}", label=f"µs per step, {length:,} steps", format=".2f") for length in LENGTHS),
    Column(key="growth_mb", label="memory added at the peak, MB", format=".0f"),
)


def main() -> None:
    torch.manual_seed(0)
    if len(sys.argv) > 1:
        print(json.dumps(stream(STEPS[sys.argv[1]][1])))
        return
    rows = [row for name in STEPS for row in in_new_process(name)]
    shown = [summarised(name, [row for row in rows if row["operator"] == name]) for name in STEPS]
    worst = max(shown, key=lambda row: row["us_ratio"])
    publish(
        Result(
            benchmark="core/long_streams",
            title="Streams of a million steps",
            summary=f"From {LENGTHS[0]:,} to {LENGTHS[-1]:,} steps the time per step changes at most by a "
            f"factor of {worst['us_ratio']:.2f} ({worst['operator']}), and the peak of memory grows by at "
            f"most {max(row['growth_mb'] for row in shown):.0f} MB.",
            versions=versions("statewise-core", "torch", "numba"),
            protocol={
                "work": f"forward only, float32, one row, chunks of {CHUNK} steps, the state carried over",
                "clock": "CPU time of one thread, one process per operator",
                "memory": "growth of the peak resident size over the length, after one chunk",
            },
            rows=tuple(rows),
            tables=(Table(title="Forward over a stream", columns=COLUMNS, rows=tuple(shown)),),
        )
    )


def in_new_process(name: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.core.long_streams", name]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    return [{"operator": name, **row} for row in json.loads(done.stdout)]


def summarised(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table from the rows of an operator."""
    times = {f"us_{row['length']}": row["us_per_step"] for row in rows}
    return {
        "operator": name,
        "sizes": STEPS[name][0],
        **times,
        "us_ratio": max(times.values()) / min(times.values()),
        "growth_mb": max(row["growth_mb"] for row in rows),
    }


def scan(dtype: torch.dtype) -> Callable[[int, Any], Any]:
    a = torch.rand(64).to(dtype)
    return lambda length, h: ops.linear_scan(a, torch.randn(1, length, 64, dtype=dtype), h)[1]


def conv(length: int, tail: Any) -> Any:
    return ops.depthwise_conv(torch.randn(1, length, 64), torch.ones(4, 64), tail=tail)[1]


def delta(length: int, s0: Any) -> Any:
    q, k, v = torch.randn(3, 1, length, 2, 16)
    return ops.gated_delta_rule(q, k, v, torch.rand(1, length, 2), -torch.rand(1, length, 2), s0=s0)[1]


def cell(name: str, gates: int) -> Callable[[int, Any], Any]:
    weight = torch.randn(1, gates * 64, 64) / 8
    return lambda length, state: ops.rnn_scan(name, torch.randn(1, length, gates * 64), weight, state)[1]


def softmax(length: int, state: Any) -> Any:
    return ops.prefix_softmax(torch.randn(1, length, 2), torch.randn(1, length, 2, 16), state)[1]


def grid(length: int, row: Any) -> Any:
    gates = torch.tensor(0.4).expand(1, length, 4, 16)
    return ops.scan2d(gates, gates, torch.randn(1, length, 4, 16), row)[1]


def edges(length: int, top: Any) -> Any:
    transitions = torch.tensor(0.2).expand(1, length, 4, 4, 2)
    return ops.scan2d_edges(transitions, torch.randn(1, length, 4, 2, 2, 8), top)[1]


STEPS: dict[str, tuple[str, Callable[[int, Any], Any]]] = {
    "linear_scan": ("64 channels", scan(torch.float32)),
    "linear_scan, complex": ("64 channels", scan(torch.complex64)),
    "depthwise_conv": ("64 channels, 4 taps", conv),
    "gated_delta_rule": ("2 heads, 16 x 16", delta),
    "rnn_scan, lstm": ("width 64", cell("lstm", 4)),
    "rnn_scan, gru": ("width 64", cell("gru", 3)),
    "rnn_scan, slstm": ("width 64", cell("slstm", 4)),
    "prefix_softmax": ("2 heads, 16 values", softmax),
    "scan2d": ("rows of 4 x 16", grid),
    "scan2d_edges": ("rows of 4 x 2 gates x 8", edges),
}
"""Per operator its sizes, and a chunk of its stream: `step(length, state) -> state`, None at first."""


if __name__ == "__main__":
    main()
