"""`selective_scan` against the loop of transformers and the parallel scan of mambapy, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mambapy.pscan import pscan
from torch import Tensor

from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.core.streaming import stream, table
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.ops import selective_scan, use_backend

BATCH, LENGTH, CHANNELS, STATES = 4, 1024, 768, 16
ROUNDS = 8
OURS, PORTABLE, LOOP, PSCAN = "numba", "plain torch", "loop over materialised steps", "mambapy pscan"
COLUMNS = (
    Column(key="rival", label="rival"),
    Column(key="median_ms", label="ms", format=".0f"),
    Column(key="least_ms", label="least ms", format=".0f"),
    Column(key="ratio", label="times ours", format=".1f"),
    Column(key="ratio_of_least", label="of the least times", format=".1f"),
    Column(key="error", label="relative error", format=".1e"),
)


def main() -> None:
    long = stream(_step)  # first, while nothing else has held memory yet
    rows = measure()
    loop, theirs = (next(row for row in rows if row["rival"] == name) for name in (LOOP, PSCAN))
    publish(
        Result(
            benchmark="core/selective_scan",
            title="selective_scan against a loop and a parallel scan in torch",
            summary=f"Forward and backward, numba takes 1/{loop['ratio']:.0f} of the CPU time of the loop "
            f"that transformers falls back to without CUDA, and 1/{theirs['ratio']:.0f} of mambapy's "
            "parallel scan; both hold all B L D N states in memory several times. No GPU was measured.",
            versions=versions("statewise-core", "torch", "numba", "mambapy"),
            protocol={
                "shape": f"batch {BATCH}, length {LENGTH}, {CHANNELS} channels, {STATES} states, float32",
                "inputs": "normal; dt uniform in [0.001, 0.1], A = -1, ..., -N as Mamba begins; the "
                "recurrence alone, without softplus, gate and skip connection",
                "loop": "as slow_forward of transformers' Mamba, but unbound once: indexing a step at a time "
                "would make its backward quadratic in the length",
                "error": "relative RMSE of the output, against the loop in float64",
                "clock": f"CPU time of one thread, in turns, {ROUNDS} rounds; medians of the rounds' ratios",
                "stream": f"batch 1, {CHANNELS // 3} channels, new inputs for every chunk, no gradient",
            },
            rows=tuple(rows),
            tables=(
                Table(title="Forward and backward", columns=COLUMNS, rows=tuple(rows)),
                table(long, "The time includes drawing the inputs."),
            ),
        )
    )


def measure() -> list[dict[str, Any]]:
    torch.manual_seed(0)
    u = torch.randn(BATCH, LENGTH, CHANNELS)
    dt = 0.001 + 0.099 * torch.rand(BATCH, LENGTH, CHANNELS)
    A = -torch.arange(1.0, STATES + 1).repeat(CHANNELS, 1)
    B, C = torch.randn(2, BATCH, LENGTH, STATES)
    leaves = [tensor.requires_grad_() for tensor in (u, dt, A, B, C)]
    rivals: dict[str, Callable[..., Tensor]] = {
        OURS: lambda *inputs: _ours("cpu", *inputs),
        PORTABLE: lambda *inputs: _ours("portable", *inputs),
        LOOP: _loop,
        PSCAN: _pscan,
    }
    with torch.no_grad():
        exact = _ours("reference", *(tensor.double() for tensor in leaves))
        errors = {name: ((run(*leaves) - exact).norm() / exact.norm()).item() for name, run in rivals.items()}
    calls = {name: gradients_of(lambda run=run: run(*leaves), leaves) for name, run in rivals.items()}
    rows = ratios(race(calls, rounds=ROUNDS, warmup=1), OURS)
    return [{"rival": name, "error": errors[name], **row} for name, row in rows.items()]


def _ours(backend: str, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    with use_backend(backend):
        return selective_scan(u, dt, A, B, C, dt_softplus=False)[0]


def _loop(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    decays = torch.exp(dt.unsqueeze(-1) * A).unbind(1)
    writes = ((dt * u).unsqueeze(-1) * B.unsqueeze(2)).unbind(1)
    state, outputs = torch.zeros_like(writes[0]), []
    for decay, write, read in zip(decays, writes, C.unbind(1), strict=True):
        state = decay * state + write
        outputs.append((state @ read.unsqueeze(-1)).squeeze(-1))
    return torch.stack(outputs, 1)


def _pscan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    states = pscan(torch.exp(dt.unsqueeze(-1) * A), (dt * u).unsqueeze(-1) * B.unsqueeze(2))
    return (states @ C.unsqueeze(-1)).squeeze(-1)


@torch.no_grad()
def _step(length: int, state: Tensor | None) -> Tensor:
    u, B = torch.randn(1, length, CHANNELS // 3), torch.randn(1, length, STATES)
    A = -torch.arange(1.0, STATES + 1).repeat(CHANNELS // 3, 1)
    return selective_scan(u, 0.1 * torch.rand_like(u), A, B, B, dt_softplus=False, h0=state)[1]


if __name__ == "__main__":
    main()
