"""Recommendations for very many users, block after block, spread over processors or machines by Ray Data.

The users are cut into blocks. Each worker loads the model once, answers its blocks and writes a parquet file
for each: memory holds one block per worker. A cluster is joined where RAY_ADDRESS names one (the run and the
directory must then lie on a disk that all machines see), else Ray runs on this machine for the time it takes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statewise.core.errors import ConfigError, MissingExtraError, UserError
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
    """Holds a model and answers blocks of users with it; an actor class of Ray Data too.

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

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"rows": np.array([self.answer(int(number)) for number in batch["id"]])}

    def answer(self, number: int) -> int:
        """Write the block of that number; how many recommendations it holds."""
        low = number * self.block
        users = np.arange(low, min(low + self.block, len(self.question.users)))
        parts = [part for _, part in tables(self.one, self.question.take(users), self.settings.reasons)]
        table = pl.concat(parts)
        replace_file(self.out / f"recommendations-{number:05d}.parquet", table.write_parquet)
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
    rows = _with_ray(given, blocks, min(workers, max(1, blocks)))
    return Bulk(folder=Path(out), files=blocks, users=users, rows=rows, notes=tuple(first.notes))


def _with_ray(given: tuple[Any, ...], blocks: int, workers: int) -> int:
    """Let a pool of workers answer all blocks; how many recommendations there are."""
    # under `uv run` Ray would send the whole directory to its workers and install this environment anew
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "statewise-core[ray]", "recommending with --workers") from None
    started = not ray.is_initialized()
    if started:
        _start(ray, workers)
    try:
        numbers: Any = ray.data.from_items([{"id": number} for number in range(blocks)])
        answered = numbers.repartition(blocks).map_batches(
            Worker,
            fn_constructor_args=given,
            compute=ray.data.ActorPoolStrategy(size=workers),
            batch_size=1,
            num_cpus=1,
        )
        return sum(int(row["rows"]) for row in answered.iter_rows())
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, workers: int) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine."""
    # one more than the workers hold: reading the numbers of the blocks takes a turn too
    here = {"num_cpus": workers + 1, "include_dashboard": False}
    here = {} if os.environ.get("RAY_ADDRESS") else here
    try:
        ray.init(log_to_driver=False, configure_logging=False, **here)
    except Exception as error:  # what Ray raises here has no class of its own
        raise UserError(
            "does not start",
            where="Ray",
            seen=str(error),
            fix="try again when the machine is less busy, or start it before with 'ray start --head' and set "
            "RAY_ADDRESS=auto",
        ) from error
