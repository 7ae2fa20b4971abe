"""A stream taken in chunks: CPU time per step and memory, at lengths that no single call could hold."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.results import Column, Table

__all__ = ["CHUNK", "LENGTHS", "stream", "table"]

CHUNK = 1 << 12
LENGTHS = (1 << 14, 1 << 17, 1 << 20)


def stream(step: Callable[[int, Any], Any]) -> list[dict[str, Any]]:
    """Run `step(length, state) -> state` over chunks of CHUNK up to each of LENGTHS."""
    torch.set_num_threads(1)
    step(CHUNK, None)
    rows = []
    for length in LENGTHS:
        before, begun, state = _peak(), time.process_time(), None
        for _ in range(length // CHUNK):
            state = step(CHUNK, state)
        seconds = time.process_time() - begun
        rows.append(
            {"length": length, "us_per_step": 1e6 * seconds / length, "growth_mb": (_peak() - before) / 1024}
        )
    return rows


def table(rows: list[dict[str, Any]], note: str) -> Table:
    return Table(
        title=f"Forward over a stream, in chunks of {CHUNK}",
        columns=(
            Column(key="length", label="steps", format=",d"),
            Column(key="us_per_step", label="µs per step", format=".2f"),
            Column(key="growth_mb", label="memory added at the peak, MB", format=".0f"),
        ),
        rows=tuple(rows),
        note=note,
    )


def _peak() -> float:
    """The most memory that this process has held, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
