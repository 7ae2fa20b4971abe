"""Events and states of users in one SQLite file: an event that was acknowledged is there after a crash.

    events   every event, in order
    users    per user: the last items (int32), the state of a recurrent encoder and what it says (float32)

Write-ahead log; one transaction for an event and what follows from it. With `durable` the log is forced to
the disk before an event is acknowledged, so that it also survives a power cut; without, it survives the end
of the process, however sudden, in less time.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from statewise.core.errors import CheckpointError

__all__ = ["Known", "Store"]

_TABLES = """
CREATE TABLE IF NOT EXISTS events
(id INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, time REAL NOT NULL);
CREATE TABLE IF NOT EXISTS users
(user TEXT PRIMARY KEY, items BLOB NOT NULL, state BLOB NOT NULL, said BLOB NOT NULL)
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Known:
    """What is kept of a user."""

    items: np.ndarray
    """Codes of the last items, oldest first, int32."""
    state: bytes
    """State of a recurrent encoder; empty for others."""
    said: np.ndarray
    """What the encoder says after the last item, (D,) float32; empty where it is computed on demand."""


class Store:
    """The file.

    Args:
        path: where it is, or is made.
        model: fingerprint of the model; states of another one are refused.
        durable: whether to wait for the disk at each event.

    Raises:
        CheckpointError: the file is no database, or belongs to another model.
    """

    def __init__(self, path: str | Path, model: str, *, durable: bool = False) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._base.executescript(_TABLES)
            found = self._base.execute("SELECT value FROM facts WHERE name = 'model'").fetchone()
        except sqlite3.DatabaseError as error:
            raise CheckpointError(
                f"is no database of states ({error})", where=str(path), fix="choose another file with --store"
            ) from None
        if found is None:
            self._base.execute("INSERT INTO facts VALUES ('model', ?)", (model,))
        elif found[0] != model:
            raise CheckpointError(
                "holds states of another model",
                where=str(path),
                seen=f"model {found[0]}",
                expected=f"model {model}",
                fix="choose another file with --store; the events in this one stay",
            )

    def get(self, user: str) -> Known | None:
        """What is kept of a user; None: nothing."""
        with self._lock:
            row = self._base.execute(
                "SELECT items, state, said FROM users WHERE user = ?", (user,)
            ).fetchone()
        if row is None:
            return None
        return Known(np.frombuffer(row[0], dtype=np.int32), row[1], np.frombuffer(row[2], dtype=np.float32))

    def put(self, user: str, item: str | None, known: Known) -> None:
        """Keep an event and what follows from it, both or neither; without an item only the state."""
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                if item is not None:
                    self._base.execute(
                        "INSERT INTO events (user, item, time) VALUES (?, ?, ?)", (user, item, time.time())
                    )
                values = (user, known.items.tobytes(), known.state, known.said.tobytes())
                self._base.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)", values)
                self._base.execute("COMMIT")
            except sqlite3.Error:
                self._base.execute("ROLLBACK")
                raise

    def events(self) -> int:
        """Number of events kept."""
        with self._lock:
            return int(self._base.execute("SELECT COUNT(*) FROM events").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()
