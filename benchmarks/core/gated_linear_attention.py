"""`gated_linear_attention` against chunked torch implementations, on one thread."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.core.streaming import stream, table
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.ops import gated_linear_attention, use_backend

BATCH, HEADS, LENGTH, KEYS, VALUES = 4, 8, 1024, 64, 64
ROUNDS = 12
OURS, PORTABLE = "numba", "plain torch, exact"
FLA = "fla naive_chunk_simple_gla"
FACTORED = "torch, chunks of 64 with exp(G) exp(-G)"
COLUMNS = (
    Column(key="rival", label="rival"),
    Column(key="median_ms", label="ms", format=".0f"),
    Column(key="least_ms", label="least ms", format=".0f"),
    Column(key="ratio", label="times ours", format=".1f"),
    Column(key="ratio_of_least", label="of the least times", format=".1f"),
    Column(key="error", label="error, mild decay", format=".1e"),
    Column(key="hard_error", label="error, decays down to -50", format=".1e"),
)


def main() -> None:
    long = stream(_step)  # first, while nothing else has held memory yet
    shared, per_key = measure(per_key=False), measure(per_key=True)
    fla = next(row for row in shared if row["rival"] == FLA)
    exact = next(row for row in per_key if row["rival"] == PORTABLE)
    factored = next(row for row in per_key if row["rival"] == FACTORED)
    publish(
        Result(
            benchmark="core/gated_linear_attention",
            title="gated_linear_attention against chunks in torch",
            summary=f"Forward and backward on one thread, with one decay per token and head numba takes "
            f"1/{fla['ratio']:.1f} of the CPU time of flash-linear-attention's chunked torch function. With "
            f"decays per key it takes 1/{exact['ratio']:.1f} of our exact form in plain torch, and "
            f"1/{factored['ratio']:.1f} of the usual factored form, which is fast in torch but fails for "
            "strong decays. fla's function is written to be read, not to be fast. No GPU was measured.",
            versions=versions("statewise-core", "torch", "numba", "fla-core"),
            protocol={
                "shape": f"batch {BATCH}, {HEADS} heads, length {LENGTH}, K = {KEYS}, V = {VALUES}, float32",
                "inputs": "normal; log decays uniform in [-0.2, 0]; no state before",
                "error": "relative RMSE of the output against the loop in float64, a dash where it is not "
                "finite; hard log decays are 0, -1e-4, -5 or -50 with equal chance",
                "clock": f"CPU time of one thread, in turns, {ROUNDS} rounds; medians of the rounds' ratios",
                "stream": f"batch 1, {HEADS // 2} heads, decay per key, new inputs for every chunk, "
                "no gradient",
            },
            rows=(
                *(row | {"decay": "shared"} for row in shared),
                *(row | {"decay": "key"} for row in per_key),
            ),
            tables=(
                Table(title="One decay per token and head", columns=COLUMNS, rows=tuple(shared)),
                Table(title="Decays per key", columns=COLUMNS, rows=tuple(per_key)),
                table(long, "The time includes drawing the inputs."),
            ),
        )
    )


def measure(*, per_key: bool) -> list[dict[str, Any]]:
    """Time and errors of all rivals with decays of one kind."""
    torch.manual_seed(0)
    q, k = torch.randn(2, BATCH, LENGTH, HEADS, KEYS)
    v = torch.randn(BATCH, LENGTH, HEADS, VALUES)
    shape = (BATCH, LENGTH, HEADS, KEYS) if per_key else (BATCH, LENGTH, HEADS)
    g = -0.2 * torch.rand(shape)
    hard = torch.tensor([0.0, -1e-4, -5.0, -50.0])[torch.randint(4, shape)]
    leaves = [tensor.requires_grad_() for tensor in (q, k, v, g)]
    rivals: dict[str, Callable[..., Tensor]] = {
        OURS: lambda *inputs: _ours("cpu", *inputs),
        PORTABLE: lambda *inputs: _ours("portable", *inputs),
    }
    rivals |= {FACTORED: _factored} if per_key else {FLA: _fla}
    errors = {key: _errors(rivals, q, k, v, decay) for key, decay in (("error", g), ("hard_error", hard))}
    calls = {name: gradients_of(lambda run=run: run(*leaves), leaves) for name, run in rivals.items()}
    rows = ratios(race(calls, rounds=ROUNDS), OURS)
    return [
        {"rival": name, **row, **{key: errors[key][name] for key in errors}} for name, row in rows.items()
    ]


def _errors(rivals: dict[str, Callable[..., Tensor]], *inputs: Tensor) -> dict[str, float | None]:
    """Relative RMSE of each rival's output; None where it is not finite."""
    with torch.no_grad():
        exact = _ours("reference", *(tensor.double() for tensor in inputs))
        values = {name: ((run(*inputs) - exact).norm() / exact.norm()).item() for name, run in rivals.items()}
    return {name: value if value == value else None for name, value in values.items()}


def _ours(backend: str, q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    with use_backend(backend):
        return gated_linear_attention(q, k, v, g)[0]


def _fla(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that there is no GPU
        from fla.ops.simple_gla.naive import naive_chunk_simple_gla

    return naive_chunk_simple_gla(q, k, v, g)[0]


def _factored(q: Tensor, k: Tensor, v: Tensor, g: Tensor, chunk: int = 64) -> Tensor:
    """The usual chunked form with decays per key: exp(G_i - G_j) as exp(G_i) exp(-G_j)."""
    q, k, v, g = (x.transpose(1, 2).unflatten(2, (-1, chunk)) for x in (q, k, v, g))
    sums = g.cumsum(3)
    reader, writer = q * sums.exp() * q.shape[-1] ** -0.5, k * (-sums).exp()
    ends = sums[:, :, :, -1:]
    writes, spans = (k * (ends - sums).exp()).mT @ v, ends.exp().mT.unbind(2)
    state, states = torch.zeros_like(writes[:, :, 0]), []
    for span, write in zip(spans, writes.unbind(2), strict=True):
        states.append(state)
        state = span * state + write
    o = (reader @ writer.mT).tril() @ v + reader @ torch.stack(states, 2)
    return o.flatten(2, 3).transpose(1, 2)


@torch.no_grad()
def _step(length: int, state: Tensor | None) -> Tensor:
    q, k, v = torch.randn(3, 1, length, HEADS // 2, KEYS)
    return gated_linear_attention(q, k, v, -torch.rand(q.shape), s0=state)[1]


if __name__ == "__main__":
    main()
