"""`rnn_scan` as LSTM and GRU against torch's own, forward and backward, one thread."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.core.race import gradients_of, race, ratios
from benchmarks.results import Column, Result, Table, publish, versions
from statewise.core.ops import rnn_scan

BATCH, LENGTH, INPUTS, WIDTH = 8, 256, 256, 256
ROUNDS = 40
MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
COLUMNS = (
    Column(key="cell", label="cell"),
    Column(key="ours_ms", label="rnn_scan, ms", format=".1f"),
    Column(key="theirs_ms", label="torch, ms", format=".1f"),
    Column(key="ratio", label="torch / rnn_scan", format=".2f"),
    Column(key="ratio_of_least", label="of the least times", format=".2f"),
)


def main() -> None:
    rows = [measure(cell) for cell in MODULES]
    publish(
        Result(
            benchmark="core/rnn_scan",
            title="rnn_scan against torch.nn.LSTM and torch.nn.GRU",
            summary="; ".join(f"{row['cell']}: {row['ratio']:.2f} times as fast as torch's" for row in rows)
            + ". torch's modules take no resets inside a sequence.",
            versions=versions("statewise-core", "torch", "numba"),
            protocol={
                "shape": f"batch {BATCH}, length {LENGTH}, inputs {INPUTS}, width {WIDTH}, float32",
                "work": "input product, recurrence, gradients of the input and of all weights",
                "clock": f"CPU time of one thread, in turns, {ROUNDS} rounds; medians of the rounds' ratios",
            },
            rows=tuple(rows),
            tables=(Table(title="Forward and backward", columns=COLUMNS, rows=tuple(rows)),),
        )
    )


def measure(cell: str) -> dict[str, Any]:
    torch.manual_seed(0)
    module = MODULES[cell](INPUTS, WIDTH, batch_first=True)
    u = torch.randn(BATCH, LENGTH, INPUTS, requires_grad=True)
    leaves = [u, *module.parameters()]

    def ours() -> torch.Tensor:
        if cell == "gru":  # one of its biases is multiplied by a gate
            x = torch.nn.functional.linear(u, module.weight_ih_l0, module.bias_ih_l0)
            return rnn_scan(cell, x, module.weight_hh_l0[None], bias=module.bias_hh_l0)[0]
        x = torch.nn.functional.linear(u, module.weight_ih_l0)
        return rnn_scan(cell, x, module.weight_hh_l0[None], bias=module.bias_ih_l0 + module.bias_hh_l0)[0]

    def theirs() -> torch.Tensor:
        return module(u)[0]

    torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-5)
    seconds = race({"ours": gradients_of(ours, leaves), "torch": gradients_of(theirs, leaves)}, rounds=ROUNDS)
    table = ratios(seconds, "ours")
    return {
        "cell": cell,
        "ours_ms": table["ours"]["median_ms"],
        "theirs_ms": table["torch"]["median_ms"],
        "ratio": table["torch"]["ratio"],
        "ratio_of_least": table["torch"]["ratio_of_least"],
    }


if __name__ == "__main__":
    main()
