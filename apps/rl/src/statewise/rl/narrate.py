"""What the command says when a fit or an evaluation is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statewise.core.cli.console import Console
from statewise.core.cli.durations import format_duration
from statewise.core.config import to_dict
from statewise.rl.scoreboard import COLUMNS, Line, verdict

if TYPE_CHECKING:
    from statewise.rl.api import Outcome
    from statewise.rl.environments.make import EnvironmentSpec

__all__ = ["tell_evaluation", "tell_fit"]


def tell_fit(outcome: Outcome, console: Console) -> None:
    """The scoreboard, the verdict, and where everything is."""
    fitted, run = outcome.fitted, outcome.run
    console.say(f"{fitted.steps:,} steps in {format_duration(fitted.seconds)}, ended by {fitted.stopped_by}")
    for note in fitted.notes:
        console.say(note)
    if outcome.lines:
        console.table(COLUMNS, [line.cells() for line in outcome.lines])
        for text in verdict(outcome.lines):
            console.say(text)
    console.say(f"run: {run.path}; report: {run.path / 'report.html'}")
    console.result(
        {
            "run": str(run.path),
            "model": fitted.model,
            "environment": to_dict(outcome.policy.spec),
            "steps": fitted.steps,
            "seconds": round(fitted.seconds, 3),
            "stopped_by": fitted.stopped_by,
            "parameters": fitted.parameters,
            "seed": outcome.settings.seed,
            "notes": fitted.notes,
            "policies": [line.as_dict() for line in outcome.lines],
        }
    )


def tell_evaluation(lines: Sequence[Line], spec: EnvironmentSpec, console: Console) -> None:
    """The scoreboard of an evaluation."""
    console.say(f"{spec.label}: returns of fresh episodes from fixed seeds, interquartile means")
    console.table(COLUMNS, [line.cells() for line in lines])
    for text in verdict(lines):
        console.say(text)
    policies: list[dict[str, Any]] = [line.as_dict() for line in lines]
    console.result({"environment": to_dict(spec), "policies": policies})
