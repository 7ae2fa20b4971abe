"""Recommendations from a saved recommender: for known users, all of them, or histories from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, DataError, UserError, suggestion
from statewise.core.tables.load import load
from statewise.recsys.columns import item_column
from statewise.recsys.data import read
from statewise.recsys.events import EventLog, Histories
from statewise.recsys.options import ReadOptions
from statewise.recsys.ranking import Repeat, first_places
from statewise.recsys.saved import Recommender, load_recommender

__all__ = [
    "Question",
    "RecommendSettings",
    "Recommended",
    "ask",
    "item_list",
    "recommend_run",
    "similar_run",
    "tables",
]

_SCORES = 2**24


@dataclass(frozen=True, kw_only=True)
class RecommendSettings:
    """What is asked of a saved recommender."""

    users: tuple[str, ...] = ()
    """Known users; empty with no history: all of them."""
    history: str | None = None
    """File of events of any users, known or not: it takes the place of what was fitted on."""
    read: ReadOptions | None = None
    """How to read it, where that differs from the fit."""
    k: int = 10
    """Items for each user."""
    allow: str | None = None
    """File with the only items that may be recommended."""
    deny: str | None = None
    """File with items that may not."""
    repeat: Repeat | None = None
    """Whether items of the history may be recommended; None: as found at the fit."""
    reasons: bool = False
    """Name the item of the history that speaks most for each recommendation."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError("is no number of items", where="--k", seen=str(self.k), expected="1 or more")


@dataclass(frozen=True, kw_only=True)
class Question:
    """Whom to recommend to, and from what."""

    users: list[str]
    histories: Histories
    allowed: np.ndarray
    """(V,) bool."""
    repeat: Repeat
    k: int

    def take(self, rows: np.ndarray) -> Question:
        """The same question for some of the users."""
        users = [self.users[row] for row in rows]
        return replace(self, users=users, histories=self.histories.take(rows))


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """Recommendations, one row for each user and place."""

    table: pl.DataFrame
    """user, rank (from 1), item, score and, where asked for, because."""
    notes: tuple[str, ...]


def recommend_run(
    path: str | Path, settings: RecommendSettings, *, progress: Callable[[float], None] | None = None
) -> Recommended:
    """Recommend with a saved model.

    Args:
        path: the run or model directory.
        settings: for whom, and what may be recommended.
        progress: told the fraction done.

    Raises:
        UserError: there is no model, or a user, item or file is not known.
    """
    one = load_recommender(path)
    question, notes = ask(one, settings)
    parts = []
    for low, part in tables(one, question, settings.reasons):
        parts.append(part)
        if progress is not None:
            progress(min(1.0, low / max(1, len(question.users))))
    table = pl.concat(parts) if parts else _table(_columns(settings.reasons), settings.reasons)
    short = int((table.group_by("user").len()["len"] < question.k).sum()) if len(table) else 0
    if short:
        notes.append(
            f"{short:,} users have fewer than {question.k} items: no more may be recommended to them"
        )
    return Recommended(table=table, notes=tuple(notes))


def tables(one: Recommender, question: Question, reasons: bool) -> Iterator[tuple[int, pl.DataFrame]]:
    """The rows of each tile of users, and how many users are done."""
    ids = one.log.items.to_list()
    for low, places, scores in recommended(one, question):
        columns = _columns(reasons)
        for offset, (row, values) in enumerate(zip(places, scores, strict=True)):
            found = row[row >= 0]
            columns["user"] += [question.users[low + offset]] * len(found)
            columns["rank"] += range(1, len(found) + 1)
            columns["item"] += [ids[item] for item in found]
            columns["score"] += values[: len(found)].tolist()
            if reasons:
                history = question.histories.row(low + offset)
                because = (one.scorer.because(history, int(item)) for item in found)
                columns["because"] += [None if item is None else ids[item] for item in because]
        yield low + len(places), _table(columns, reasons)


def _columns(reasons: bool) -> dict[str, list[Any]]:
    names = ["user", "rank", "item", "score", *(["because"] if reasons else [])]
    return {name: [] for name in names}


def _table(columns: dict[str, list[Any]], reasons: bool) -> pl.DataFrame:
    schema: dict[str, Any] = {"user": pl.String, "rank": pl.Int32, "item": pl.String, "score": pl.Float32}
    return pl.DataFrame(columns, schema=schema | ({"because": pl.String} if reasons else {}))


