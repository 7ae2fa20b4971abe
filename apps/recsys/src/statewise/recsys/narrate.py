"""What a fit or an evaluation has to say on a terminal, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from statewise.core.cli.console import Console
from statewise.core.train.launch import process_rank
from statewise.recsys.api import Outcome
from statewise.recsys.bulk import Bulk
from statewise.recsys.compare import Compared
from statewise.recsys.contest import JUDGED, Row, best_baseline
from statewise.recsys.evaluate import Evaluation
from statewise.recsys.output import write_table
from statewise.recsys.recommend import Recommended

__all__ = [
    "COLUMNS",
    "document",
    "score_cells",
    "tell_bulk",
    "tell_comparison",
    "tell_evaluation",
    "tell_fit",
    "tell_recommended",
    "verdict",
]

COLUMNS = ("method", "NDCG@10", "HR@10", "MRR", "coverage", "novelty", "debiased", "CPU s", "note")


def tell_fit(outcome: Outcome, console: Console) -> None:
    """The scoreboard, the verdict, and where everything is; of several processes the first one speaks."""
    if process_rank() != 0 and not console.json:
        return
    console.table(COLUMNS, [score_cells(row) for row in outcome.rows], title=protocol(outcome))
    _tell_parts(outcome.rows, console)
    for line in verdict(outcome.rows):
        console.show(line)
    for line in _training(outcome):
        console.show(line)
    run = outcome.run.path
    console.show("\n".join(["", f"{run / 'report.html'}", f"{run / 'model'}"]))
    console.show(f"recsys recommend {run} --k 10")
    console.result(document(outcome))


def _tell_parts(rows: Sequence[Row], console: Console) -> None:
    """Repeat and novel targets apart, where a user has several."""
    cells = [
        [row.method, *(round(row.parts[name].ndcg["10"], 4) for name in ("repeat", "novel"))]
        for row in rows
        if row.parts is not None
    ]
    if cells:
        title = "NDCG@10 of targets that repeat the history, and of those that are new to the user"
        console.table(["method", "repeat", "novel"], cells, title=title)


def tell_recommended(found: Recommended, out: Path | None, console: Console) -> None:
    """The table, or where it was written."""
    for note in found.notes:
        console.say(note)
    if out is None:
        console.show(found.table.write_csv().rstrip("\n"))
    else:
        write_table(out, found.table)
        console.say(f"{out}: {len(found.table):,} recommendations")
    rows = {"rows": found.table.rows()} if out is None else {"file": str(out)}
    document = {"columns": found.table.columns, "count": len(found.table), "notes": list(found.notes)}
    console.result(document | rows)


def tell_bulk(done: Bulk, console: Console) -> None:
    """Where the files of many users are."""
    for note in done.notes:
        console.say(note)
    console.say(
        f"{done.folder}: {done.rows:,} recommendations for {done.users:,} users, {done.files:,} files"
    )
    console.result(asdict(done) | {"folder": str(done.folder)})


def tell_evaluation(found: Evaluation, console: Console) -> None:
    """The scoreboard of a saved model under a protocol."""
    kind = (
        "all items ranked"
        if found.protocol == "full"
        else f"{found.protocol}: NOT comparable with full ranking"
    )
    title = f"test ({found.split.kind}): {len(found.split.test):,} users, {kind}, history: {found.repeat}"
    console.table(COLUMNS, [score_cells(row) for row in found.rows], title=title)
    _tell_parts(found.rows, console)
    console.result(
        {
            "protocol": found.protocol,
            "split": found.split.kind,
            "repeat": found.repeat,
            "fingerprint": found.split.log.fingerprint,
            "scores": [as_dict(row) for row in found.rows],
        }
    )


def tell_comparison(rows: Sequence[Compared], users: int, metric: str, console: Console) -> None:
    """Each method against the first."""
    columns = ["method", f"{metric}@10", "low", "high", "difference", "low ", "high ", "p"]
    cells = [[one.method, *(round(value, 4) for value in list(asdict(one).values())[1:])] for one in rows]
    console.table(columns, cells, title=f"{users:,} test users, 95 % intervals, differences to the first row")
    console.result({"users": users, "metric": metric, "rows": [asdict(one) for one in rows]})


def protocol(outcome: Outcome) -> str:
    """How the figures came about, in one line."""
    split = outcome.split
    users = min(JUDGED, len(split.test))
    history = {"exclude": "items of the history left out", "allow": "items of the history compete"}
    return (
        f"test ({split.kind}; it chose nothing): {users:,} users, all {split.log.n_items:,} items "
        f"ranked, {history.get(outcome.repeat, 'only items of the history')}, ties at their mean rank, "
        f"data {split.log.fingerprint}, seed {outcome.settings.seed}"
    )


def score_cells(row: Row) -> list[Any]:
    """A line of the table."""
    one = row.test
    if one is None:
        return [row.method, *[None] * 6, round(row.seconds, 1), row.note]
    figures = [one.ndcg["10"], one.hr["10"], one.mrr, one.coverage]
    return [
        row.method,
        *(round(figure, 4) for figure in figures),
        round(one.novelty, 2),
        round(one.debiased, 4),
        round(row.seconds, 1),
        row.note,
    ]


def verdict(rows: Sequence[Row]) -> list[str]:
    """Whether the method is worth its training, by the validation cases and by the test cases."""
    first = rows[0]
    other = best_baseline(rows[1:])
    if (
        first.test is None
        or first.valid is None
        or other is None
        or other.test is None
        or other.valid is None
    ):
        return []
    mine, theirs = first.test.ndcg["10"], other.test.ndcg["10"]
    chosen = first.valid.ndcg["10"] >= other.valid.ndcg["10"]
    lines = []
    if theirs > 0 and mine > theirs:
        lines.append(
            f"{first.method}: NDCG@10 {mine / theirs - 1:.0%} above {other.method}, "
            "the best baseline by validation"
        )
    else:
        lines.append(
            f"{first.method} does not beat counting: NDCG@10 {mine:.4f} to {theirs:.4f} of {other.method}"
        )
    if not chosen:
        lines.append(f"validation would choose {other.method}: recsys fit ... --model {other.method}")
    error = (first.test.hr["10"] * (1 - first.test.hr["10"]) / max(1, first.test.cases)) ** 0.5
    lines.append(
        f"standard error of HR@10 with {first.test.cases:,} users: {error:.4f} (see `recsys compare`)"
    )
    return lines


def _training(outcome: Outcome) -> list[str]:
    result = outcome.training
    if result is None:
        return []
    best = result.best.get("epoch") or 0.0
    lines = [f"{result.epochs:.1f} epochs, best {best:.1f}, ended by {result.stopped_by}"]
    if len(result.history) > 1 and result.best is result.history[-1] and result.stopped_by != "patience":
        lines.append("the last validation was the best: longer training (--epochs) may still improve it")
    return lines


def document(outcome: Outcome) -> dict[str, Any]:
    """Everything a program would want to know of a fit."""
    return {
        "run": str(outcome.run.path),
        "model": outcome.settings.model,
        "notes": list(outcome.notes),
        "split": outcome.split.kind,
        "repeat": outcome.repeat,
        "fingerprint": outcome.split.log.fingerprint,
        "events": len(outcome.split.log),
        "users": outcome.split.log.n_users,
        "items": outcome.split.log.n_items,
        "seed": outcome.settings.seed,
        "scores": [as_dict(row) for row in outcome.rows],
        "seconds": round(outcome.seconds, 3),
    }


def as_dict(row: Row) -> dict[str, Any]:
    """A row as plain values."""
    values: dict[str, Any] = {"method": row.method, "cpu_seconds": round(row.seconds, 3), "note": row.note}
    values |= {"valid": row.valid and row.valid.as_dict(), "test": row.test and row.test.as_dict()}
    return values | {name: part.as_dict() for name, part in (row.parts or {}).items()}
