"""`gated_delta_rule` against the chunked torch implementation of flash-linear-attention, on one thread."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.ops import gated_delta_rule, use_backend

BATCH, HEADS, LENGTH, KEYS, VALUES = 4, 8, 1024, 64, 64
ROUNDS = 12
OURS, PORTABLE, FLA = "numba", "plain torch (solve_triangular)", "fla delta_rule_chunkwise"
COLUMNS = (
    Column(key="rival", label="rival"),
    Column(key="median_ms", label="ms", format=".0f"),
    Column(key="least_ms", label="least ms", format=".0f"),
    Column(key="ratio", label="times ours", format=".1f"),
    Column(key="ratio_of_least", label="of the least times", format=".1f"),
    Column(key="error", label="relative error", format=".1e"),
)


def main() -> None:
    rows = measure()
    fla = next(row for row in rows if row["rival"] == FLA)
    publish(
        Result(
            benchmark="core/gated_delta_rule",
            title="gated_delta_rule against chunks in torch",
            summary=f"Forward and backward, numba takes 1/{fla['ratio']:.1f} of the CPU time of "
            "flash-linear-attention's chunked torch function. That function has neither decays nor resets "
            "and is written to be read, not to be fast. No GPU was measured.",
            versions=versions("statewise-core", "torch", "numba", "fla-core"),
            protocol={
                "shape": f"batch {BATCH}, {HEADS} heads, length {LENGTH}, K = {KEYS}, V = {VALUES}, float32",
                "inputs": "normal, keys of norm 1 (normalise=False), beta uniform in [0, 1], no state before",
                "layout": "each rival gets its own, contiguous: (B, L, H, .) here, (B, H, L, .) there",
                "decay": "numba once more with a decay per step, minus the absolute value of normal",
                "error": "relative RMSE of the output; against the loop in float64",
                "clock": f"CPU time of one thread, in turns, {ROUNDS} rounds; medians of the rounds' ratios",
            },
            rows=tuple(rows),
            tables=(Table(title="Forward and backward", columns=COLUMNS, rows=tuple(rows)),),
        )
    )


def measure() -> list[dict[str, Any]]:
    torch.manual_seed(0)
    q = torch.randn(BATCH, LENGTH, HEADS, KEYS)
    k = F.normalize(torch.randn(BATCH, LENGTH, HEADS, KEYS), dim=-1)
    v = torch.randn(BATCH, LENGTH, HEADS, VALUES)
    beta, g = torch.rand(BATCH, LENGTH, HEADS), -torch.randn(BATCH, LENGTH, HEADS).abs()
    ours = [tensor.requires_grad_() for tensor in (q, k, v, beta, g)]
    theirs = [tensor.detach().transpose(1, 2).contiguous().requires_grad_() for tensor in (q, k, v, beta)]
    exact, gated = ([tensor.detach().double() for tensor in ours[:count]] for count in (4, 5))
    with use_backend("reference"):
        wanted, wanted_gated = (gated_delta_rule(*inputs, normalise=False)[0] for inputs in (exact, gated))
    rivals = {
        OURS: (lambda: _ours("cpu", ours[:4]), ours[:4], wanted),
        f"{OURS}, with decay": (lambda: _ours("cpu", ours), ours, wanted_gated),
        PORTABLE: (lambda: _ours("portable", ours[:4]), ours[:4], wanted),
        FLA: (lambda: _fla(theirs), theirs, wanted.transpose(1, 2)),
    }
    with torch.no_grad():
        errors = {name: _error(run(), result) for name, (run, _, result) in rivals.items()}
    seconds = race(
        {name: gradients_of(run, leaves) for name, (run, leaves, _) in rivals.items()}, rounds=ROUNDS
    )
    return [{"rival": name, "error": errors[name], **row} for name, row in ratios(seconds, OURS).items()]


def _ours(backend: str, inputs: list[Tensor]) -> Tensor:
    with use_backend(backend):
        return gated_delta_rule(*inputs, normalise=False)[0]


def _fla(inputs: list[Tensor]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that there is no GPU
        from fla.ops.delta_rule.naive import delta_rule_chunkwise

    return delta_rule_chunkwise(*inputs)[0]


def _error(value: Tensor, exact: Tensor) -> float:
    return ((value - exact).norm() / exact.norm()).item()


if __name__ == "__main__":
    main()
