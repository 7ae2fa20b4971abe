"""The report of a fit on one page: the course of the return, and the policy beside what it has to beat."""

from __future__ import annotations

import io
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from statewise.core.report import PALETTE, Report, drawing, png
from statewise.rl.collect import record_episodes
from statewise.rl.evaluation import SEEDS
from statewise.rl.scoreboard import COLUMNS, verdict

if TYPE_CHECKING:
    from statewise.rl.api import Outcome

__all__ = ["write_report"]

_CONTEXT, _AHEAD = 8, 15
"""Real steps before, and steps of, what a world model is shown to foresee."""


def write_report(outcome: Outcome) -> None:
    """Write `report.html` and `training.png` into the run."""
    run, fitted, spec = outcome.run, outcome.fitted, outcome.policy.spec
    page = Report(f"{fitted.model} in {spec.label}", f"learnt from {outcome.settings.what}")
    for line in verdict(outcome.lines):
        page.paragraph(line)
    for note in fitted.notes:
        page.notice(note)
    if outcome.lines:
        page.heading("Closed-loop returns")
        page.paragraph(
            "Fresh episodes from fixed seeds, which no training and no choice has seen. IQM is the "
            "interquartile mean; its interval redraws episodes and tells nothing of other seeds of training."
        )
        strong = [place for place, line in enumerate(outcome.lines) if line.model]
        page.table(COLUMNS, [line.cells() for line in outcome.lines], strong=strong)
        page.figure(_spread(outcome), caption="every single return; the bar is the interquartile mean")
    figure = _course(outcome)
    if figure is not None:
        page.heading("Training")
        run.write_bytes("training.png", png(figure))
        page.figure(figure, caption="the course of training, by step")
    if outcome.policy.family == "drama" and outcome.policy.interface.is_image:
        _foreseen(page, outcome)
    page.facts(
        {
            "steps": fitted.steps,
            "ended by": fitted.stopped_by,
            "seconds": round(fitted.seconds, 1),
            "parameters": fitted.parameters,
            "seed": str(outcome.settings.seed),
        }
    )
    page.code(f"rl evaluate {shlex.quote(str(run.path))} --episodes 100")
    run.write_text("report.html", page.render())


def _course(outcome: Outcome) -> Any:
    """Returns of training and validation, or losses where there is no environment in the loop."""
    rows = outcome.fitted.rows
    names = {
        "train_return": "return of training episodes",
        "validation_return": "validation, IQM",
    }
    if not any(row.get(name) is not None for row in rows for name in names):
        names = {"train_loss": "training loss", "val_loss": "validation loss"}
    drawn = {
        label: [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        for name, label in names.items()
    }
    if not any(len(points) > 1 for points in drawn.values()):
        return None
    with drawing(width=8.0, height=3.0) as (figure, axes):
        for place, (label, points) in enumerate(drawn.items()):
            if points:
                x, y = np.array(points, float).T
                axes.plot(
                    x, y, color=PALETTE[place], label=label, marker="o" if place else None, markersize=3
                )
        axes.set_xlabel("steps")
        axes.set_ylabel("return" if "train_return" in names else "loss")
        axes.legend(loc="best")
        axes.margins(x=0.01)
    return figure


def _foreseen(page: Report, outcome: Outcome) -> None:
    """What the world model foresees over fifteen steps, beside what came."""
    from PIL import Image

    from statewise.rl.drama.openloop import open_loop, strip

    policy = outcome.policy
    network: Any = policy.network
    recorded = record_episodes(policy.spec, policy.actor(greedy=False), episodes=8, seed=SEEDS)
    length = _CONTEXT + _AHEAD
    long = [one for one in recorded if len(one.rewards) >= length]
    if not long:
        return
    face = policy.interface
    seen = torch.from_numpy(np.stack([face.flat(one.observations[:length]) for one in long]))
    hot = torch.from_numpy(np.stack([face.encode_action(one.actions[:length]) for one in long]))
    found = open_loop(network.world, seen, hot, _CONTEXT)
    out = io.BytesIO()
    Image.fromarray(strip(found, face.observation)).save(out, format="PNG")
    outcome.run.write_bytes("foreseen.png", out.getvalue())
    model, copied = (float(error.mean()) for error in found.errors())
    page.heading("What the world model foresees")
    with drawing(width=9.0, height=1.6) as (figure, axes):
        axes.imshow(strip(found, face.observation))
        axes.axis("off")
    page.figure(
        figure,
        caption=f"above: what came; below: what was foreseen after {_CONTEXT} real steps, from the actions "
        f"alone; mean squared error {model:.5f}, of repeating the last picture {copied:.5f}",
        kind="png",
    )


def _spread(outcome: Outcome) -> Any:
    """Every return of every policy, one row each."""
    lines = outcome.lines
    with drawing(width=8.0, height=0.5 + 0.42 * len(lines)) as (figure, axes):
        for place, line in enumerate(lines):
            color = PALETTE[0] if line.model else PALETTE[1]
            y = len(lines) - 1 - place + np.linspace(-0.15, 0.15, len(line.returns))
            axes.plot(line.returns, y, ".", color=color, alpha=0.5)
            axes.plot([line.iqm] * 2, [len(lines) - 1.3 - place, len(lines) - 0.7 - place], color=color)
        axes.set_yticks(range(len(lines)), [line.name for line in reversed(lines)])
        axes.set_xlabel("return")
        axes.grid(axis="y", visible=False)
    return figure
