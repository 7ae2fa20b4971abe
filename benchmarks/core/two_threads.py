"""Two threads against one on large shapes: wall time, and whether a single bit of any result differs.

The least times count: other work on the machine only ever adds. The load of the machine before and after is
kept with the figures; above one waiting process wall times say little. Then look at the CPU time of the
calling thread: what it falls by is what the operator hands to the other thread, whoever else wants that core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core import ops

ROUNDS = 60
COLUMNS = (
    Column(key="operator", label="operator"),
    Column(key="shape", label="shape"),
    Column(key="one_ms", label="one thread, least ms", format=".1f"),
    Column(key="two_ms", label="two threads, least ms", format=".1f"),
    Column(key="ratio", label="times as fast", format=".2f"),
    Column(key="share", label="caller's CPU time, one over two", format=".2f"),
    Column(key="same_bits", label="same bits"),
)


def main() -> None:
    torch.manual_seed(0)
    before = os.getloadavg()[0]
    rows = [measure(*case) for case in cases()]
    load = max(before, os.getloadavg()[0])
    publish(
        Result(
            benchmark="core/two_threads",
            title="Two threads against one",
            summary=f"Two threads are {min(row['ratio'] for row in rows):.2f} to "
            f"{max(row['ratio'] for row in rows):.2f} times as fast as one, at a load of {load:.1f} on "
            f"{os.cpu_count()} cores"
            + (": too busy a machine to show what the operators can do. " if load > 1 else ". ")
            + (
                "All results are the same to the bit."
                if all(row["same_bits"] for row in rows)
                else "Results differ."
            ),
            versions=versions("statewise-core", "torch", "numba"),
            protocol={
                "work": "forward, and all gradients from a given one of the output, float32",
                "clock": f"wall time, and CPU time of the calling thread; one and two threads in turns, "
                f"{ROUNDS} rounds, least times",
                "load": f"{load:.1f} processes at work or waiting (one-minute mean), {os.cpu_count()} cores",
            },
            rows=tuple(rows),
            tables=(Table(title="Forward and backward", columns=COLUMNS, rows=tuple(rows)),),
        )
    )


def cases() -> list[tuple[str, str, Callable[..., Any], list[Tensor]]]:
    """Operator, shape in words, the call, and its inputs."""
    scan = [torch.rand(16, 1024, 512), torch.randn(16, 1024, 512)]
    heads = [*torch.randn(3, 4, 512, 8, 64), -torch.rand(4, 512, 8, 64)]
    delta = [*torch.randn(3, 4, 512, 8, 64), torch.rand(4, 512, 8), -torch.rand(4, 512, 8)]
    select = [*torch.randn(2, 4, 512, 768), -torch.rand(768, 16), *torch.randn(2, 4, 512, 16)]
    lstm = [torch.randn(32, 256, 1024), torch.randn(1, 1024, 256) / 16]
    grid = [*torch.full((2, 16, 32, 32, 256), 0.4), torch.randn(16, 32, 32, 256)]
    return [
        ("linear_scan", "16, 1024, 512", ops.linear_scan, scan),
        ("gated_linear_attention", "4, 512, 8 heads, 64 x 64", ops.gated_linear_attention, heads),
        ("gated_delta_rule", "4, 512, 8 heads, 64 x 64", ops.gated_delta_rule, delta),
        ("selective_scan", "4, 512, 768, 16 states", ops.selective_scan, select),
        ("rnn_scan, lstm", "32, 256, 256", lambda x, weight: ops.rnn_scan("lstm", x, weight), lstm),
        ("scan2d", "16, 32, 32, 256", ops.scan2d, grid),
    ]


def measure(name: str, shape: str, run: Callable[..., Any], inputs: list[Tensor]) -> dict[str, Any]:
    leaves = [tensor.requires_grad_() for tensor in inputs]
    cotangent = torch.randn(run(*leaves)[0].shape)

    def results() -> list[Tensor]:
        y = run(*leaves)[0]
        return [y, *torch.autograd.grad(y, leaves, cotangent)]

    outcomes, times, shares = {}, {1: [], 2: []}, {1: [], 2: []}
    for threads in times:
        torch.set_num_threads(threads)
        outcomes[threads] = results()
    for _ in range(ROUNDS):
        for threads, spent in times.items():
            torch.set_num_threads(threads)
            begun, worked = time.perf_counter(), time.thread_time()
            results()
            spent.append(time.perf_counter() - begun)
            shares[threads].append(time.thread_time() - worked)
    return {
        "operator": name,
        "shape": shape,
        "one_ms": 1e3 * min(times[1]),
        "two_ms": 1e3 * min(times[2]),
        "ratio": min(times[1]) / min(times[2]),
        "share": min(shares[1]) / min(shares[2]),
        "same_bits": all(torch.equal(a, b) for a, b in zip(*outcomes.values(), strict=True)),
    }


if __name__ == "__main__":
    main()
