"""Recommendations for very many users, block after block, spread over processors or machines by Ray Data.

The users are cut into blocks. Each worker loads the model once, answers its blocks and writes a parquet file
for each: memory holds one block per worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError
from statewise.core.spreading import spread
from statewise.core.train.atomic import replace_file
from statewise.recsys.recommend import RecommendSettings, ask, tables
from statewise.recsys.saved import load_recommender

__all__ = ["Bulk", "recommend_bulk"]

_BLOCK = 10_000
"""Users of a block."""


@dataclass(frozen=True)
class Bulk:
    """What was written."""

    folder: Path
    files: int
    users: int
    rows: int
    notes: tuple[str, ...]


class Worker:
    """Holds a model and answers blocks of users with it.

    Args:
        path: the run or model directory.
        settings: for whom, and what may be recommended.
        out: directory of the files.
        block: users of a block.
    """

    def __init__(self, path: str, settings: RecommendSettings, out: str, block: int = _BLOCK) -> None:
        self.one, self.settings = load_recommender(path), settings
        self.question, self.notes = ask(self.one, settings)
        self.out, self.block = Path(out), block

    def answer(self, block: int) -> int:
        """Write the block of that number; how many recommendations it holds."""
        low = block * self.block
        users = np.arange(low, min(low + self.block, len(self.question.users)))
        parts = [part for _, part in tables(self.one, self.question.take(users), self.settings.reasons)]
        table = pl.concat(parts)
        replace_file(self.out / f"recommendations-{block:05d}.parquet", table.write_parquet)
        return len(table)


def recommend_bulk(
    path: str | Path,
    settings: RecommendSettings,
    out: str | Path | None,
    *,
    workers: int = 1,
    block: int = _BLOCK,
) -> Bulk:
    """Write the recommendations to parquet files in a new directory.

    Args:
        path: the run or model directory.
        settings: for whom, and what may be recommended.
        out: the directory.
        workers: actors of Ray Data.
        block: users of a block.

    Raises:
        UserError: there is no model, a user, item or file is not known, or Ray does not start.
        ConfigError: no directory is named, or it holds something.
        MissingExtraError: Ray is not installed.
    """
    if out is None or workers < 1:
        what = "needs a directory for its files" if out is None else "is no number of workers"
        raise ConfigError(what, where=f"--workers {workers}", fix="--workers 2 --out recommendations")
    folder = Path(out).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("holds something already", where=str(out), fix="name a new directory with --out")
    given = str(Path(path).absolute()), settings, str(folder), block
    first = Worker(*given)  # what is wrong with the question is said here, before anything is started
    users = len(first.question.users)
    blocks = -(-users // block)
    folder.mkdir(parents=True, exist_ok=True)
    rows = spread(
        Worker,
        given,
        range(blocks),
        workers=min(workers, max(1, blocks)),
        purpose="recommending with --workers",
    )
    return Bulk(folder=Path(out), files=blocks, users=users, rows=rows, notes=tuple(first.notes))
