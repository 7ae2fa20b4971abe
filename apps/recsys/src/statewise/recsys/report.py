"""The report of a fit: what was assumed, the scoreboard with the baselines, the course of the training."""

from __future__ import annotations

import itertools
import shlex
from typing import Any

import numpy as np

from statewise.core.report import PALETTE, Report, drawing
from statewise.recsys.api import Outcome
from statewise.recsys.contest import judged_part
from statewise.recsys.narrate import COLUMNS, as_dict, protocol, score_cells, verdict

__all__ = ["write_cases", "write_report"]


def write_cases(outcome: Outcome) -> None:
    """Figures of each test user and method, for `recsys compare`: cases.safetensors."""
    from safetensors.numpy import save

    judged = judged_part(outcome.split).test
    arrays: dict[str, np.ndarray] = {"user": judged.user.astype(np.int64)}
    for row in outcome.rows:
        if row.test is not None:
            arrays |= {f"{row.method}/{name}": column for name, column in row.test.per_case.items()}
    outcome.run.write_bytes(
        "cases.safetensors", save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    )
    outcome.run.write_json("scores.json", [as_dict(row) for row in outcome.rows])


def write_report(outcome: Outcome) -> None:
    """Write `report.html` into the run."""
    log, run = outcome.split.log, outcome.run
    page = Report(
        f"Recommendations from {', '.join(outcome.reading.sources)}",
        f"{len(log):,} events, {log.n_users:,} users, {log.n_items:,} items",
    )
    for line in verdict(outcome.rows):
        page.paragraph(line)
    page.notice(outcome.split.warning)
    page.heading("Scoreboard")
    cells = [score_cells(row) for row in outcome.rows]
    page.table(COLUMNS, cells, caption=protocol(outcome), strong=[0])
    page.paragraph(
        "NDCG@10, HR@10 and MRR rank all items. Coverage is the catalogue share of the first tens of all "
        "users, novelty the mean surprise of these in bits, debiased the NDCG@10 in which rare targets "
        "count as much as popular ones."
    )
    _validation(page, outcome)
    _parts(page, outcome)
    _periods(page, outcome)
    _curve(page, outcome)
    _activity(page, outcome)
    page.heading("What was assumed")
    for note in outcome.notes:
        page.paragraph(note)
    page.facts(
        {
            "model": outcome.settings.model,
            "seed": str(outcome.settings.seed),
            "data": log.fingerprint,
            "seconds": f"{outcome.seconds:.1f}",
        }
    )
    page.code(f"recsys recommend {shlex.quote(str(run.path))} --k 10")
    run.write_text("report.html", page.render())


def _validation(page: Report, outcome: Outcome) -> None:
    rows: list[list[Any]] = [
        [row.method, row.valid.ndcg["10"], row.valid.hr["10"]]
        for row in outcome.rows
        if row.valid is not None
    ]
    page.table(["method", "NDCG@10", "HR@10"], rows, caption="validation: the cases that chose the weights")


def _parts(page: Report, outcome: Outcome) -> None:
    rows: list[list[Any]] = []
    for row in outcome.rows:
        if row.parts is not None and row.test is not None:
            cells = [part.ndcg["10"] for part in (row.test, row.parts["repeat"], row.parts["novel"])]
            rows.append([row.method, *cells, row.parts["repeat"].cases, row.parts["novel"].cases])
    if rows:
        page.heading("Repeat and novel targets")
        page.table(
            ["method", "all", "repeat", "novel", "users with repeats", "users with novel items"],
            rows,
            caption="NDCG@10 of the next period; repeat: among items of the history, novel: among the others",
        )


def _periods(page: Report, outcome: Outcome) -> None:
    """Accuracy in each period that tests."""
    split = judged_part(outcome.split)
    scored = [row for row in outcome.rows if row.test is not None]
    if len(split.periods) < 2 or split.test.period is None:
        return
    rows: list[list[Any]] = []
    for number in np.unique(split.test.period):
        inside, day = split.test.period == number, split.periods[number]
        means = [float(row.test.per_case["ndcg"][inside].mean()) for row in scored if row.test is not None]
        rows.append([day, int(inside.sum()), *means])
    page.table(["period from", "users", *(row.method for row in scored)], rows, caption="NDCG@10 by period")


def _curve(page: Report, outcome: Outcome) -> None:
    """Training loss and validation NDCG over the epochs."""
    if outcome.training is None or len(outcome.training.history) < 2:
        return
    history = outcome.training.history
    epochs = np.array([row["epoch"] for row in history], dtype=float)
    page.heading("Training")
    with drawing(rows=1, columns=2, height=2.8) as (figure, axes):
        for place, (key, title) in enumerate(
            (("train_loss", "training loss"), ("val_ndcg@10", "validation NDCG@10"))
        ):
            values = np.array([np.nan if row[key] is None else row[key] for row in history], dtype=float)
            axes[place].plot(epochs, values, color=PALETTE[place])
            axes[place].set_title(title)
            axes[place].set_xlabel("epoch")
        best = (
            next(row.valid for row in outcome.rows[1:] if row.method == "markov")
            if any(row.method == "markov" for row in outcome.rows[1:])
            else None
        )
        if best is not None:
            axes[1].axhline(best.ndcg["10"], color=PALETTE[2], linewidth=0.9)
            axes[1].annotate("markov", (epochs[0], best.ndcg["10"]), va="bottom", fontsize=8)
    page.figure(figure, caption="training loss and validation NDCG@10 over the epochs; the line is markov")


def _activity(page: Report, outcome: Outcome) -> None:
    """Accuracy by the length of the history."""
    split = judged_part(outcome.split)
    lengths = split.test.stop - split.log.starts[split.test.user]
    edges = np.unique(np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1.0]).astype(int))
    rows: list[list[Any]] = []
    for low, high in itertools.pairwise(edges):
        inside = (lengths >= low) & ((lengths < high) | (high == edges[-1]))
        scored = [row for row in outcome.rows if row.test is not None][:4]
        means = [float(row.test.per_case["ndcg"][inside].mean()) for row in scored if row.test is not None]
        rows.append([f"{low} to {high}", int(inside.sum()), *means])
    if rows:
        names = [row.method for row in outcome.rows if row.test is not None][:4]
        page.table(["events before", "users", *names], rows, caption="NDCG@10 by the length of the history")
