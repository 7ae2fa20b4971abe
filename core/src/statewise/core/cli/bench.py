"""`statewise bench`: the operators' speed on this machine."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from statewise.core.cli.options import Budget, Terminal

__all__ = ["bench"]

Operator = Annotated[str | None, Parameter(name="operator")]


def bench(operator: Operator = None, *, budget: Budget = 20.0, console: Terminal) -> None:
    """Measure the operators, forward and backward, on one thread of this machine.

    Each backend runs in turns with the loop that defines the operator; times are CPU time, a figure is the
    median. The bandwidth of a large copy is the bound that none can pass.

    Args:
        operator: only this one.
    """
    from statewise.core.bench import measure, select

    cases = select(operator and operator.replace("-", "_"))
    seconds = 20.0 if budget is None else budget
    results = []
    with console.progress("Measuring") as bar:
        for done, case in enumerate(cases):
            bar.update(done / len(cases), f"{case.operator} {case.label}")
            results.append(measure(case, budget=seconds / len(cases)))
    columns = ["operator", "case", "backend", "ms", "times the loop", "share of bandwidth"]
    console.table(columns, [row for result in results for row in _rows(result)])
    console.result({"threads": 1, "time": "CPU", "results": results})


def _rows(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            result["operator"],
            result["case"],
            f"{name} (chosen)" if name == result["chosen"] else name,
            figures["milliseconds"],
            figures["times_the_loop"],
            figures["share_of_bandwidth"],
        )
        for name, figures in result["backends"].items()
    ]
