"""What the first call of each operator costs in a new process once `statewise warmup` has run, and why.

Three parts are told apart. Imports: all import statements, those of torch and of the operators, and those
that numba puts off until its first function is called (two hundred modules, SciPy's linear algebra among
them). The call: what is left of the first forward and backward. Again: the same once more.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.results import ROOT, Column, Result, Table, publish, versions

COLUMNS = (
    Column(key="operator", label="operator"),
    Column(key="imports", label="imports before it, s", format=".2f"),
    Column(key="late", label="imports during it, s", format=".2f"),
    Column(key="first", label="first call beyond them, s", format=".3f"),
    Column(key="again", label="second call, s", format=".4f"),
)


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    for operator in sorted(CALLS):
        in_new_process(operator)  # what warmup does: after it nothing is left to compile
    rows = [in_new_process(operator) for operator in sorted(CALLS)]
    worst = max(rows, key=lambda row: row["first"])
    publish(
        Result(
            benchmark="core/first_call",
            title="The first call in a new process",
            summary=f"Beyond imports the first forward and backward takes at most {worst['first']:.2f} s "
            f"({worst['operator']}). Imports are most of what a user waits for: up to "
            f"{max(row['imports'] for row in rows):.1f} s before the call, and up to "
            f"{max(row['late'] for row in rows):.1f} s that the call sets off: numba and what it needs.",
            versions=versions("statewise-core", "torch", "numba"),
            protocol={
                "work": "one forward and one backward on a few numbers in float32, kernels compiled before",
                "imports": "time inside import statements; before the call torch and the operators, during "
                "it numba, the kernels, and the modules that numba imports when its first function is called",
                "clock": "CPU time of one thread, one new process per operator",
            },
            rows=tuple(rows),
            tables=(Table(title="CPU seconds", columns=COLUMNS, rows=tuple(rows)),),
        )
    )


def in_new_process(operator: str) -> dict[str, Any]:
    """The row of an operator, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.core.first_call", operator],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def measure(operator: str) -> dict[str, Any]:
    clock = ImportClock()
    importlib.import_module("torch").set_num_threads(1)
    call = CALLS[operator]
    package = importlib.import_module("statewise.core.ops")
    run = call(package)
    before, times, late = clock.seconds, [], []
    for _ in range(2):
        begun, imports = time.process_time(), clock.seconds
        run()
        late.append(clock.seconds - imports)
        times.append(time.process_time() - begun - late[-1])
    return {
        "operator": operator,
        "imports": before,
        "late": late[0],
        "first": times[0],
        "again": times[1],
    }


class ImportClock:
    """CPU time spent in import statements since it was made; nested ones count once."""

    def __init__(self) -> None:
        self.seconds, self.depth, self.original = 0.0, 0, builtins.__import__
        builtins.__import__ = self
        self.load, importlib.import_module = importlib.import_module, self.by_name

    def __call__(self, *arguments: Any, **names: Any) -> Any:
        return self.timed(self.original, *arguments, **names)

    def by_name(self, *arguments: Any) -> Any:
        return self.timed(self.load, *arguments)

    def timed(self, load: Callable[..., Any], *arguments: Any, **names: Any) -> Any:
        begun, self.depth = time.process_time(), self.depth + 1
        try:
            return load(*arguments, **names)
        finally:
            self.depth -= 1
            if not self.depth:
                self.seconds += time.process_time() - begun


def both_ways(run: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[], None]:
    """A call that runs forwards and backwards on new tensors of these shapes."""
    torch = importlib.import_module("torch")

    def call() -> None:
        tensors = [torch.full(shape, -0.1).requires_grad_() for shape in shapes]
        first = run(*tensors)
        while isinstance(first, tuple):
            first = first[0]
        first.sum().backward()

    return call


CALLS: dict[str, Callable[[Any], Callable[[], None]]] = {
    "linear_scan": lambda ops: both_ways(ops.linear_scan, (2, 3, 4), (2, 3, 4)),
    "depthwise_conv": lambda ops: both_ways(ops.depthwise_conv, (2, 3, 4), (2, 4)),
    "gated_linear_attention": lambda ops: both_ways(
        ops.gated_linear_attention, (2, 3, 1, 4), (2, 3, 1, 4), (2, 3, 1, 4), (2, 3, 1, 4)
    ),
    "gated_delta_rule": lambda ops: both_ways(
        lambda q, k, v, beta: ops.gated_delta_rule(q, k, v, -beta),
        (2, 3, 1, 4),
        (2, 3, 1, 4),
        (2, 3, 1, 4),
        (2, 3, 1),
    ),
    "selective_scan": lambda ops: both_ways(
        ops.selective_scan, (2, 3, 4), (2, 3, 4), (4, 2), (2, 3, 2), (2, 3, 2)
    ),
    "rnn_scan": lambda ops: both_ways(
        lambda x, weight: ops.rnn_scan("lstm", x, weight), (2, 3, 16), (1, 16, 4)
    ),
    "scan2d": lambda ops: both_ways(ops.scan2d, (2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 4, 5)),
    "scan2d_edges": lambda ops: both_ways(ops.scan2d_edges, (2, 3, 4, 4, 5), (2, 3, 4, 2, 5)),
    "scan2d_matrix": lambda ops: both_ways(
        ops.scan2d_matrix, *[(2, 3, 4, 5, 6)] * 3, (2, 3, 4, 4, 4, 5), (2, 3, 4, 2, 4, 5), (2, 3, 4, 2, 4, 5)
    ),
    "path_weights": lambda ops: both_ways(
        ops.path_weights, (2, 3, 4, 4, 4, 5), (2, 3, 4, 2, 4, 5), (2, 3, 4, 2, 4, 5)
    ),
    "prefix_softmax": lambda ops: both_ways(ops.prefix_softmax, (2, 3, 1), (2, 3, 1, 4)),
}
"""Per operator with CPU kernels a call on a few numbers, given the package of the operators."""


if __name__ == "__main__":
    main()