def recommended(one: Recommender, question: Question) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The first user of each tile, its items (n, k) and their scores."""
    v = one.log.n_items
    step = max(1, min(512, _SCORES // max(1, v)))
    for low in range(0, len(question.users), step):
        tile = question.histories.take(slice(low, low + step))
        scores = np.array(one.scorer.scores(tile))
        scores[:, ~question.allowed] = -np.inf
        if question.repeat != "allow":
            row, place = tile.flat()
            seen = np.zeros(scores.shape, dtype=bool)
            seen[row, tile.items[place]] = True
            scores[seen if question.repeat == "exclude" else ~seen] = -np.inf
        yield low, *first_places(scores, question.k)


def ask(one: Recommender, settings: RecommendSettings) -> tuple[Question, list[str]]:
    """Whom the settings mean and what may be recommended to them, and notes on that."""
    log, notes = one.log, []
    if settings.history is not None:
        users, histories, notes = _from_file(one, settings)
        if settings.users:
            rows = _rows_of(settings.users, {name: row for row, name in enumerate(users)}, settings.history)
            users, histories = list(settings.users), histories.take(rows)
    elif settings.users:
        rows = _rows_of(settings.users, log.user_codes, "the fitted data")
        users, histories = list(settings.users), log.histories(rows)
    else:
        users, histories = log.users.to_list(), log.histories()
    allowed = np.ones(log.n_items, dtype=bool)
    if settings.allow is not None:
        allowed[:] = False
        allowed[item_list(settings.allow, log, "--allow", notes)] = True
    if settings.deny is not None:
        allowed[item_list(settings.deny, log, "--deny", notes)] = False
    if not allowed.any():
        raise ConfigError(
            "no item is left to recommend",
            where="--allow and --deny",
            seen=f"{log.n_items:,} items in the catalogue",
            fix="allow more items",
        )
    k = settings.k
    if k > int(allowed.sum()):
        notes.append(f"only {int(allowed.sum()):,} items may be recommended, fewer than --k {k}")
        k = int(allowed.sum())
    question = Question(
        users=users, histories=histories, allowed=allowed, repeat=settings.repeat or one.repeat, k=k
    )
    return question, notes


def _rows_of(users: Sequence[str], codes: dict[str, int], where: str) -> np.ndarray:
    unknown = [user for user in users if user not in codes]
    if unknown:
        near = suggestion(unknown[0], list(codes)[:50_000])
        raise UserError(
            f"there is no user '{unknown[0]}' in {where}",
            seen=f"{len(unknown)} unknown of {len(users)}",
            expected="ids as they are written in the data",
            fix=near or "give the events of new users with --history FILE",
        )
    return np.array([codes[user] for user in users])


def _from_file(one: Recommender, settings: RecommendSettings) -> tuple[list[str], Histories, list[str]]:
    """Histories of a file of events; items that the model does not know are left out, and counted."""
    reading = read([settings.history], settings.read or one.read)
    log, known = reading.log, one.log.item_codes
    codes = np.array([known.get(name, -1) for name in log.items], dtype=np.int64)
    translated = codes[log.item]
    kept = translated >= 0
    notes = [reading.facts]
    if not kept.all():
        names = [name for name, code in zip(log.items, codes, strict=True) if code < 0]
        notes.append(
            f"{int((~kept).sum()):,} events of {len(names):,} items that the model does not know left out, "
            f"the first '{names[0]}' (`recsys add-items` adds items with features)"
        )
    before = np.concatenate([[0], np.cumsum(kept)])
    bounds = before[log.starts]
    histories = Histories(
        starts=bounds[:-1],
        stops=bounds[1:],
        items=translated[kept].astype(np.int32),
        times=None if log.time is None else log.time[kept],
    )
    return log.users.to_list(), histories, notes


def item_list(path: str, log: EventLog, flag: str, notes: list[str]) -> np.ndarray:
    """Codes of the items that a file lists, one a line or in a column called like an item.

    Raises:
        DataError: none of them is known.
    """
    table = load(path, header=None)
    column = item_column(table)
    names = [str(name).strip() for name in table.frame[column].cast(pl.String) if name is not None]
    codes = log.item_codes
    known = [codes[name] for name in names if name in codes]
    if not known:
        raise DataError(
            "lists no item of the catalogue",
            where=f"{flag} {path}",
            seen=", ".join(f"'{name}'" for name in names[:3]),
            expected=f"ids such as '{log.items[0]}'",
            fix="write the ids as they are in the data",
        )
    if len(known) < len(names):
        notes.append(f"{flag}: {len(names) - len(known):,} of {len(names):,} items are not in the catalogue")
    return np.array(known)


def similar_run(path: str | Path, item: str, k: int = 10) -> pl.DataFrame:
    """The items most like one: by the cosine of their vectors, or by what a counting method puts next.

    Raises:
        UserError: there is no such item.
    """
    one = load_recommender(path)
    codes = one.log.item_codes
    if item not in codes:
        raise UserError(
            f"there is no item '{item}' in the catalogue",
            where=str(path),
            fix=suggestion(item, list(codes)[:50_000]) or "write the id as it is in the data",
        )
    scores = _similarities(one, codes[item])
    scores[codes[item]] = -np.inf
    items, values = first_places(scores[None], min(k, one.log.n_items - 1))
    ids = one.log.items.to_list()
    return pl.DataFrame(
        {
            "rank": range(1, items.shape[1] + 1),
            "item": [ids[code] for code in items[0]],
            "similarity": values[0],
        }
    )


def _similarities(one: Recommender, item: int) -> np.ndarray:
    if one.network is None:
        return np.array(one.scorer.scores(Histories.of([[item]]))[0], dtype=np.float64)
    import torch

    with torch.inference_mode():
        table = torch.nn.functional.normalize(one.network.network.table(), dim=1)
        return (table @ table[item]).double().numpy().copy()
