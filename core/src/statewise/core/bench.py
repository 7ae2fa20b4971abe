"""How fast the operators are on this machine: against the loop that defines them and against memory.

Every backend runs the same forward and backward, in turns with the others, on one thread. Times are CPU time,
so that other programs on the machine disturb less; a figure is the median over the rounds. The bandwidth of
the machine is that of a large copy, measured in the same rounds; no operator can move its data faster.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statewise.core import ops
from statewise.core.errors import UnknownNameError

__all__ = ["CASES", "Case", "measure", "select"]

COPIED = 1 << 24
"""Floats in the copy that measures the bandwidth: 64 MiB, more than caches hold."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One workload of one operator."""

    operator: str
    label: str
    """Its sizes, `B8 L1024 D512`."""
    prepare: Callable[[], Callable[[], tuple[Tensor, ...]]]
    """Makes the inputs and returns a call of the operator on them that yields its outputs."""
    floats: int
    """Numbers of 4 bytes that forward and backward must read or write at least once."""


def measure(case: Case, *, budget: float) -> dict[str, Any]:
    """Time one case on every backend that works here.

    Args:
        case: the workload.
        budget: seconds to spend; every backend runs at least three times.

    Returns:
        Sizes, the machine's bandwidth, and per backend milliseconds, how many times faster than the loop it
        is, and its share of the bandwidth.
    """
    with _one_thread():
        forward = case.prepare()
        steps = {name: _step(forward, name) for name in _backends(case.operator)}
        source, target = torch.ones(COPIED), torch.empty(COPIED)
        rounds = _rounds({**steps, "copy": lambda: target.copy_(source)}, budget)
    seconds = {name: statistics.median(times) for name, times in rounds.items()}
    bandwidth = 8 * COPIED / seconds["copy"]
    loop = rounds["reference"]
    return {
        "operator": case.operator,
        "case": case.label,
        "rounds": len(loop),
        "gigabytes_per_second": bandwidth / 1e9,
        "chosen": ops.explain(case.operator)["backend"],
        "backends": {
            name: {
                "milliseconds": 1e3 * seconds[name],
                "times_the_loop": statistics.median(a / b for a, b in zip(loop, rounds[name], strict=True)),
                "share_of_bandwidth": 4 * case.floats / seconds[name] / bandwidth,
            }
            for name in steps
        },
    }


def select(operator: str | None) -> list[Case]:
    """The cases of one operator, or all.

    Raises:
        UnknownNameError: there is no case of that operator.
    """
    names = {case.operator for case in CASES}
    if operator is not None and operator not in names:
        raise UnknownNameError("operator with a benchmark", operator, names)
    return [case for case in CASES if operator in (None, case.operator)]


def _backends(operator: str) -> list[str]:
    """The loop first, then what plain torch does, then what is chosen here if it is another."""
    return list(dict.fromkeys(["reference", "portable", ops.explain(operator)["backend"]]))


def _step(forward: Callable[[], tuple[Tensor, ...]], backend: str) -> Callable[[], None]:
    def run() -> None:
        with ops.use_backend(backend):
            outputs = forward()
            torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

    run()  # compiles, and fills the caches
    return run


def _rounds(steps: Mapping[str, Callable[[], object]], budget: float) -> dict[str, list[float]]:
    """CPU seconds of every step, in turns, until the budget is spent."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    start = time.monotonic()
    while len(times["copy"]) < 3 or time.monotonic() - start < budget:
        for name, step in steps.items():
            before = time.process_time()
            step()
            times[name].append(time.process_time() - before)
    return times


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def _linear_scan(batch: int, length: int, width: int) -> Case:
    def prepare() -> Callable[[], tuple[Tensor, ...]]:
        a = torch.sigmoid(_noise(batch, length, width).detach()).requires_grad_()
        b = _noise(batch, length, width)
        return lambda: ops.linear_scan(a, b)

    # forward: a, b -> h; backward: dh, a, h -> da, db
    return Case(
        operator="linear_scan",
        label=f"B{batch} L{length} D{width}",
        prepare=prepare,
        floats=8 * batch * length * width,
    )


def _depthwise_conv(batch: int, length: int, width: int, taps: int) -> Case:
    def prepare() -> Callable[[], tuple[Tensor, ...]]:
        x, weight = _noise(batch, length, width), _noise(taps, width)
        return lambda: ops.depthwise_conv(x, weight)[:1]

    # forward: x -> y; backward: dy, x -> dx
    return Case(
        operator="depthwise_conv",
        label=f"B{batch} L{length} D{width} K{taps}",
        prepare=prepare,
        floats=5 * batch * length * width,
    )


def _rnn_scan(cell: str, gates: int, batch: int, length: int, width: int) -> Case:
    def prepare() -> Callable[[], tuple[Tensor, ...]]:
        x = _noise(batch, length, gates * width)
        weight = (_noise(1, gates * width, width).detach() / math.sqrt(width)).requires_grad_()
        return lambda: ops.rnn_scan(cell, x, weight)[:1]

    # forward: x -> h, gates kept; backward: dh, gates -> dx; the products with the weight are not counted
    return Case(
        operator="rnn_scan",
        label=f"{cell} B{batch} L{length} D{width}",
        prepare=prepare,
        floats=(4 * gates + 2) * batch * length * width,
    )


def _scan2d(batch: int, rows: int, columns: int, width: int) -> Case:
    def prepare() -> Callable[[], tuple[Tensor, ...]]:
        x = _noise(batch, rows, columns, width)
        down, right = (torch.sigmoid(x.detach() + shift).div(2).requires_grad_() for shift in (0.0, 1.0))
        return lambda: ops.scan2d(down, right, x)[:1]

    # forward: down, right, x -> h; backward: dh, down, right, h -> three gradients
    return Case(
        operator="scan2d",
        label=f"B{batch} {rows}x{columns} F{width}",
        prepare=prepare,
        floats=11 * batch * rows * columns * width,
    )


CASES = (
    _linear_scan(8, 1024, 512),
    _linear_scan(32, 50, 64),
    _depthwise_conv(8, 1024, 512, 4),
    _rnn_scan("lstm", 4, 16, 128, 128),
    _scan2d(4, 32, 32, 128),
)
"""What `statewise bench` runs: a long and a short case where both matter."""
