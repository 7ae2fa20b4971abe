"""Event logs made up on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from statewise.recsys.events import EventLog, build_log


def log_of(rows: list[list[int]], times: list[list[int]] | None = None, items: int | None = None) -> EventLog:
    """A log from the item codes of each user; item v is called `i<v>`."""
    users = [f"u{u}" for u, row in enumerate(rows) for _ in row]
    names = [f"i{v}" for row in rows for v in row]
    count = items or 1 + max(v for row in rows for v in row)
    known = pl.Series("item", [f"i{v}" for v in range(count)])
    stamps = None if times is None else np.array([t for row in times for t in row], dtype=np.int64)
    clock = "none" if times is None else "epoch"
    return build_log(
        pl.Series("user", users), pl.Series("item", names), stamps, clock=clock, known_items=known
    )


def cycles(users: int = 60, items: int = 12, length: int = 10, seed: int = 0) -> EventLog:
    """Every item is followed by the next one, from a random first one."""
    starts = np.random.default_rng(seed).integers(items, size=users)
    return log_of([[int((start + i) % items) for i in range(length)] for start in starts], items=items)


def noise(users: int = 300, items: int = 50, length: int = 12, seed: int = 0) -> EventLog:
    """Distinct items in an order of chance."""
    rng = np.random.default_rng(seed)
    return log_of([rng.permutation(items)[:length].tolist() for _ in range(users)], items=items)


def shop(path: Path, users: int = 80, items: int = 20, seed: int = 0) -> Path:
    """A CSV with ids that have leading zeros; the next item mostly follows from the last one."""
    rng = np.random.default_rng(seed)
    lines = ["user_id,item_id,timestamp"]
    for u in range(users):
        item, time = int(rng.integers(items)), 1_700_000_000 + int(rng.integers(10**6))
        for _ in range(int(rng.integers(4, 12))):
            lines.append(f"u{u:03d},{item:05d},{time}")
            item = (item + 1) % items if rng.random() < 0.8 else int(rng.integers(items))
            time += int(rng.integers(1, 10**5))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
